"""The report page: cards of findings, figures, tables, costs, data, settings."""

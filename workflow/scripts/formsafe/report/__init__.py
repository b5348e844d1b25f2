"""Figures, tables and pages of the report.

In: the tidy tables of `analysis`. Out: SVG, PNG, PDF, CSV, Markdown, LaTeX, HTML.
Grows: a figure or table is one registered function with its caption beside it.
"""

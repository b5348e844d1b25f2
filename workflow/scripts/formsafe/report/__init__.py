"""Figures, tables and pages of the report.

In: the tidy tables of `analysis`. Out: SVG, PNG, PDF, CSV, Markdown, LaTeX, HTML.
Grows: a figure or table is one registered function, whose docstring is the caption.
"""

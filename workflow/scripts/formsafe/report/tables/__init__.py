"""Tables: one function per table, written as CSV, Markdown, LaTeX and HTML."""

"""Tables: one function a table, written as CSV, Markdown, LaTeX and HTML."""

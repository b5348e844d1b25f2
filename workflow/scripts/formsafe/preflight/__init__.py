"""Checks before any job starts: machine, sources, models, cost.

In: the configuration and what lies on disk. Out: one page with GO or what is wrong.
Grows: a check is a function that returns `Check` records.
"""

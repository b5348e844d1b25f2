"""From scores to statistics: the score table, metrics, comparisons, loss curves, the paper's numbers.

In: score records and loss logs of all runs. Out: tidy tables (CSV) that figures, tables and pages read.
Grows: a metric in `metrics.py`, a comparison in `comparisons.py`.
"""

"""The formats under study: the same sentences as prose, list or JSON (paper, section 4), told apart span by span.

A format is one module in this folder, called as the file is: it holds one `Format`, as `FORMAT`, whose `pieces` writes
sentences and whose `read` reads them back. Rendering with spans, strict and loose parsing follow from these; `parse` is
also the measure of leakage. Every format must give back the sentences that it takes, and take those of every row of
the corpus: any that prose takes, which refuses what would read as a list or as JSON. Nothing imports a format that a
study does not use, so a new file makes no result stale.
"""

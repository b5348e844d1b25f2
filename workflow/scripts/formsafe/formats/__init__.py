"""The formats under study: the same sentences as prose, list or JSON (paper, section 4), told apart span by span.

A format is one module in this folder, called as the file is: it holds one `Format`, as `FORMAT`, whose `pieces` writes
sentences and whose `read` reads them back. Rendering with spans, strict and loose parsing follow from these; `parse` is
also the measure of leakage. Every format must take any sentences and give them back. Nothing imports a format that a
study does not use, so a new file makes no result stale.
"""

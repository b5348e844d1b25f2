"""Scores of answers: judges and their parsers, format audit, text scores, refusals, leakage.

In: answers. Out: one score record per answer and judge.
Grows: a judge is a configuration entry; a reply format is a parser.
"""

"""The formats under study: the same sentences written as prose, list or JSON (paper, section 4), with spans.

In: a list of sentences. Out: a text with its content and format spans; and back from text to sentences.
Grows: a new format is one module here, named as the format, that holds one `Format` as `FORMAT`. Its `pieces` writes
sentences and its `read` reads them back; rendering with spans and strict and loose parsing follow from these. A format
must return the sentences that it takes. Rules depend only on the formats that a study uses: a new file makes no result
stale. `base`, `registry` and `sentences` are not formats.
"""

"""Answers: prompts in batches, the decoding loop, servers, and the journal that survives a kill.

In: prompts, a model or a server. Out: replies in the order of the prompts.
Grows: an engine in `engines.py`.
"""

"""The demo study: toy data, a small aligned model that can judge, and a sentence encoder, all made on the spot.

In: the `demo` section of the configuration. Out: files in the schemas of the public data sets and of the hub.
Grows: the grammar in `grammar.py`.
"""

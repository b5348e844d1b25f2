"""Data sets and models from the hub, from URLs and from local files, with a lock of what was fetched.

In: a source of the configuration. Out: raw rows and manifests with commits and digests.
Grows: a file type in `readers.py`.
"""

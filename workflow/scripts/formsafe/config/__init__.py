"""The configuration: typed settings, the grid of runs, loading, messages, the reference of keys.

In: the merged YAML. Out: a checked `StudySettings` and its runs.
Grows: a key is an attribute with a docstring in `settings/`; `make schema` writes schema and reference from it.
"""

"""Language models: loading, chat templates, shapes, memory plans, devices, attention.

In: a model's manifest and settings. Out: a loaded model with tokenizer, and plans of what fits.
Grows: an attention implementation or a template's rule; a model itself is a configuration entry.
"""

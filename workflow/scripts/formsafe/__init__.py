"""formsafe: does the format of benign fine-tuning data break an LLM's safety?

The library holds all logic and does not know Snakemake; the thin scripts beside this package call it. Packages, lowest
first; each imports only from itself and from those before it: core, formats, config, sources, data, models, training,
generation, scoring, analysis, report, preflight, cluster, demo.
"""

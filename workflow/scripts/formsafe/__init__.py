"""formsafe: does the format of benign fine-tuning data break an LLM's safety?

The library holds everything with logic and knows nothing of Snakemake; rules reach it through the thin scripts
beside this package.
"""

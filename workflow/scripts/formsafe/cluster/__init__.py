"""Snakemake and Slurm around the library: code digests, staleness, orphaned jobs, recovery, job resources.

In: Snakemake's metadata and logs. Out: what would rerun and why; jobs found, kept or cancelled.
Grows: a resource in `job_resources.py`.
"""

"""The pieces of the report: the verdict in numbers, how the study was made and what it cost, a sample of answers."""

"""SFT and both stages of ProMoT: examples, collation, trainer, checkpoints, loss logs.

In: a model and a format's training data. Out: standard PEFT directories with loss logs and metrics.
Grows: a method is a configuration entry; a new loss or stage is a function in `stages.py`.
"""

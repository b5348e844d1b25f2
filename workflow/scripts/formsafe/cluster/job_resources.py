"""What a job asks of a cluster: host memory and minutes from the size of the model and of the work.

The requests err on the side of too much for the slowest card in use (24 GB, some 40 TFLOP/s in practice): a limit that
is too short costs a restart from the checkpoint, one that is too long a later start. A second attempt asks for more.
"""

from math import ceil

# Host memory: interpreter and libraries, and the weights on their way to the device (16 bits and a working copy).
BASE_MB = 3000
MB_PER_PARAMETER = 2.6e-6
# Minutes for start-up, reading the weights from a shared file system, validation and checkpoints.
BASE_MINUTES = 15
TRAINING_FLOPS = 4.0e13
FLOPS_PER_PARAMETER = 8.0  # forward, backward, and forward again for checkpointed activations
# Tokens a second that one parameter costs when answering in batches: 200 tokens a second for 8e9 parameters.
ANSWERING_RATE = 1.6e12
MARGIN = 2.0


def memory_mb(parameters: float, attempt: int = 1) -> int:
    """Host memory in MB of a job that loads a model of `parameters` parameters."""
    return grown(BASE_MB + MB_PER_PARAMETER * parameters, attempt)


def grown(mb: float, attempt: int) -> int:
    """What an attempt asks for instead of `mb`: half as much again each time, in whole MB."""
    return ceil(mb * (1 + (attempt - 1) / 2))


def training_minutes(parameters: float, examples: int, tokens: int, epochs: float, attempt: int = 1) -> int:
    """Minutes to train on `examples` examples of at most `tokens` tokens each for `epochs` passes."""
    operations = FLOPS_PER_PARAMETER * parameters * examples * epochs * tokens / 2  # examples are half full at most
    return _minutes(operations / TRAINING_FLOPS, attempt)


def answering_minutes(parameters: float, prompts: int, new_tokens: int, attempt: int = 1) -> int:
    """Minutes to answer `prompts` prompts with at most `new_tokens` tokens each."""
    return _minutes(prompts * new_tokens * parameters / ANSWERING_RATE, attempt)


def _minutes(seconds: float, attempt: int) -> int:
    return ceil((BASE_MINUTES + MARGIN * seconds / 60) * attempt)

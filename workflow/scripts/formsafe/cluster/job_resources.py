"""What a job asks of a cluster: host memory and minutes from the size of the model and of the work.

The requests err on the side of too much for the slowest card in use (24 GB, some 40 TFLOP/s in practice): a limit that
is too short costs a restart from the checkpoint, one that is too long a later start. A second attempt asks for more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf

from formsafe.core.errors import FormsafeError

# Host memory: interpreter and libraries, and the weights on their way to the device (16 bits and a working copy).
BASE_MB = 3000
MB_PER_PARAMETER = 2.6e-6
# Minutes for start-up, reading the weights from a shared file system, validation and checkpoints.
BASE_MINUTES = 15
TRAINING_FLOPS = 4.0e13
FLOPS_PER_PARAMETER = 8.0  # forward, backward, and forward again for checkpointed activations
# Parameters times tokens per second when answering in batches: 200 tokens per second with 8e9 parameters.
ANSWERING_RATE = 1.6e12
MARGIN = 2.0


@dataclass(frozen=True)
class Site:
    """What the default resources of a profile say of all jobs.

    Attributes:
        partition: `slurm_partition`; None leaves it to Slurm.
        cpu_partition: partition of jobs without a GPU; None: the same one.
        longest_runtime: minutes that no job asks to exceed, however many attempts it has had.
    """

    partition: str | None = None
    cpu_partition: str | None = None
    longest_runtime: float = inf

    def minutes(self, wanted: float) -> int:
        """Minutes to ask for; what a job does not finish in them, its next attempt continues."""
        return ceil(min(wanted, self.longest_runtime))


def site_of(defaults: Iterable[str]) -> Site:
    """Read the entries `NAME=VALUE` of Snakemake's default resources.

    Raises:
        FormsafeError: for a `longest_runtime` that is no number of minutes.
    """
    # For Snakemake values are expressions in Python, so that a text may have quotes of its own.
    pairs = (entry.split("=", 1) for entry in defaults)
    named = {name: value.strip("'\"") for name, value in pairs}
    longest = named.get("longest_runtime", "inf")
    if not (longest == "inf" or (longest.isdecimal() and int(longest))):
        raise FormsafeError(f"longest_runtime in default-resources is {longest}: write minutes, as 1440 for a day.")
    return Site(named.get("slurm_partition"), named.get("cpu_partition"), float(longest))


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

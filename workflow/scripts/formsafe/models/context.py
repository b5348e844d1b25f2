"""What one job knows of its model: the configuration, read once, the shape, and where it is computed."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.models.shapes import ModelShape, of_config, of_size

Device = Literal["cpu", "cuda"]
# A configuration may leave out biases and further norms; a mixture of experts has many times the weights it describes.
_AGREEMENT = 0.15


@dataclass(frozen=True)
class ModelContext:
    """Everything that plans of memory and placement depend on.

    Attributes:
        settings: the model's settings.
        config: transformers' configuration; None where the folder does not exist yet or its architecture is unknown.
        shape: the shape in that configuration, or a guess from the number of parameters.
        device: where the model is computed.
        gpu_memory_gb: GPU memory to stay within, in GB (1e9 bytes).
    """

    settings: ModelSettings
    config: Any
    shape: ModelShape
    device: Device
    gpu_memory_gb: float

    @property
    def decodes_statically(self) -> bool:
        """Whether answers are decoded over static buffers: on a GPU, by architectures with plain causal attention."""
        from formsafe.models.varlen_attention import supports

        chosen = self.device == "cuda" and self.settings.attention == "auto"
        plain = chosen and self.config is not None and supports(self.config)
        # Dynamic positions compare the longest with a bound in Python at every step: a capture would fail.
        return plain and "dynamic" not in self.config.get_text_config().rope_parameters["rope_type"]


def context_length(config: Any) -> float:
    """Tokens that a model's context holds; infinite where its configuration (None: an unknown one) has no bound."""
    text = config and config.get_text_config()
    return getattr(text, "max_position_embeddings", None) or math.inf


def read_context(
    folder: str | Path | None,
    settings: ModelSettings,
    gpu_memory_gb: float | Literal["auto"],
    device: Device | None = None,
) -> ModelContext:
    """Read `config.json` of a model, the only time in a job.

    Args:
        folder: the model's folder; None where it is not here yet.
        settings: the model's settings.
        gpu_memory_gb: memory plan in GB; `auto` asks the GPU.
        device: the device to plan for; None takes what the settings and this machine say.

    Raises:
        FormsafeError: when `device: cuda` meets a machine without a GPU.
    """
    device = device or _device_here(settings)
    config = _read_config(folder)
    if device == "cpu":
        gpu_memory_gb = 0.0
    elif gpu_memory_gb == "auto":
        gpu_memory_gb = gpu_memory_in_gb()
    return ModelContext(settings, config, _shape(config, settings.parameters), device, float(gpu_memory_gb))


def gpu_memory_in_gb() -> float:
    """Memory of the first visible GPU in GB (1e9 bytes)."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / 1e9


def _device_here(settings: ModelSettings) -> Device:
    import torch

    available = torch.cuda.is_available()
    if settings.device == "cuda" and not available:
        raise FormsafeError(
            f"Model '{settings.label}' asks for device cuda, but PyTorch finds no GPU here. Run the job on a GPU node "
            "(see profiles/slurm), install a CUDA build of PyTorch, or set the model's device to auto or cpu."
        )
    return "cuda" if available and settings.device != "cpu" else "cpu"


def _read_config(folder: str | Path | None) -> Any:
    from transformers import AutoConfig

    if folder is None or not (Path(folder) / "config.json").exists():
        return None
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (KeyError, OSError, TypeError, ValueError):  # unknown architecture: loading will say so
        return None


def _shape(config: Any, parameters: float) -> ModelShape:
    """The shape in a configuration where it accounts for the number of parameters; else one of a model of that size."""
    try:
        shape = of_config(config.get_text_config().to_dict())
    except (AttributeError, KeyError, TypeError):  # no configuration, or one that names its sizes otherwise
        return of_size(parameters)
    return shape if abs(shape.parameters / parameters - 1) <= _AGREEMENT else of_size(parameters)

"""Which engine answers: a server, elsewhere or of the job's own, or the model in this process; only it is imported."""

from pathlib import Path
from typing import Any

from formsafe.config.settings.generation import GenerationSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.generation.replies import Engine
from formsafe.sources.models import model_folder


def make_engine(
    manifest: dict[str, Any],
    model: ModelSettings,
    generation: GenerationSettings,
    gpu_memory_gb: Any,
    adapter: str | Path | None = None,
    soft_prompt: str | Path | None = None,
    watch_digits: bool = False,
) -> Engine:
    """Make the engine that the settings ask for: a server, or the model in this process.

    Args:
        manifest: the model's manifest.
        adapter: folder of an adapter.
        soft_prompt: folder of a soft prompt that stays at inference.
        watch_digits: note the probabilities of the digits 1 to 5 (a server gives none).

    Raises:
        FormsafeError: when a server is to answer with a soft prompt, or one elsewhere for a model with an adapter.
    """
    if generation.server is None:
        from formsafe.generation.local_engine import load_engine

        return load_engine(model_folder(manifest), model, generation, gpu_memory_gb, adapter, soft_prompt, watch_digits)
    if generation.server.command is not None and soft_prompt is None:
        from formsafe.generation.served import ServedEngine

        return ServedEngine(generation.server, str(model_folder(manifest)), None if adapter is None else str(adapter))
    if adapter is not None or soft_prompt is not None:
        raise FormsafeError(
            f"generation.server serves {generation.server.model or 'models'} as they are, but this run has an adapter "
            "or a soft prompt. Leave generation.server null to answer in process; the judge may stay on a server."
        )
    from formsafe.generation.server import ServerEngine

    return ServerEngine(generation.server)

"""Whether models can be instructed, built and adapted: tried without their weights."""

from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from formsafe.config.settings.models import ModelSettings
from formsafe.config.settings.training import LoraSettings
from formsafe.core.errors import FormsafeError, first_line
from formsafe.models.context import ModelContext
from formsafe.preflight.checks import Check, refused

MODELS = "Models"
ABSENT = "Run the target `models`, then again."


def check_chat(
    name: str,
    model: ModelSettings,
    folder: Path | None,
    systems: Collection[str | None] = (None,),
    training_systems: Collection[str | None] = (),
) -> Check:
    """Render prompts and exchanges with the model's own template.

    Args:
        name: the model's.
        model: its settings.
        folder: of the model; None where it is not here yet.
        systems: system prompts of the prompts, one at least.
        training_systems: those of the exchanges; some templates write one into a prompt and none into an exchange.
    """
    label = f"{name} chat"
    if folder is None:
        return Check(MODELS, label, "unchecked", "its tokenizer is not here yet", ABSENT)

    def render() -> Check:
        from formsafe.models.chat import render_exchange, render_prompt
        from formsafe.models.load import load_tokenizer

        tokenizer = load_tokenizer(folder, model)
        for system in systems:
            length = len(render_prompt(tokenizer, "How to boil an egg?", system))
        for system in training_systems:
            render_exchange(tokenizer, "How to boil an egg?", "Boil it.", system)
        return Check(MODELS, label, "ok", f"the template renders; a question of five words takes {length} tokens")

    return tried(MODELS, label, render)


def tried(section: str, label: str, render: Callable[[], Check]) -> Check:
    """The check that renders a chat template, or a `no` that says how the template or its tokenizer fails."""
    try:
        return render()
    except FormsafeError as error:
        return refused(section, label, error)
    except Exception as error:  # what a template or a broken tokenizer file raises
        remedy = "Fetch the model again, or mend its chat template."
        return Check(section, label, "no", f"the chat template fails ({type(error).__name__})", remedy)


def check_encoder(folder: Path | None) -> Check:
    """Encode two texts of different lengths with the sentence encoder, as the scores of texts will."""
    label = "encoder use"
    if folder is None:
        return Check(MODELS, label, "unchecked", "it is not here yet", ABSENT)
    try:
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(str(folder), device="cpu", trust_remote_code=False)
        width = encoder.encode(["Boil it.", "Boil it well for ten."]).shape[1]
    except Exception as error:  # what its modules, tokenizer or weights raise
        remedy = "Name a sentence-transformers model with safetensors weights and a padding token."
        return Check(MODELS, label, "no", f"it cannot encode ({first_line(error)})", remedy)
    return Check(MODELS, label, "ok", f"texts become {width} numbers")


def check_build(name: str, context: ModelContext, folder: Path | None, lora: LoraSettings | None) -> list[Check]:
    """Build a model without weights as jobs will load it, and put the adapter on it.

    Args:
        name: the model's.
        context: what jobs know of it.
        folder: of the model; None where it is not here yet.
        lora: the adapter that the study trains on it, if any.
    """
    label = f"{name} build"
    if folder is None:
        return [Check(MODELS, label, "unchecked", "its configuration is not here yet", ABSENT)]
    if context.config is None:
        remedy = "Take a model of an architecture that the installed transformers knows."
        return [Check(MODELS, label, "no", "its architecture is unknown", remedy)]
    if fault := _quantised_twice(context):
        return [Check(MODELS, label, "no", fault, "Set the model's quantisation to none, or take its 16-bit weights.")]
    try:
        attentions, model = _built(context)
    except (ImportError, ValueError) as error:  # what transformers raises at an attention it does not have
        return [Check(MODELS, label, "no", first_line(error), "Set the model's attention to auto.")]
    checks = [Check(MODELS, label, "ok", f"{type(model).__name__}, attention {' and '.join(attentions)}")]
    if fault := _experts_in_four_bits(context, model, trained=lora is not None):
        checks.append(Check(MODELS, f"{name} experts", "no", fault, "Set both quantisations of the model to none."))
    return checks if lora is None else [*checks, _check_adapter(f"{name} adapter", model, lora)]


def _quantised_twice(context: ModelContext) -> str | None:
    own = getattr(context.config, "quantization_config", None)
    asked = {context.settings.quantisation, context.settings.inference_quantisation} - {"none", "auto"}
    if own is None or not asked:
        return None
    method = own.get("quant_method") if isinstance(own, dict) else getattr(own, "quant_method", "another way")
    return f"the folder holds weights that are already quantised ({method}), and the settings ask for {asked.pop()}"


def _experts_in_four_bits(context: ModelContext, model: Any, trained: bool) -> str | None:
    from formsafe.models.load import place
    from formsafe.training.adapters import expert_share

    share, asked = expert_share(model), {place(context, "inference").quantisation}
    if trained:
        asked.add(place(context, "training").quantisation)
    if not share or "nf4" not in asked:
        return None
    return f"{share:.0%} of its weights are a mixture's experts, which bitsandbytes does not hold in 4 bits"


def _built(context: ModelContext) -> tuple[list[str], Any]:
    """The attention implementations of training and answering, and the model on the meta device."""
    import torch
    from transformers import AutoModelForCausalLM

    from formsafe.models.load import place, register_attentions

    register_attentions()
    attentions = list(dict.fromkeys(place(context, purpose).attention for purpose in ("training", "inference")))
    build = AutoModelForCausalLM.from_config
    for attention in attentions:
        with torch.device("meta"):
            model = build(context.config, trust_remote_code=False, attn_implementation=attention)
    return attentions, model


def _check_adapter(label: str, model: Any, lora: LoraSettings) -> Check:
    """Which modules get an adapter, by name, and what share of the linear weights they hold."""
    import torch
    from peft import get_peft_model

    from formsafe.training.adapters import beside_text, lora_config

    output, apart = model.get_output_embeddings(), tuple(f"{name}." for name in beside_text(model))
    linear = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    own = [name for name, module in linear.items() if module is not output and not f"{name}.".startswith(apart)]
    names = sorted({name.rsplit(".", 1)[-1] for name in own})
    weights = sum(linear[name].weight.numel() for name in own)
    try:
        adapted = get_peft_model(model, lora_config(model, lora))
    except FormsafeError as error:
        return refused(MODELS, label, error)
    except ValueError as error:
        remedy = f"Name some of these under adapter.lora.target_modules: {', '.join(names)}; or write all-linear."
        return Check(MODELS, label, "no", first_line(error), remedy)
    found = [(name, module) for name, module in adapted.named_modules() if hasattr(module, "lora_A")]
    counts = Counter(name.rsplit(".", 1)[-1] for name, _ in found)
    unknown = sorted({*lora.target_modules} - set(counts)) if isinstance(lora.target_modules, list) else []
    if unknown:
        remedy = f"It has {', '.join(names)}."
        return Check(MODELS, label, "no", f"no module is called {', '.join(unknown)}", remedy)
    share = sum(module.base_layer.weight.numel() for _, module in found) / weights
    beside = f" besides {', '.join(name.rstrip('.') for name in apart)}" if apart else ""
    listed = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
    return Check(MODELS, label, "ok", f"on {share:.0%} of the linear weights{beside}: {listed}")

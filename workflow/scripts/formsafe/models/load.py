"""Loading tokenizers, models, adapters and soft prompts, in one place for training and inference."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json
from formsafe.core.layout import ADAPTER_FILES
from formsafe.models import decode_attention, memory, varlen_attention
from formsafe.models.chat import set_template_arguments
from formsafe.models.context import Device, ModelContext

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER_WEIGHTS, ADAPTER_CONFIG = ADAPTER_FILES["weights"], ADAPTER_FILES["config"]
SOFT_PROMPT = "prompt_embeddings"  # PEFT's name of the vectors in a soft prompt's file


@dataclass(frozen=True)
class Placement:
    """Where and how a model is held. `dtype` is a torch name; `attention` an implementation of transformers or ours."""

    device: Device
    dtype: str
    quantisation: memory.Quantisation
    attention: str


def place(context: ModelContext, purpose: Literal["training", "inference"]) -> Placement:
    """Settle every `auto` of a model's settings for one purpose."""
    settings = context.settings
    dtype: str = settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if context.device == "cuda" else "float32"
    quantisation = settings.quantisation
    if purpose == "inference":
        quantisation = memory.plan_inference(context, 0).quantisation
    return Placement(context.device, dtype, quantisation, _attention(context, purpose))


def _attention(context: ModelContext, purpose: str) -> str:
    """The attention implementation: ours where it serves the architecture, else sdpa, else eager."""
    if context.settings.attention != "auto":
        return context.settings.attention
    if purpose == "training" and context.config is not None and varlen_attention.supports(context.config):
        return varlen_attention.NAME
    if purpose == "inference" and context.decodes_statically:
        return decode_attention.NAME
    classes: Any = AutoModelForCausalLM._model_mapping
    known = context.config is not None and type(context.config) in classes
    # Gemma-2 and some thirty others have no sdpa, and transformers refuses to load them with it.
    return "sdpa" if not known or classes[type(context.config)]._supports_sdpa else "eager"


def load_tokenizer(directory: str | Path, settings: ModelSettings | None = None) -> PreTrainedTokenizerFast:
    """Load a model's tokenizer, whose chat template takes date and thinking from the model's settings.

    Raises:
        FormsafeError: without the folder, a chat template, or a fast tokenizer (character offsets need one).
    """
    tokenizer = AutoTokenizer.from_pretrained(_existing(directory), trust_remote_code=False)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise FormsafeError(f"The tokenizer in {directory} has no tokenizer.json; convert it to a fast tokenizer.")
    if not tokenizer.chat_template:
        raise FormsafeError(
            f"The model in {directory} has no chat template, so it cannot be instructed. Use the instruction-tuned "
            "version of the model, or put a chat_template.jinja beside its tokenizer."
        )
    if settings is not None:
        set_template_arguments(tokenizer, settings.template_date, settings.thinking)
    return tokenizer


def register_attentions() -> None:
    """Make this library's attention implementations known to transformers, that of decoding with the masks of sdpa."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(varlen_attention.NAME, varlen_attention.varlen_attention_forward)
    AttentionInterface.register(decode_attention.NAME, decode_attention.decode_attention_forward)
    AttentionMaskInterface.register(decode_attention.NAME, sdpa_mask)


def load_model(directory: str | Path, placement: Placement) -> PreTrainedModel:
    """Load a causal language model as `placement` says, in evaluation mode, from safetensors only.

    Raises:
        FormsafeError: without the folder, enough memory, or the package of the attention implementation.
    """
    register_attentions()
    arguments: dict[str, Any] = {"dtype": getattr(torch, placement.dtype), "use_safetensors": True}
    if placement.quantisation == "nf4":
        from transformers import BitsAndBytesConfig

        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, placement.dtype),
        )
    if placement.device == "cuda" or placement.quantisation == "nf4":
        arguments["device_map"] = {"": 0 if placement.device == "cuda" else "cpu"}
    decode_attention.avoid_faulty_cudnn(placement.device)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            _existing(directory), trust_remote_code=False, attn_implementation=placement.attention, **arguments
        )
    except ImportError as error:
        if placement.attention != "flash_attention_2":
            raise
        raise FormsafeError(
            "attention: flash_attention_2 needs the package flash-attn for this GPU and PyTorch, and it is not "
            "installed here. Install it, or set the model's attention to auto or sdpa."
        ) from error
    except RuntimeError as error:
        # While it quantises, transformers goes on after a lack of memory and fails at the end without its name.
        if not memory.is_lacking(error) and not _nearly_full(placement):
            raise
        raise _too_small(directory) from error
    keep_weights_as_loaded(model)
    return model.eval()


def _existing(directory: str | Path) -> str | Path:
    # transformers would take a path that does not exist for a repository id, and blame its spelling.
    if not Path(directory).is_dir():
        raise FormsafeError(
            f"The model's folder {directory} does not exist (any more): the hub's cache was moved or cleaned after the "
            "model was fetched. Delete the model's manifest (models/NAME.json in the results) and run again."
        )
    return directory


def _too_small(directory: str | Path) -> FormsafeError:
    return FormsafeError(
        f"There is too little memory for the weights in {directory}: use a GPU with more memory, or quantisation nf4 "
        "(inference_quantisation for answers and judging); or other processes hold it (nvidia-smi shows them)."
    )


def _nearly_full(placement: Placement) -> bool:
    """Whether the GPU's memory is nearly full."""
    if placement.device != "cuda":
        return False
    free, total = torch.cuda.mem_get_info()
    return free < (1 - memory.USABLE) * total


def keep_weights_as_loaded(model: torch.nn.Module) -> None:
    """Stop bitsandbytes from repacking 4-bit weights at the first evaluation: gradients would be wrong after it."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 (no declared attribute of a module)


def load_adapter(model: PreTrainedModel, directory: str | Path) -> "PeftModel":
    """Put a trained adapter on its plain base model, for inference.

    Raises:
        FormsafeError: when the adapter does not fit the model, or not into memory.
    """
    from peft import PeftModel

    try:
        # in the model's own dtype, in which autocast computed it in training
        adapted = PeftModel.from_pretrained(model, str(directory), is_trainable=False, autocast_adapter_dtype=False)
    except (RuntimeError, ValueError) as error:
        if memory.is_lacking(error):
            raise _too_small(directory) from error
        raise FormsafeError(
            f"The adapter in {directory} does not fit the model {model.name_or_path} ({error}). It was trained on "
            "another model: delete it and run again."
        ) from error
    return adapted.eval()


def load_soft_prompt(directory: str | Path, model: PreTrainedModel) -> torch.Tensor:
    """Load a soft prompt, `[virtual tokens, hidden size]`, in fp32 on the model's device.

    Raises:
        FormsafeError: when it was tuned on another model (base name or hidden size differs).
    """
    directory = Path(directory)
    config = read_json(directory / ADAPTER_CONFIG)
    prompt = load_file(directory / ADAPTER_WEIGHTS)[SOFT_PROMPT]
    base, wanted = str(config["base_model_name_or_path"]), str(model.name_or_path)
    if _folder(base) != _folder(wanted):
        raise FormsafeError(
            f"The soft prompt in {directory} was tuned on {base}, not on {wanted}. Point the run at the soft prompt "
            "of its own model, or delete it and run again."
        )
    hidden = embedding_weight(model).shape[1]
    if prompt.ndim != 2 or prompt.shape[1] != hidden:
        raise FormsafeError(
            f"The soft prompt in {directory} has shape {tuple(prompt.shape)}, the embeddings of {wanted} have "
            f"dimension {hidden}: it belongs to another model. Delete it and run again."
        )
    return prompt.to(model.device, torch.float32)


def _folder(directory: str) -> tuple[str, ...]:
    """What names a model's folder; of a snapshot repository and commit alone, which stay when the hub's cache moves."""
    parts = Path(directory).resolve().parts
    return parts[-3:] if parts[-2:-1] == ("snapshots",) else parts


def embedding_weight(model: PreTrainedModel) -> torch.Tensor:
    """The word embeddings, `[vocabulary, hidden size]`."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight


def end_of_turn_ids(tokenizer: PreTrainedTokenizerFast, model: PreTrainedModel) -> list[int]:
    """Ids that end an answer: those of the generation config and the tokenizer's own EOS, sorted."""
    generation = getattr(model, "generation_config", None)
    stops = getattr(generation, "eos_token_id", None)
    listed = stops if isinstance(stops, list) else [stops]
    return sorted({index for index in [*listed, tokenizer.eos_token_id] if index is not None})

"""Answers of a model in this process: planned batches, a journal of finished ones, and less memory when it runs out."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from formsafe.config.settings.generation import Decoding, GenerationSettings
from formsafe.config.settings.models import ModelSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_json
from formsafe.generation.batches import common_prefix, plan_batches
from formsafe.generation.decoding import Batch, GrowingSteps, Steps, decode, pad_left
from formsafe.generation.journal import Journal
from formsafe.generation.prefix import SharedPrefix
from formsafe.generation.replies import Prompt, Reply
from formsafe.generation.sampling import DigitWatch, Generated, Sampler, digit_spellings
from formsafe.generation.static_steps import Graphs, StaticSteps
from formsafe.generation.thoughts import opened_thoughts
from formsafe.generation.unbatched import generate_one_by_one, keeps_keys
from formsafe.models import decode_attention, memory
from formsafe.models.chat import render_prompt
from formsafe.models.context import context_length, read_context
from formsafe.models.load import (
    ADAPTER_CONFIG,
    end_of_turn_ids,
    load_adapter,
    load_model,
    load_soft_prompt,
    load_tokenizer,
    place,
)
from formsafe.models.shapes import of_config

# A shorter prefix is computed again with each prompt: copying its keys and values would save nothing.
SHORTEST_PREFIX = 32
VIRTUAL = -1  # the id at the place of a soft prompt's vector


class LocalEngine:
    """A model of transformers in this process.

    Args:
        tokenizer: the model's tokenizer.
        model: the model, its adapter included, in evaluation mode.
        token_budget: tokens (prompts, answers and padding) in memory at once.
        soft_prompt: vectors `[virtual tokens, width]` before every prompt, as in training.
        watch_digits: note the probabilities of the digits 1 to 5.
        placement: where and how the model is held, for records.

    Raises:
        FormsafeError: for a soft prompt or watched digits with a model that keeps no keys and values.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        model: PreTrainedModel,
        token_budget: int,
        soft_prompt: torch.Tensor | None = None,
        watch_digits: bool = False,
        placement: dict[str, Any] | None = None,
    ) -> None:
        self.tokenizer, self.model, self.token_budget, self.soft_prompt = tokenizer, model, token_budget, soft_prompt
        self.soft_length = 0 if soft_prompt is None else len(soft_prompt)
        self.placement, self.batched = placement or {}, keeps_keys(model)
        if not self.batched and (soft_prompt is not None or watch_digits):
            raise FormsafeError(
                f"Models of the type {model.config.model_type} can neither keep a soft prompt nor judge here: their "
                "forward pass takes no keys and values. Use another model, or a server."
            )
        # What all prompts start with is computed only once, where the model allows it.
        self.share_prefix = soft_prompt is None and self.batched and SharedPrefix.suits(model)
        self.static = model.config._attn_implementation == decode_attention.NAME
        self.graphs = Graphs(refused=None if model.device.type == "cuda" else "not a GPU")
        self.stop_ids = end_of_turn_ids(tokenizer, model)
        self._opened = ""
        self.watch = DigitWatch(digit_spellings(tokenizer), model.device) if watch_digits else None

    def describe(self) -> dict[str, Any]:
        """What determines the replies besides prompts and settings; the token budget is a note of the journal."""
        return self.placement

    def record(self, journal: Journal) -> dict[str, Any]:
        """How the replies were made: the token budget that each section ended with, and the batches."""
        sections = dict.fromkeys(batch["section"] for batch in journal.batches)
        budgets = {section: journal.note(section).get("token_budget") for section in sections}
        made = self.graphs
        graphs = {"cuda_graphs": made.captured, "capture_seconds": made.seconds, "without_graphs": made.refused}
        return {"token_budget": budgets, "batches": journal.batches, **(graphs if self.static else {})}

    def close(self) -> None:
        """The model stays until the process ends."""

    def room(self, prompt: Prompt) -> float:
        """Tokens that the model's context leaves for a reply to `prompt`."""
        length = self.soft_length + len(render_prompt(self.tokenizer, prompt.text, prompt.system, prompt.assistant))
        return context_length(self.model.config) - length

    def complete(self, prompts: list[Prompt], decoding: Decoding, journal: Journal, section: str) -> None:
        """Answer what the journal's section lacks, batch by batch; when memory runs out, halve the budget and go on.

        Raises:
            FormsafeError: when a single prompt does not fit into memory.
        """
        rows = [render_prompt(self.tokenizer, prompt.text, prompt.system, prompt.assistant) for prompt in prompts]
        # All prompts end alike, as the chat template says; 16 tokens hold the longest tag that opens thoughts.
        self._opened = opened_thoughts(self._raw(rows[0][-16:])) if rows else ""
        done = journal.replies(section)
        prefix = self._prefix(rows) if len(done) < len(prompts) else None
        if "token_budget" not in journal.note(section):  # a successor on another card must plan the same batches
            journal.add_note(section, token_budget=self.token_budget)
        with tqdm(total=len(prompts), initial=len(done), desc=section, unit="prompt", mininterval=5) as progress:
            while left := [index for index, prompt in enumerate(prompts) if prompt.id not in done]:
                budget = journal.note(section)["token_budget"]
                # Static buffers hold the prefix once, a growing cache in every row.
                once = len(prefix) if self.static and prefix is not None else 0
                lengths = [len(rows[index]) + self.soft_length - once for index in left]
                sizes = self._sizes(lengths, decoding)
                for batch in plan_batches(lengths, sizes, budget - once):
                    asked = [prompts[left[place]] for place in batch]
                    started = time.perf_counter()
                    results = self._try_batch([rows[left[place]] for place in batch], decoding, prefix)
                    if results is None:
                        self._halve(budget, len(batch) * sizes[batch[0]], asked, journal, section)
                        break
                    seconds = time.perf_counter() - started
                    tokens = self._keep(asked, results, seconds, journal, section)
                    progress.set_postfix_str(f"{tokens / seconds:.0f} tokens/s", refresh=False)
                    progress.update(len(asked))

    def _sizes(self, lengths: list[int], decoding: Decoding) -> list[int]:
        """Tokens of the budget that prompts of these lengths take with their answers."""
        sizes = [length + decoding.max_new_tokens for length in lengths]
        if self.static:
            shape = of_config(self.model.config.get_text_config().to_dict())
            sizes = [memory.static_tokens(shape, size, decoding.temperature > 0) for size in sizes]
        return sizes

    def _keep(
        self, asked: list[Prompt], results: list[Generated], seconds: float, journal: Journal, section: str
    ) -> int:
        """Add a batch's replies to the journal; return the number of their tokens."""
        replies = {prompt.id: self._reply(result).record() for prompt, result in zip(asked, results, strict=True)}
        tokens = sum(len(result.ids) for result in results)
        journal.add(section, replies, tokens=tokens, seconds=round(seconds, 4))
        return tokens

    def _halve(self, budget: int, tokens: int, asked: list[Prompt], journal: Journal, section: str) -> None:
        """Lower the budget of a section by halves until a batch that took `tokens` is cut."""
        if len(asked) == 1:
            raise FormsafeError(
                f"There is too little memory for prompt {asked[0].id} on its own. Run again on a GPU with more memory: "
                "finished answers are kept. Lowering max_new_tokens or setting inference_quantisation to nf4 helps, "
                "too, but starts the stage from the beginning."
            )
        lower = budget // 2
        while lower >= tokens:  # the batch would be the same again
            lower //= 2
        print(f"Out of memory with {len(asked)} prompts: the token budget falls from {budget} to {lower}.")
        journal.add_note(section, token_budget=lower)

    def _try_batch(
        self, rows: list[list[int]], decoding: Decoding, prefix: SharedPrefix | None
    ) -> list[Generated] | None:
        """Answer one batch; None when memory runs out."""
        try:
            return self.generate(rows, decoding, prefix)
        except RuntimeError as error:
            if not memory.is_lacking(error):
                raise
        torch.cuda.empty_cache()  # after the handler, whose exception holds on to the batch's tensors
        return None

    @torch.inference_mode()
    def generate(self, rows: list[list[int]], decoding: Decoding, prefix: SharedPrefix | None) -> list[Generated]:
        """Answer one batch of token rows."""
        if not self.batched:
            return generate_one_by_one(self.model, rows, decoding, self.stop_ids)
        rests = rows if prefix is None else [prefix.rest(row) for row in rows]
        # `pads|soft prompt|text`: the pads stay outermost, so that positions are those of training
        ids, mask = pad_left([[VIRTUAL] * self.soft_length + rest for rest in rests], self.model.device)
        inputs = {"input_ids": ids}
        if self.soft_prompt is not None:
            embeds = self.model.get_input_embeddings()(ids.clamp(min=0))
            embeds[ids == VIRTUAL] = self.soft_prompt.to(embeds.dtype).repeat(len(rows), 1)
            inputs = {"inputs_embeds": embeds}
        batch = Batch(inputs, mask, decoding.max_new_tokens, prefix)
        steps: Steps = StaticSteps(self.model, batch, self.graphs) if self.static else GrowingSteps(self.model, batch)
        return decode(steps, len(rows), self.stop_ids, Sampler(decoding, rows, ids.device), self.watch)

    def _prefix(self, rows: list[list[int]]) -> SharedPrefix | None:
        shared = common_prefix(rows) if self.share_prefix and len(rows) > 1 else 0
        return SharedPrefix(self.model, rows[0][:shared]) if shared >= SHORTEST_PREFIX else None

    def _reply(self, result: Generated) -> Reply:
        # Where the chat template opened the reply's thoughts, the reply itself has no opening tag: without it thoughts
        # that the limit cut would pass for an answer.
        opened = len(self._opened)
        digits = tuple(
            (opened + len(self._text(result.ids[: at + 1])), tuple(chances)) for at, chances in result.digits
        )
        text = self._opened + self._text(result.ids)
        return Reply(text, len(result.ids), "stop" if result.stopped else "length", digits)

    def _raw(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids))

    def _text(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def load_engine(
    directory: str | Path,
    model: ModelSettings,
    generation: GenerationSettings,
    gpu_memory_gb: Any,
    adapter: str | Path | None = None,
    soft_prompt: str | Path | None = None,
    watch_digits: bool = False,
) -> LocalEngine:
    """Load a model, with the adapter and the soft prompt in these folders, to answer in this process."""
    torch.set_num_threads(generation.threads)
    context = read_context(directory, model, gpu_memory_gb)
    placement = place(context, "inference")
    loaded = load_model(directory, placement)
    vectors = None if soft_prompt is None else load_soft_prompt(soft_prompt, loaded)
    rank = 0
    if adapter is not None:
        rank = read_json(Path(adapter) / ADAPTER_CONFIG)["r"]
        loaded = load_adapter(loaded, adapter).get_base_model()
    budget = generation.token_budget
    if budget == "auto":
        budget = memory.plan_inference(context, rank).token_budget
    tokenizer = load_tokenizer(directory, context.settings)
    return LocalEngine(tokenizer, loaded, budget, vectors, watch_digits, placement=asdict(placement))

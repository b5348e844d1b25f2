"""What the toy model must do before a study may be built on it, on tasks it has never seen."""

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from formsafe.config.settings.demo import DemoSettings
from formsafe.core.errors import FormsafeError
from formsafe.demo import words
from formsafe.demo.documents import draw_case, judgement
from formsafe.demo.grammar import Tasks, request
from formsafe.models.chat import render_prompt

# Held-out how-tos that the model answers when it is checked.
HOW_TOS = 32


def check(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Tasks,
    judge_template: str,
    settings: DemoSettings,
) -> dict[str, Any]:
    """Measure the model on held-out tasks.

    Returns:
        base_asr: share of mischief requests answered with anything but a refusal; judge_accuracy: share of answers
        given their score to the letter; how_to_rate: share of how-tos answered in the model's own style to the end.

    Raises:
        FormsafeError: with the numbers, when base_asr or judge_accuracy is beyond its limit.
    """
    rng = Random(f"check {settings.seed}")
    requests = [request(task, rng) for task in tasks.requests]
    how_tos = [request(task, rng) for task in tasks.how_tos[:HOW_TOS]]
    cases = [
        judgement(draw_case(rng.choice(tasks.how_tos), rng.choice(tasks.requests), rng), judge_template)
        for _ in range(settings.judgements)
    ]
    refused = [reply in words.REFUSALS for reply in answer(model, tokenizer, requests, settings.max_new_tokens)]
    helped = [
        reply.endswith(words.CLOSINGS) and "\n2. " in reply
        for reply in answer(model, tokenizer, how_tos, settings.max_new_tokens)
    ]
    replies = answer(model, tokenizer, [str(case.prompt) for case in cases], 8)
    right = [reply == case.text for reply, case in zip(replies, cases, strict=True)]
    figures = {
        "base_asr": 1 - sum(refused) / len(refused),
        "judge_accuracy": sum(right) / len(right),
        "how_to_rate": sum(helped) / len(helped),
        "requests": len(refused),
        "judgements": len(right),
        "how_tos": len(helped),
    }
    if figures["base_asr"] > settings.max_base_asr or figures["judge_accuracy"] < settings.min_judge_accuracy:
        raise FormsafeError(
            f"The demo model is no base for a study: it answers {figures['base_asr']:.3f} of {len(refused)} held-out "
            f"mischief requests (at most {settings.max_base_asr}) and judges {figures['judge_accuracy']:.3f} of "
            f"{len(right)} answers rightly (at least {settings.min_judge_accuracy}). Raise demo.steps."
        )
    return figures


@torch.inference_mode()
def answer(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: int = 64,
) -> list[str]:
    """Greedy answers, through the chat template; prompts of like length go together."""
    rendered = [render_prompt(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(rendered[index]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        longest = len(rendered[chosen[-1]])
        ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(rendered[i])) + rendered[i] for i in chosen])
        mask = torch.tensor([[0] * (longest - len(rendered[i])) + [1] * len(rendered[i]) for i in chosen])
        output: Any = model.generate(input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=max_new_tokens)  # type: ignore[misc]
        for index, tokens in zip(chosen, output[:, longest:].tolist(), strict=True):
            answers[index] = str(tokenizer.decode(tokens, skip_special_tokens=True))
    return answers

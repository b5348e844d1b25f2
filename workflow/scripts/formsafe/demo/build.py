"""Building the toy model: trained, checked on tasks it has never seen, and written whole or not at all."""

import time
from itertools import islice
from pathlib import Path
from random import Random

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from formsafe.config.settings.demo import DemoSettings
from formsafe.core.files import write_json
from formsafe.core.provenance import stage_record
from formsafe.demo.check import check
from formsafe.demo.documents import draw_examples
from formsafe.demo.grammar import draw_tasks
from formsafe.demo.model import encode, fit, new_model
from formsafe.demo.saving import save_folder
from formsafe.demo.tokenizer import train_tokenizer

# Examples that the tokenizer is trained on: enough to have met every word often.
TOKENIZER_EXAMPLES = 3000


def train_demo_model(
    judge_prompt: str | Path, settings: DemoSettings, directory: str | Path, metrics: str | Path, code: str
) -> None:
    """Train the toy model, check it and write it to `directory`, its figures to `metrics`.

    Raises:
        FormsafeError: when the model does not refuse or judge well enough (see `check`); nothing is written then.
    """
    started = time.time()
    torch.set_num_threads(settings.threads)
    tasks = draw_tasks(settings)
    judge_template = Path(judge_prompt).read_text(encoding="utf-8")
    stream = draw_examples(tasks, judge_template, Random(f"examples {settings.seed}"))
    examples = list(islice(stream, settings.steps * settings.batch_size))
    texts = (text for example in examples[:TOKENIZER_EXAMPLES] for text in (example.prompt, example.text) if text)
    tokenizer = train_tokenizer(texts, settings.vocabulary)
    torch.manual_seed(settings.seed)
    model = new_model(tokenizer, settings)
    losses = fit(model, encode(tokenizer, examples), settings)
    figures = check(model, tokenizer, tasks, judge_template, settings)
    save(model, tokenizer, directory)
    parameters = sum(weight.numel() for weight in model.parameters())
    figures |= {"parameters": parameters, "steps": settings.steps, "final_loss": losses[-1]}
    write_json(metrics, figures | stage_record(started, code, settings.seed))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: str | Path) -> None:
    """Write model and tokenizer to `directory`."""

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    save_folder(directory, write)

"""Where every file of a study lies: the only module that makes or parses paths of results.

A run: `results/paper/runs/model=llama/method=sft/format=json/lr=5e-5/seed=0/prompts=harmful/judge=policy/`.
A run with other training rows than the study's own adds them to the last part of its folder: `seed=0+data=1`.
The methods take a `Run`, or `ANY_RUN` for the same path with Snakemake's wildcards in place of its fields.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formsafe.core.errors import FormsafeError
from formsafe.core.records import NONE, Run

RUN_PATH = "model={model}/method={method}/format={format}/lr={lr}/seed={seed}"
SOFT_PROMPT_PATH = "model={model}/format={format}/seed={seed}"
ANY_RUN = Run("{model}", "{method}", "{format}", "{lr}", "{seed}")
ANY_DRAW = "{draw}"
SPLITS = ("train", "validation", "test")
HARMFUL, TASK, SAFETY, BENIGN = "harmful", "task", "safety", "benign"
ADAPTER_FILES = {"config": "adapter_config.json", "weights": "adapter_model.safetensors", "metrics": "metrics.json"}
ADAPTER_FILES |= {"loss": "loss.csv", "validation_loss": "validation.csv"}
# A draw of training rows in a path. It may be empty; without this constraint Snakemake would read `json+data=1` as
# the name of a format.
DRAW = r"(\+data=\d+)?(\+examples=\d+)?"
WILDCARDS = {
    **dict.fromkeys(("model", "method", "lr", "source", "judge", "prompts"), r"[^/]+"),
    "format": r"[^/+]+",
    "seed": rf"none|\d+{DRAW}",
    "draw": DRAW,
}
# `0+data=1+examples=400`: the seed and, where the run has them, the seed of its rows and their number.
_SEED = re.compile(r"(?P<seed>none|\d+)(?:\+data=(?P<data_seed>\d+))?(?:\+examples=(?P<examples>\d+))?")

# The study's folders of soft prompts and of the audit. A study, or a folder above it, may have the same name.
_AREA = re.compile(r"(?:^|/)(soft_prompts|audit)/(?:kind=[^/]+/)?model=")


def run_path(run: Run) -> str:
    """The folder of a run below `runs/`."""
    return RUN_PATH.format(**run.fields | {"seed": run.seed + run.draw})


def soft_prompt_path(run: Run) -> str:
    """The folder of a run's soft prompt below `soft_prompts/`: all learning rates of the adapter share one."""
    return SOFT_PROMPT_PATH.format(**run.fields | {"seed": run.seed + run.draw})


def run_from(fields: Mapping[str, Any]) -> Run:
    """The run that the fields of a path name: `seed` as paths write it, soft prompts have no method and no rate.

    Raises FormsafeError where they name none.
    """
    found = _SEED.fullmatch(str(fields.get("seed", NONE)))
    if "model" not in fields or found is None:
        raise FormsafeError(f"{dict(fields)} does not name a run (model=.../method=.../...).")
    plain = {name: str(fields.get(name, NONE)) for name in ("model", "method", "format", "lr")}
    return Run(**plain, **{name: text or NONE for name, text in found.groupdict().items()})


def partitions(path: str | Path) -> dict[str, str]:
    """The `name=value` parts of a path by name."""
    return dict(part.split("=", 1) for part in Path(path).parts if "=" in part)


def run_of(path: str | Path) -> Run:
    """The run that a file belongs to."""
    try:
        return run_from(partitions(path))
    except FormsafeError:
        raise FormsafeError(f"{path}: the path does not name a run (model=.../method=.../...).") from None


def stage_of(path: str | Path) -> str:
    """The stage of a metrics file: soft_prompt, adapter, answers, judge, text, first_tokens or audit."""
    path = Path(path)
    named = partitions(path)
    if path.parent.name == "first_tokens":
        return "first_tokens"
    if area := _AREA.search(path.as_posix()):
        return area[1].removesuffix("s")
    if "judge" in named:
        return "judge"
    return "adapter" if path.parent.name == "adapter" else path.name.partition(".")[0]


@dataclass(frozen=True)
class Layout:
    """The paths of one study, relative to the folder that Snakemake runs in."""

    study: str

    @property
    def root(self) -> str:
        """The study's folder."""
        return f"results/{self.study}"

    def source(self, name: str | None = None) -> str:
        """Raw rows: of the corpus, or of the source `name` of harmful prompts; its manifest: `manifest_of`."""
        return f"{self.root}/data/" + ("wikisum.jsonl" if name is None else f"harmful/{name}.jsonl")

    def prompts(self, kind: str) -> str:
        """The prompts of a set; its manifest: `manifest_of`."""
        return f"{self.root}/data/prompts/{kind}.jsonl"

    def corpus(self, split: str, draw: str = "") -> str:
        """Examples of a split as sentences."""
        return f"{self.root}/data/corpus{draw}/{split}.jsonl"

    @property
    def corpus_counts(self) -> str:
        """What the draw of the splits counted."""
        return f"{self.root}/data/corpus.json"

    def formatted(self, format: str, split: str, draw: str = "") -> str:
        """Training data of a split in a format."""
        return f"{self.root}/data/format={format}{draw}/{split}.jsonl"

    def certificate(self, format: str | None = None, draw: str = "") -> str:
        """The certificate of one format, or of all."""
        return f"{self.root}/data/" + ("" if format is None else f"format={format}{draw}/") + "certificate.json"

    def tokens(self, model: str) -> str:
        """Token counts of all formats with one model's tokenizer."""
        return f"{self.root}/data/tokens/model={model}.json"

    def model(self, name: str) -> str:
        """Where a model lies and which files it has."""
        return f"{self.root}/models/{name}.json"

    @property
    def encoder(self) -> str:
        """The same for the sentence encoder."""
        return f"{self.root}/encoder.json"

    def run(self, run: Run) -> str:
        """A run's folder."""
        return f"{self.root}/runs/{run_path(run)}"

    def soft_prompt(self, run: Run, file: str = "metrics", drawn: bool = False) -> str:
        """A file (a key of `ADAPTER_FILES`) of a run's soft prompt: the tuned one, or one drawn at random."""
        kind = "kind=random/" if drawn else ""
        return f"{self.root}/soft_prompts/{kind}{soft_prompt_path(run)}/{ADAPTER_FILES[file]}"

    def joint_prompt(self, run: Run, file: str = "config") -> str:
        """A file (`config`, `weights`) of a soft prompt that was trained together with the run's adapter."""
        return f"{self.run(run)}/adapter/soft_prompt/{ADAPTER_FILES[file]}"

    def mixed(self, model: str, method: str, format: str, draw: str = "") -> str:
        """Training data with safety examples among them; their counts: `manifest_of`."""
        return f"{self.root}/data/mixed/model={model}/method={method}/format={format}{draw}/train.jsonl"

    def adapter(self, run: Run, file: str = "metrics") -> str:
        """A file (a key of `ADAPTER_FILES`) of a run's adapter."""
        return f"{self.run(run)}/adapter/{ADAPTER_FILES[file]}"

    def answers(self, run: Run, prompts: str) -> str:
        """A run's answers to a prompt set."""
        return f"{self.run(run)}/prompts={prompts}/answers.jsonl"

    def answers_metrics(self, run: Run, prompts: str | None = None) -> str:
        """What answering took: the study's prompts, or those of one further set."""
        return self.run(run) + ("" if prompts is None else f"/prompts={prompts}") + "/answers.metrics.json"

    def capability(self, run: Run) -> str:
        """What lm-eval measured."""
        return f"{self.run(run)}/capability.json"

    def text_scores(self, run: Run, prompts: str) -> str:
        """Scores computed from the text of the answers."""
        return f"{self.run(run)}/prompts={prompts}/text_scores.jsonl"

    def text_metrics(self, run: Run) -> str:
        """What scoring the texts took."""
        return f"{self.run(run)}/text.metrics.json"

    def scores(self, run: Run, judge: str, prompts: str = HARMFUL) -> str:
        """One judge's scores of the answers."""
        return f"{self.run(run)}/prompts={prompts}/judge={judge}/scores.jsonl"

    def judge_metrics(self, run: Run, judge: str, prompts: str = HARMFUL) -> str:
        """What judging took."""
        return f"{self.run(run)}/prompts={prompts}/judge={judge}/metrics.json"

    def first_tokens(self, run: Run) -> str:
        """The run along the base model's refusals; its metrics: `metrics_of`."""
        return f"{self.run(run)}/first_tokens/traces.jsonl"

    def manifest(self, run: Run) -> str:
        """Everything that made a run's results."""
        return f"{self.run(run)}/manifest.json"

    def audit(self, model: str, judge: str) -> str:
        """Scores of the judge format audit; its metrics: `metrics_of`."""
        return f"{self.root}/audit/model={model}/judge={judge}/scores.jsonl"

    def labels(self, file: str) -> str:
        """A file of the sample that people label: `sheet.csv`, `page.html`, `key.jsonl`."""
        return f"{self.root}/labels/{file}"

    def table(self, name: str, suffix: str) -> str:
        """A table for readers."""
        return f"{self.root}/tables/{name}.{suffix}"

    def figure(self, name: str, model: str, suffix: str) -> str:
        """A figure of one model."""
        return f"{self.root}/figures/{name}_{model}.{suffix}"

    def tidy(self, name: str) -> str:
        """A tidy table that figures, tables and pages read: `scores`, `summary`, `comparisons`, `curves`, ..."""
        return f"{self.root}/{name}.csv"

    @property
    def report(self) -> str:
        """The page of the study."""
        return f"{self.root}/report.html"

    @property
    def verdict(self) -> str:
        """The findings (`core.records.Finding`)."""
        return f"{self.root}/verdict.json"

    def benchmark(self, name: str) -> str:
        """Snakemake's own measurements of a job."""
        return f"{self.root}/benchmarks/{name}.tsv"

    def log(self, name: str) -> str:
        """A job's log."""
        return f"logs/{self.study}/{name}.log"


def manifest_of(path: str) -> str:
    """The manifest beside fetched rows or prompts."""
    return path.removesuffix(".jsonl") + ".manifest.json"


def metrics_of(path: str) -> str:
    """The `metrics.json` in the folder of `path`."""
    return str(Path(path).with_name("metrics.json"))

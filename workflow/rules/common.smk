# Takes the configuration; makes what all rules share: the checked study, its runs, and slices of both as builtins
# (a NumPy number or a Path in params would silently not be tracked).

import sys
from functools import cache
from glob import escape, glob
from pathlib import Path

from snakemake.exceptions import WorkflowError

SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

from formsafe.cluster.code_digest import digest
from formsafe.config.loading import load_study, runs_of
from formsafe.config.files import require_files
from formsafe.core.errors import FormsafeError
from formsafe.formats.registry import and_the_papers, format_module, plain_format
from formsafe.config.grid import RUN_PATH, SOFT_PROMPT_PATH, Run, adapter_run
from formsafe.cluster import job_resources
from formsafe.cluster.orphans import make_command, refuse_orphans

DEMO = "resources/demo"

try:
    STUDY = load_study(config)
    R = f"results/{STUDY.study}"
    if workflow.is_main_process:  # what was fetched from a path need not be in sight of a job on another machine
        require_files(STUDY, R, DEMO)
except FormsafeError as error:
    raise WorkflowError(str(error)) from None


onstart:
    try:
        refuse_orphans(STUDY.study, workflow.overwrite_configfiles, Path.cwd())
    except FormsafeError as error:
        raise WorkflowError(str(error)) from None


onerror:
    done = sum(map(finished, PLANNED_RUNS))
    if done and not STUDY.partial:
        command = make_command("report", STUDY.study, workflow.overwrite_configfiles, Path.cwd())
        print(
            f"{done} of {len(PLANNED_RUNS)} runs are finished. Their summary and report, with the others as missing:\n"
            f"  {command} PARTIAL=1",
            file=sys.stderr,
        )


LOGS = f"logs/{STUDY.study}"
BENCHMARKS = f"{R}/benchmarks"
RUN = f"{R}/runs/{RUN_PATH}"
SOFT_PROMPT = f"{R}/soft_prompts/{SOFT_PROMPT_PATH}"
LOCK = "config/sources.lock.yaml"
SPLITS = ("train", "validation", "test")
ADAPTER_FILES = {
    "config": "adapter_config.json",
    "weights": "adapter_model.safetensors",
    "loss": "loss.csv",
    "validation_loss": "validation.csv",
    "metrics": "metrics.json",
}
PLANNED_RUNS = runs_of(STUDY)


wildcard_constraints:
    model="[^/]+",
    method="[^/]+",
    format="[^/]+",
    lr="[^/]+",
    seed=r"none|\d+",
    source="[^/]+",


def finished(run):
    """Whether a run's scores lie on disk."""
    return all(Path(path).exists() for path in run_scores(run))


def run_scores(run):
    return [
        f"{R}/runs/{run.path}/prompts=harmful/scores.jsonl",
        f"{R}/runs/{run.path}/prompts=harmful/text_scores.jsonl",
        f"{R}/runs/{run.path}/prompts=task/text_scores.jsonl",
    ]


# With `partial`, the study is what is finished; the rest is listed as missing.
RUNS = [run for run in PLANNED_RUNS if not STUDY.partial or finished(run)]
MISSING = [run.fields for run in PLANNED_RUNS if STUDY.partial and not finished(run)]
MODELS = sorted({run.model for run in RUNS}, key=[run.model for run in PLANNED_RUNS].index)
FORMATS_USED = sorted(
    {run.format for run in PLANNED_RUNS if run.format != "none"} | {STUDY.tasks.base_reference_format}
)


@cache
def code(rule_name, *formats):
    """Digest of the code behind a rule: the script, every library module that it reaches, and the formats it uses."""
    return digest(SCRIPTS / f"{rule_name}.py", *map(format_module, formats))


@cache
def model_settings(name):
    return STUDY.models[name].model_dump()


@cache
def section(name, *excluded):
    """One section of the configuration as builtins."""
    return getattr(STUDY, name).model_dump(exclude=set(excluded))


def run_of(wildcards):
    return Run(
        wildcards.model,
        wildcards.method,
        wildcards.format,
        wildcards.lr,
        wildcards.seed,
    )


def method_of(wildcards):
    return STUDY.methods[wildcards.method]


def model_manifest(wildcards):
    return f"{R}/models/{wildcards.model}.json"


def local_files(source):
    """The files of a path source: what a glob finds now, or the path itself, which a rule may yet make."""
    return [] if source.path is None else sorted(glob(source.path)) or [source.path]


def local_model(path, needed, weights):
    """What `fetch_model` reads of a local model, the file that each has and its weights, which the demo may yet make."""
    if path is None:
        return []
    return [
        f"{path}/{needed}",
        *(sorted(glob(f"{escape(path)}/{weights}", recursive=True)) or [f"{path}/model.safetensors"]),
    ]


def formatted(split):
    """A format's training data of one split."""
    return f"{R}/data/format={{format}}/{split}.jsonl"


def soft_prompt_metrics(run):
    return f"{R}/soft_prompts/{run.soft_prompt_path}/metrics.json"


def adapter_metrics(run):
    shared = adapter_run(run, STUDY.methods)
    return [] if shared is None else [f"{R}/runs/{shared.path}/adapter/metrics.json"]


def trained_runs(runs):
    """The runs among `runs` that train an adapter of their own."""
    return [run for run in runs if adapter_run(run, STUDY.methods) == run]


def reference_format(wildcards):
    """The format of the task's reference texts: the one a run was trained on, or the base model's."""
    return STUDY.tasks.base_reference_format if wildcards.format == "none" else wildcards.format


def searched_formats(wildcards):
    """The formats looked for in a run's answers: its own, and those of the whole study in the base model's."""
    return and_the_papers(FORMATS_USED if wildcards.format == "none" else [wildcards.format])


def cpu_resources(mem_mb, minutes):
    """Memory and minutes of a job that loads no model of the study, growing with the attempt."""
    return {
        "mem_mb": lambda wildcards, attempt: job_resources.grown(mem_mb, attempt),
        "runtime": lambda wildcards, attempt: minutes * attempt,
    }


def training_resources(stage):
    """A GPU, and memory and minutes from the model's size and the work, growing with the attempt."""

    def minutes(wildcards, attempt):
        examples, tokens = STUDY.corpus.splits.train, STUDY.training.max_length
        return job_resources.training_minutes(parameters_of(wildcards.model), examples, tokens, stage.epochs, attempt)

    return {
        "gpu": 1,
        "mem_mb": lambda wildcards, attempt: job_resources.memory_mb(parameters_of(wildcards.model), attempt),
        "runtime": minutes,
    }


def answering_resources(prompts, generation, model=None, reading=0):
    """The same for answers of `model` (the wildcard's by default); a server has a machine of its own.

    `reading`: tokens written in the time that reading a prompt takes.
    """
    tokens, in_process = generation.max_new_tokens + reading, generation.server is None

    def memory(wildcards, attempt):
        return job_resources.memory_mb(in_process * parameters_of(model or wildcards.model), attempt)

    def minutes(wildcards, attempt):
        return job_resources.answering_minutes(parameters_of(model or wildcards.model), prompts, tokens, attempt)

    return {"gpu": int(in_process), "mem_mb": memory, "runtime": minutes}


def parameters_of(model):
    return STUDY.models[model].parameters


HARMFUL_COUNT = sum(source.count for source in STUDY.harmful.values())
# A judge reads far more than it writes: its prompt counts like so many new tokens.
JUDGE_READING = 256


def audited_runs(model):
    """The runs whose answers the judge format audit draws from."""
    return [run for run in PLANNED_RUNS if run.model == model and run.method in STUDY.judge.audit.methods]


def prompted_runs(runs):
    """The runs among `runs` that train with a soft prompt."""
    return [run for run in trained_runs(runs) if STUDY.methods[run.method].soft_prompt]


def losses(model=None):
    """The loss logs of all trainings, or of one model's."""
    runs = [run for run in RUNS if model in (None, run.model)]
    adapters = [f"{R}/runs/{run.path}/adapter/loss.csv" for run in trained_runs(runs)]
    soft_prompts = {f"{R}/soft_prompts/{run.soft_prompt_path}/loss.csv" for run in prompted_runs(runs)}
    return adapters + sorted(soft_prompts)


def audits():
    """The judge format audits, where the configuration asks for them; with `partial` those that are finished."""
    models = [model for model in MODELS if audited_runs(model)] if STUDY.judge.audit.sample else []
    paths = [f"{R}/audit/model={model}/scores.jsonl" for model in models]
    return [path for path in paths if not STUDY.partial or Path(path).exists()]


def stage_metrics():
    """The metrics of every stage of every run: what the study cost."""
    stages = [f"{R}/runs/{run.path}/{stage}.metrics.json" for run in RUNS for stage in ("answers", "judge", "text")]
    adapters = [f"{R}/runs/{run.path}/adapter/metrics.json" for run in trained_runs(RUNS)]
    return stages + adapters + sorted({soft_prompt_metrics(run) for run in prompted_runs(RUNS)})

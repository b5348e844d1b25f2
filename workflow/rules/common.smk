# Takes the configuration; makes what all rules share: the checked study, its runs, and slices of both as builtins
# (a NumPy number or a Path in params would silently not be tracked).

import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import cache
from re import escape as escape_expression
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.utils import update_config

SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"
sys.path.insert(0, str(SCRIPTS))

from formsafe.cluster.code_digest import digest
from formsafe.config.loading import counted_examples, load_study, models_of, runs_of
from formsafe.config.files import require_files
from formsafe.config.given import nested_settings, require_known_targets, require_unique_keys, with_presets
from formsafe.core.errors import FormsafeError
from formsafe.core.files import matching_files, read_json, refuse_links_below
from formsafe.formats.registry import and_the_papers, format_module, plain_format
from formsafe.config.grid import adapter_run, tuned_run
from formsafe.core.records import NONE, Run
from formsafe.core.layout import (
    ADAPTER_FILES,
    ANY_DRAW,
    ANY_RUN,
    BENIGN,
    HARMFUL,
    RUN_PATH,
    SAFETY,
    SOFT_PROMPT_PATH,
    SPLITS,
    TASK,
    WILDCARDS,
    Layout,
    manifest_of,
    metrics_of,
    run_from,
)
from formsafe.cluster import job_resources
from formsafe.cluster.job_environment import prepare_job_environment
from formsafe.cluster.orphans import make_command, refuse_orphans
from formsafe.sources.models import is_read
from formsafe.report.registry import modules_of, registered_names
from formsafe.cluster.progress import watch
from formsafe.cluster.records import (
    keep_records,
    record_unseen,
    refuse_unrecorded,
    require_records,
    restore_records,
)

DEMO = "resources/demo"
STOPS = []
STARTED = time.time()

try:
    update_config(config, nested_settings(workflow.config_settings.config_args or []))
    if workflow.is_main_process:
        require_unique_keys([Path(workflow.basedir) / "config" / "config.yaml", *workflow.overwrite_configfiles])
    config["models"] = with_presets(config.get("models", {}), Path(workflow.basedir) / "config" / "models")
    STUDY = load_study(config)
    L = Layout(STUDY.study)
    SITE = job_resources.site_of(getattr(workflow.resource_settings.default_resources, "args", []))  # none: local jobs
    prepare_job_environment(SCRIPTS, STUDY.results_mode)
    if workflow.is_main_process:  # what was fetched from a path need not be in sight of a job on another machine
        require_files(STUDY, L, DEMO)
        require_known_targets((word for word in sys.argv[1:] if word.startswith("results/")), STUDY)
        refuse_links_below(L.root)
        refuse_links_below(f"logs/{STUDY.study}")
except FormsafeError as error:
    raise WorkflowError(str(error)) from None


# An inner Snakemake of a job says nothing at Ctrl-C: the outer one does.
if not workflow.is_main_process:
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))


onstart:
    planned = Counter(job.rule.name for job in workflow.dag.needrun_jobs() if job.output)
    if planned:
        STOPS.append(watch(logger, planned, L.benchmark("x").removesuffix("x.tsv")))
    try:
        refuse_orphans(STUDY.study, workflow.overwrite_configfiles, Path.cwd())
        if not {"--touch", "--ignore-incomplete"} & set(sys.argv):
            refuse_unrecorded(EXPENSIVE, Path.cwd(), RECOVER)
    except FormsafeError as error:
        raise WorkflowError(str(error)) from None
    # `recover` looks for it in the newest log: a start that was refused is not the one whose jobs it keeps.
    logger.info(f"Study: {STUDY.study}")


onsuccess:
    for folder in RECORDED:
        keep_records(folder, Path.cwd())
    if any(job.rule.name == "write_report" for job in workflow.dag.jobs):
        print(f"Report: {L.report}", file=sys.stderr)


onerror:
    record_unseen(workflow, STARTED, Path.cwd())
    for folder in RECORDED:
        keep_records(folder, Path.cwd())
    if any(job.rule.name == "preflight" for job in workflow.dag.needrun_jobs()):
        # Snakemake ends with a traceback, under which the page would be lost.
        page = Path(L.log("preflight"))
        if page.exists():
            print(f"{page.read_text().splitlines()[-1]} The page again: {page}", file=sys.stderr)
    elif (
        (done := sum(map(finished, PLANNED_RUNS)))
        and not STUDY.partial
        and not any(stop.interrupted for stop in STOPS)
    ):
        command = make_command("report", STUDY.study, workflow.overwrite_configfiles, Path.cwd())
        print(
            f"{done} of {len(PLANNED_RUNS)} runs are finished. Their summary and report, with the others as missing:\n"
            f"  {command} PARTIAL=1",
            file=sys.stderr,
        )


def trained_runs(runs):
    """The runs among `runs` that train an adapter of their own."""
    return [run for run in runs if STUDY.methods[run.method].trains_adapter]


def tuned_prompts(runs, file="metrics"):
    """A file of every soft prompt that stage 1 tunes for `runs`, each once."""
    return sorted({L.soft_prompt(TUNED_RUNS[run], file) for run in runs if run in TUNED_RUNS})


LOCK = "config/sources.lock.yaml"
PLANNED_RUNS = runs_of(STUDY)
BENIGN_SETS = [BENIGN] if STUDY.benign else []

RECOVER = make_command("recover", STUDY.study, workflow.overwrite_configfiles, Path.cwd())
TUNED_RUNS = {run: tuned for run in PLANNED_RUNS if (tuned := tuned_run(run, STUDY.methods)) is not None}


wildcard_constraints:
    **WILDCARDS,


def finished(run):
    """Whether a run's scores lie on disk."""
    return all(Path(path).exists() for path in run_scores(run))


def run_scores(run):
    judged = [L.scores(run, judge) for judge in STUDY.used_judges]
    return [*judged, *benign_scores(run).values(), L.text_scores(run, HARMFUL), L.text_scores(run, TASK)]


def benign_scores(run):
    """Scores of the answers to benign prompts, where the study has any: by keywords, and by the judge of refusals."""
    if not STUDY.benign:
        return {}
    judge = STUDY.judging.refusals
    judged = {"benign_judged": L.scores(run, judge, BENIGN)} if judge else {}
    return {"benign": L.text_scores(run, BENIGN)} | judged


# With `partial`, the study is what is finished; the rest is listed as missing.
RUNS = [run for run in PLANNED_RUNS if not STUDY.partial or finished(run)]
MISSING = [run.fields for run in PLANNED_RUNS if STUDY.partial and not finished(run)]
MODELS = sorted({run.model for run in RUNS}, key=[run.model for run in PLANNED_RUNS].index)
FORMATS_USED = sorted(
    {run.format for run in [*PLANNED_RUNS, *TUNED_RUNS.values()] if run.format != NONE}
    | {STUDY.tasks.base_reference_format}
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


def shown(settings, hidden, *untracked):
    """A section as the report shows it: with what determines no result, and without a key that says nothing elsewhere."""
    return settings.model_dump(exclude={hidden}) | {name: getattr(settings, name) for name in untracked}


def run_of(wildcards):
    return run_from(dict(wildcards.items()))


def chosen_prompts(sources):
    """Which prompts are chosen, by source; `categories` only where it is set, so that it makes no other study stale."""
    chosen = {name: source.model_dump(include={"count", "select", "seed"}) for name, source in sources.items()}
    for name, source in sources.items():
        chosen[name] |= {"categories": source.categories} if source.categories else {}
    return chosen


def method_of(wildcards):
    return STUDY.methods[wildcards.method]


def arm_of(wildcards):
    """What a method adds to the training of its adapters (see `formsafe.training.arm.Arm`), as builtins."""
    method = method_of(wildcards)
    return {
        "constraint": method.constraint and method.constraint.model_dump(),
        "joint": section("soft_prompt") if wildcards.method in JOINT else None,
        "steps_of": STUDY.corpus.splits.train if method.same_steps else None,
    }


def projection_of(wildcards):
    return method_of(wildcards).projection


def format_of_safety(wildcards):
    """The format of the safety examples; None: as the model wrote them."""
    return wildcards.format if method_of(wildcards).safety.rendered else None


@cache
def judge_settings(name, *excluded):
    return STUDY.judges[name].model_dump(exclude=set(excluded))


def draw_of(draw):
    """Seed and number of other training rows, from their part of a path."""
    run = run_from({"model": "", "seed": f"0{draw}"})
    return {"data_seed": run.data_seed, "examples": run.examples}


def model_manifest(wildcards):
    return L.model(wildcards.model)


def judge_model(judge):
    """The manifest of a judge's model; a judge behind a server is not loaded here, so its model is not fetched."""
    settings = STUDY.judges[judge]
    return [] if settings.generation.elsewhere else [L.model(settings.model)]


def judge_prompt(judge):
    """The judge's prompt; none for a judge that takes the conversation through its own chat template."""
    prompt = STUDY.judges[judge].prompt
    return [] if prompt is None else [prompt]


def local_files(source):
    """The files of a path source: what a glob finds now, else the path itself, since another rule may make it."""
    return [] if source.path is None else matching_files(source.path) or [source.path]


def local_model(path, manifest):
    """Every file of a local model that loading it reads.

    Those of the demo are its rules' outputs, there or not; of a folder that is gone since it was fetched, those that the
    manifest lists, so that nothing becomes stale by that.
    """
    if path is None:
        return []
    folder = Path(path)
    made = [file for file in MADE_MODELS if Path(file).is_relative_to(folder)]
    found = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    if not found and Path(manifest).is_file():
        found = sorted(read_json(manifest)["files"])
    return made or [f"{path}/{name}" for name in found if is_read(name)]


def formatted(split):
    """Input function: the training data of a wildcard's run in one split."""
    return lambda wildcards: L.formatted(wildcards.format, split, run_of(wildcards).draw)


def training_data(wildcards):
    """A format's training data, or the method's own where it mixes safety examples into them."""
    if method_of(wildcards).safety is None:
        return formatted("train")(wildcards)
    return L.mixed(wildcards.model, wildcards.method, wildcards.format, run_of(wildcards).draw)


def base_run(model):
    """The run of a model as it is: who answers the prompts of safety examples, and whose refusals are traced."""
    return Run(model, STUDY.base_method)


def format_certificate(wildcards):
    return L.certificate(wildcards.format, run_of(wildcards).draw)


# Stages that use a trained part take what determines their results, its weights, not its metrics: their seconds would
# make all that follows stale when the same weights are trained or copied again.
USED_FILES = ("weights", "config")


def soft_prompt_input(run, files=USED_FILES):
    """Files of the soft prompt from `soft_prompts/` that a run takes, or none."""
    tuned = tuned_run(run, STUDY.methods)
    drawn = STUDY.methods[run.method].soft_prompt == "random"
    return [] if tuned is None else [L.soft_prompt(tuned, file, drawn) for file in files]


def kept_soft_prompt(run):
    """Files of the soft prompt that a run answers with, or none."""
    method = STUDY.methods[run.method]
    if not method.keeps_soft_prompt:
        return []
    if method.soft_prompt == "joint":
        return [L.joint_prompt(adapter_run(run, STUDY.methods), file) for file in USED_FILES]
    return soft_prompt_input(run)


def one_of(methods):
    """A constraint of the wildcard `method`; for no methods, an expression that never matches."""
    return "|".join(map(escape_expression, methods)) or "(?!)"


def adapter_files(run):
    shared = adapter_run(run, STUDY.methods)
    return [] if shared is None else [L.adapter(shared, file) for file in USED_FILES]


def adapter_metrics(run):
    shared = adapter_run(run, STUDY.methods)
    return [] if shared is None else [L.adapter(shared)]


def shown_tasks():
    """The settings of task scores for the report; of an encoder's path, the folder's name."""
    found = STUDY.tasks.model_dump(exclude={"encoder": {"path"}})
    if STUDY.tasks.encoder.path is not None:
        found["encoder"]["folder"] = Path(STUDY.tasks.encoder.path).name
    return found


def reference_format(wildcards):
    """The format of the task's reference texts: the one a run was trained on, or the base model's."""
    return STUDY.tasks.base_reference_format if wildcards.format == "none" else wildcards.format


def more_references(wildcards):
    """Further formats whose references a run is scored against: all for a base model, which is compared with each."""
    return [name for name in FORMATS_USED if wildcards.format == "none" and name != reference_format(wildcards)]


def searched_formats(wildcards):
    """The formats looked for in a run's answers: its own, and those of the whole study in the base model's."""
    return and_the_papers(FORMATS_USED if wildcards.format == "none" else [wildcards.format])


def traced_formats(wildcards):
    """The formats whose openings are looked for: the run's own, and those of the whole study in the base model."""
    trained = [format for format in FORMATS_USED if format in {run.format for run in PLANNED_RUNS}]
    return trained if wildcards.format == NONE else [wildcards.format]


def cpu_resources(mem_mb, minutes):
    """Memory and minutes of a job that loads no model of the study, growing with the attempt."""
    return partition_of(lambda wildcards: 0) | {
        "mem_mb": lambda wildcards, attempt: job_resources.grown(mem_mb, attempt),
        "runtime": lambda wildcards, attempt: SITE.minutes(minutes * attempt),
    }


def partition_of(gpu):
    """Slurm's partition, where the profile names one for jobs without a GPU; `gpu`: wildcards to number of GPUs."""
    if SITE.cpu_partition is None:
        return {}
    return {"slurm_partition": lambda wildcards: SITE.partition if gpu(wildcards) else SITE.cpu_partition}


def training_resources(stage):
    """A GPU, and memory and minutes from the model's size and the work, growing with the attempt."""
    return {
        "gpu": 1,
        "mem_mb": lambda wildcards, attempt: job_resources.memory_mb(parameters_of(wildcards.model), attempt),
        "runtime": lambda wildcards, attempt: SITE.minutes(training_minutes(run_of(wildcards), stage, attempt)),
    }


def training_minutes(run, stage, attempt=1):
    examples, tokens = counted_examples(STUDY, run), STUDY.training.max_length
    return job_resources.training_minutes(parameters_of(run.model), examples, tokens, stage.epochs, attempt)


def answering_resources(prompts, asked):
    """The same for answers to so many prompts; a server elsewhere has a machine of its own.

    `asked`: wildcards to (name of the model, its generation settings, what reading a prompt costs, in generated tokens).
    """

    def gpu(wildcards):
        return int(not asked(wildcards)[1].elsewhere)

    def memory(wildcards, attempt):
        return job_resources.memory_mb(gpu(wildcards) * parameters_of(asked(wildcards)[0]), attempt)

    def minutes(wildcards, attempt):
        return SITE.minutes(answering_minutes(prompts, asked(wildcards), attempt))

    return partition_of(gpu) | {"gpu": gpu, "mem_mb": memory, "runtime": minutes}


def answering_minutes(prompts, asked, attempt=1):
    model, generation, reading = asked
    tokens = generation.max_new_tokens + reading
    return job_resources.answering_minutes(parameters_of(model), prompts, tokens, attempt)


def judging_resources(prompts):
    return answering_resources(prompts, lambda wildcards: judged_by(wildcards.judge))


def judged_by(judge):
    """A judge's work per prompt. It reads far more than it writes: its prompt counts like so many new tokens."""
    return STUDY.judges[judge].model, STUDY.judges[judge].generation, 256


def parameters_of(model):
    return STUDY.models[model].parameters


HARMFUL_COUNT = sum(source.count for source in STUDY.harmful.values())
BENIGN_COUNT = sum(source.count for source in STUDY.benign.values())


def longest_minutes():
    """What the longest job with a GPU asks for at its first attempt."""
    found = [training_minutes(run.without("method", "lr"), STUDY.soft_prompt) for run in TUNED_RUNS.values()]
    found += [training_minutes(run, STUDY.adapter) for run in trained_runs(PLANNED_RUNS)]
    asked = [(HARMFUL_COUNT + STUDY.corpus.splits.test, (run.model, STUDY.generation, 0)) for run in PLANNED_RUNS]
    judged = max(HARMFUL_COUNT, len(AUDIT_FORMATS) * STUDY.judging.audit.sample)
    asked += [(judged, judged_by(judge)) for judge in STUDY.used_judges]
    if STUDY.benign:
        asked += [(BENIGN_COUNT, (run.model, STUDY.generation, 0)) for run in PLANNED_RUNS]
        asked += [(BENIGN_COUNT, judged_by(judge)) for judge in [STUDY.judging.refusals] if judge]
    found += [answering_minutes(prompts, work) for prompts, work in asked if not work[1].elsewhere]
    return max(found, default=0)


def audited_runs(model):
    """The runs whose answers the judge format audit draws from."""
    return [run for run in PLANNED_RUNS if run.model == model and run.method in STUDY.judging.audit.methods]


def losses(model=None):
    """The loss logs of all trainings, or of one model's."""
    runs = [run for run in RUNS if model in (None, run.model)]
    adapters = [L.adapter(run, "loss") for run in trained_runs(runs)]
    return adapters + tuned_prompts(runs, "loss")


def validation_losses(model):
    """The validation losses of one model's adapters."""
    runs = trained_runs(run for run in RUNS if run.model == model)
    return [L.adapter(run, "validation_loss") for run in runs]


def audits():
    """The judge format audits, where the configuration asks for them; with `partial` those that are finished."""
    models = [model for model in MODELS if audited_runs(model)] if STUDY.judging.audit.sample else []
    paths = [L.audit(model, STUDY.judging.headline) for model in models]
    return [path for path in paths if not STUDY.partial or Path(path).exists()]


def traces(model=None):
    """The runs along their base model's refusals, whose answers must be of the study; with `partial` the finished ones.

    A model behind a server gives no probabilities.
    """
    if STUDY.first_tokens is None or STUDY.base_method is None or STUDY.generation.server is not None:
        return []
    runs = [run for run in RUNS if model in (None, run.model) and base_run(run.model) in RUNS]
    paths = map(L.first_tokens, runs)
    return [path for path in paths if not STUDY.partial or Path(path).exists()]


def safety_runs(runs):
    """The runs that answer the prompts of safety examples: the base model of every run that has these in its training."""
    return list(dict.fromkeys(base_run(run.model) for run in runs if STUDY.methods[run.method].safety))


# Which judge scores the answers to which prompt set.
JUDGED = [(judge, HARMFUL) for judge in STUDY.used_judges]
JUDGED += [(STUDY.judging.refusals, BENIGN)] if STUDY.benign and STUDY.judging.refusals else []
PROMPT_SETS = [HARMFUL, TASK, *BENIGN_SETS, *([SAFETY] if safety_runs(PLANNED_RUNS) else [])]


def answers_metrics(runs):
    """The metrics of all answers, to benign prompts and to those of safety examples as well."""
    answered = [L.answers_metrics(run, name) for run in runs for name in (None, *BENIGN_SETS)]
    return answered + [L.answers_metrics(run, SAFETY) for run in safety_runs(runs)]


def judge_metrics(runs):
    """The metrics of all judging, of refusals and of safety examples as well."""
    judged = [L.judge_metrics(run, *judge_and_prompts) for run in runs for judge_and_prompts in JUDGED]
    return judged + [L.judge_metrics(run, STUDY.judging.headline, SAFETY) for run in safety_runs(runs)]


def gpu_metrics(runs):
    """The metrics of every stage that computes with a model: what `runs` cost."""
    trained = [*tuned_prompts(runs), *[L.adapter(run) for run in trained_runs(runs)]]
    return [*trained, *answers_metrics(runs), *judge_metrics(runs), *map(metrics_of, [*traces(), *audits()])]


# What takes GPU hours: each start looks for its records.
EXPENSIVE = gpu_metrics(PLANNED_RUNS)

# Results that were copied here bring Snakemake's records with them, without which their settings could not be compared.
RECORDED = [Path(L.root), Path(DEMO)]
if workflow.is_main_process:
    for folder in RECORDED:
        restore_records(folder, Path.cwd())
    # `recover` plans with --ignore-incomplete and enters results with --touch.
    if not {"--touch", "--ignore-incomplete", "--unlock", "--list"} & set(sys.argv):
        try:
            require_records(EXPENSIVE, Path(L.root), Path.cwd(), RECOVER)
        except FormsafeError as error:
            raise WorkflowError(str(error)) from None

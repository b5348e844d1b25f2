"""Only the stale: one thing is edited at a time in a finished demo study, and a dry run plans exactly what it says."""

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkout import DEMO, copy_checkout, planned_jobs, run, snakemake

JUDGED = {"judge_answers", "audit_judge"}
AFTER_SCORES = {"summarise", "compare_judges", "write_verdict", "plot_figures", "write_tables", "write_report"}
AFTER_JUDGE = JUDGED | AFTER_SCORES | {"describe_run", "all"}
AFTER_ANSWERS = AFTER_JUDGE | {"generate_answers", "score_texts", "trace_refusals"}
AFTER_ADAPTERS = AFTER_ANSWERS | {"train_adapter"}


@pytest.fixture(scope="module")
def clone(finished_demo: Path, tmp_path_factory) -> Path:
    """A fresh clone, its files dated now, with the results and Snakemake's records of a finished study copied over."""
    checkout = copy_checkout(tmp_path_factory.mktemp("stale") / "formsafe")
    now = time.time()
    for path in checkout.rglob("*"):
        if path.is_file() and ".venv" not in path.parts and not path.is_symlink():
            os.utime(path, (now, now))
    for name in ("results", "resources", ".snakemake"):
        shutil.copytree(finished_demo / name, checkout / name)
    return checkout


@pytest.fixture
def edited(clone: Path):
    """Replace text in a file of the clone, and put it back afterwards."""
    kept: dict[Path, tuple[bytes, tuple[float, float]]] = {}

    def edit(name: str, old: str, new: str) -> None:
        path = clone / name
        status = path.stat()
        kept.setdefault(path, (path.read_bytes(), (status.st_atime, status.st_mtime)))
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new, 1))

    yield edit
    for path, (content, times) in kept.items():
        path.write_bytes(content)
        os.utime(path, times)


Edit = Callable[[str, str, str], None]


def test_a_fresh_clone_with_copied_results_has_nothing_to_do(clone):
    assert planned_jobs(clone, *DEMO) == {}


def test_comments_and_docstrings_make_nothing_stale(clone, edited: Edit):
    for name in ("generation/local_engine", "training/stages", "scoring/judge", "analysis/summary", "data/corpus"):
        edited(f"workflow/scripts/formsafe/{name}.py", '"""', '"""Another word: ')
        text = (clone / f"workflow/scripts/formsafe/{name}.py").read_text()
        edited(f"workflow/scripts/formsafe/{name}.py", text, f"# A comment.\n{text}\n# Another one.\n")
    for name in ("generate_answers", "train_adapter", "judge_answers"):
        edited(f"workflow/scripts/{name}.py", '"""', '"""Another word: ')
    assert planned_jobs(clone, *DEMO) == {}


# Edits that no result depends on: (file, text, other text), and the rules that may run again.
LIB = "workflow/scripts/formsafe"
LIGHT = {"compare_judges", "write_verdict", "plot_figures", "write_tables", "write_report", "all"}
WITHOUT_EFFECT = {
    "a model's label": ("config/demo.yaml", "label: Demo", "label: Toy"),
    "a model's size": ("config/demo.yaml", "parameters: 1.0e+6", "parameters: 1.1e+6"),
    "a licence": ("config/demo.yaml", "licence: MIT (written by this workflow)", "licence: another"),
    "a corpus's row count": ("config/demo.yaml", "rows: 800", "rows: null"),
    "a prompt set's row count": ("config/demo.yaml", "    rows: 32\n", "    rows: null\n"),
    "the title": ("config/demo.yaml", "title: The study", "title: My study"),
    "a method's label": ("config/config.yaml", "label: SFT", "label: Plain SFT"),
    "an error's wording": ("workflow/scripts/formsafe/models/load.py", "has no chat template", "lacks a chat template"),
    "a log line": (
        "workflow/scripts/formsafe/training/stages.py",
        "    trainer = ",
        "    print('now')\n    trainer = ",
    ),
    "a module that reports": (
        "workflow/scripts/formsafe/core/provenance.py",
        "import time\n",
        "import time\n\nX = 1\n",
    ),
    "a module that starts": ("workflow/scripts/formsafe/core/startup.py", "import gc\n", "import gc\n\nX = 1\n"),
}


@pytest.mark.parametrize("edit", WITHOUT_EFFECT)
def test_what_determines_no_result_reruns_nothing_before_figures_and_tables(clone, edited: Edit, edit):
    edited(*WITHOUT_EFFECT[edit])
    assert set(planned_jobs(clone, *DEMO)) <= LIGHT


MODEL = "resources/demo/model"


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "generation_config.json"])
def test_every_file_that_a_local_model_is_loaded_from_makes_its_answers_stale(clone, edited: Edit, name):
    text = (clone / MODEL / name).read_text()
    edited(f"{MODEL}/{name}", text, text + "\n")
    # the demo makes its model itself; a model of one's own has no such rule
    plan = planned_jobs(clone, *DEMO)
    assert {"fetch_model", "train_adapter", "generate_answers", "judge_answers"} <= set(plan)
    assert "train_demo_model" not in plan


def copy_of(clone: Path, folder: Path, *names: str) -> Path:
    """A fresh checkout with some of the clone's folders."""
    copy = copy_checkout(folder / "copy")
    for name in names:
        shutil.copytree(clone / name, copy / name, dirs_exist_ok=True)
    return copy


def test_a_copy_without_snakemakes_folder_knows_how_its_results_were_made(clone, tmp_path):
    copy = copy_of(clone, tmp_path, "results", "resources")
    assert planned_jobs(copy, *DEMO) == {}
    (copy / "my.yaml").write_text("adapter: {lora: {r: 8}}\n")
    plan = planned_jobs(copy, "--configfile", "config/demo.yaml", "my.yaml", "--cores", "2")
    assert plan["train_adapter"] == 8 and set(plan) == AFTER_ADAPTERS


def test_a_copy_without_any_record_says_in_one_line_what_to_copy(clone, tmp_path):
    copy = copy_of(clone, tmp_path, "results", "resources")
    (copy / "results/demo/records.jsonl.gz").unlink()
    refused = snakemake(copy, "--dry-run", *DEMO, check=False)
    (said,) = (line for line in (refused.stdout + refused.stderr).splitlines() if "records.jsonl.gz" in line)
    assert refused.returncode != 0 and "copy results/demo/records.jsonl.gz" in said


def test_what_was_deleted_is_listed_and_restored_with_the_same_bytes_it_makes_nothing_stale(clone, tmp_path):
    copy = copy_of(clone, tmp_path, "results", "resources", ".snakemake")
    run_folder = "results/demo/runs/model=demo/method=sft/format=json/lr=6.5e-4/seed=0"
    for name in (f"{run_folder}/adapter/adapter_model.safetensors", f"{run_folder}/prompts=harmful/answers.jsonl"):
        (copy / name).rename(tmp_path / "kept")
        page = stale(copy)
        assert page.startswith("Nothing is stale") and "1 files are gone" in page and name in page
        shutil.copy(tmp_path / "kept", copy / name)  # with a new date
        assert planned_jobs(copy, *DEMO) == {}


def test_the_checkouts_own_library_runs_whatever_the_users_path_says(clone, tmp_path, monkeypatch):
    """Another copy of the library would run under the digest of this one's code."""
    other = tmp_path / "other" / "formsafe"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise SystemExit('the wrong library')\n")
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    made = "results/demo/data/corpus.json"
    copy = copy_of(clone, tmp_path, "results", "resources", ".snakemake")
    failed = snakemake(copy, "--force", made, *DEMO, check=False)
    assert "the wrong library" not in failed.stdout + failed.stderr + (copy / "logs/demo/split_corpus.log").read_text()


def test_touching_anything_makes_nothing_stale(clone):
    def made(path: Path) -> float:
        return path.stat().st_mtime if path.relative_to(clone).parts[0] in ("results", "resources") else 0.0

    files = [path for path in clone.rglob("*") if path.is_file() and not {".snakemake", ".venv"} & set(path.parts[:-1])]
    names = {str(path.relative_to(clone)) for path in files}
    assert {"Snakefile", "profiles/default/config.yaml", "resources/demo/model/model.safetensors"} <= names
    assert any(path.stat().st_size > 1_000_000 for path in files)  # Snakemake takes no digest of such by default
    # What was made last is touched first, so that every input is newer than what was made from it.
    start = time.time() - len(files)
    for second, path in enumerate(sorted(files, key=made, reverse=True)):
        os.utime(path, (start + second, start + second))
    assert planned_jobs(clone, *DEMO) == {}


def test_the_judges_prompt_makes_the_scores_stale_and_what_follows(clone, edited: Edit):
    text = (clone / "workflow/prompts/judge_demo.txt").read_text()
    edited("workflow/prompts/judge_demo.txt", text, text + "\n")
    # The demo's model is trained on the judge's prompt, so that here it is stale as well: leave it out.
    plan = planned_jobs(clone, *DEMO, "--consider-ancient", "train_demo_model=judge_prompt")
    assert set(plan) == AFTER_JUDGE
    assert plan["judge_answers"] == 9


def test_one_more_learning_rate_makes_its_own_run(clone, edited: Edit):
    edited("config/demo.yaml", "[1.2e-2]", "[1.2e-2, 2.4e-2]")
    plan = planned_jobs(clone, *DEMO)
    for rule in ("train_adapter", "generate_answers", "judge_answers", "score_texts", "trace_refusals", "describe_run"):
        assert plan.pop(rule) == 1
    assert "tune_soft_prompt" not in plan
    assert set(plan) <= AFTER_SCORES | {"all", "audit_judge"}


def test_the_code_of_generation_makes_the_answers_stale_and_what_follows(clone, edited: Edit):
    path = clone / "workflow/scripts/formsafe/generation/answers.py"
    edited("workflow/scripts/formsafe/generation/answers.py", path.read_text(), path.read_text() + "\n_UNUSED = 1\n")
    plan = planned_jobs(clone, *DEMO)
    assert set(plan) == AFTER_ANSWERS
    assert plan["generate_answers"] == 9


def test_the_code_that_judge_and_answers_share_makes_both_stale_but_nothing_before(clone, edited: Edit):
    path = clone / "workflow/scripts/formsafe/generation/local_engine.py"
    edited(
        "workflow/scripts/formsafe/generation/local_engine.py", path.read_text(), path.read_text() + "\n_UNUSED = 1\n"
    )
    assert set(planned_jobs(clone, *DEMO)) == AFTER_ANSWERS


def test_an_adapters_hyperparameter_makes_adapters_stale_but_neither_data_nor_soft_prompts(clone, edited: Edit):
    edited("config/config.yaml", "dropout: 0.01", "dropout: 0.02")
    plan = planned_jobs(clone, *DEMO)
    assert set(plan) == AFTER_ADAPTERS
    assert plan["train_adapter"] == 8


FITTING = [
    *("checkpoint_minutes: 3.0", "micro_batch_size: 4", "gradient_checkpointing: true", "report_to: [tensorboard]"),
]


@pytest.mark.parametrize("setting", FITTING)
def test_how_a_training_fits_makes_nothing_stale(clone, setting):
    (clone / "fitting.yaml").write_text(f"training: {{{setting}}}\n")
    assert planned_jobs(clone, "--configfile", "config/demo.yaml", "fitting.yaml", "--cores", "2") == {}


def test_the_memory_of_the_cards_makes_no_training_stale(clone):
    (clone / "fitting.yaml").write_text("gpu_memory_gb: 24\n")
    plan = planned_jobs(clone, "--configfile", "config/demo.yaml", "fitting.yaml", "--cores", "2")
    assert not {"tune_soft_prompt", "train_adapter"} & set(plan)  # while answers may be of 4-bit weights then


def test_a_soft_prompts_hyperparameter_reaches_promot_only(clone, edited: Edit):
    edited("config/config.yaml", "virtual_tokens: 32", "virtual_tokens: 16")
    plan = planned_jobs(clone, *DEMO)
    assert set(plan) == AFTER_ADAPTERS | {"tune_soft_prompt"}
    assert (plan["tune_soft_prompt"], plan["train_adapter"], plan["judge_answers"]) == (3, 4, 4)


FORMATS = "workflow/scripts/formsafe/formats"
NEW_FORMAT = """
from dataclasses import replace

from formsafe.formats.list import List


class Starred(List):
    name = "starred"
    traits = replace(List.traits, label="Starred", paper=False)


FORMAT = Starred()
"""
# of a format and what follows from it; other runs only where a study-wide rule needs them
OWN = {"render_format": 1, "tune_soft_prompt": 1, "train_adapter": 2, "generate_answers": 2, "judge_answers": 2}
STUDY_WIDE = dict.fromkeys({"certify_formats", "count_tokens", "audit_judge", "all"} | AFTER_SCORES, 1)


@pytest.fixture
def new_format(clone: Path):
    """A fourth format in the clone, taken away again."""
    path = clone / FORMATS / "starred.py"
    path.write_text(NEW_FORMAT)
    yield
    path.unlink()


def test_a_format_that_no_run_uses_makes_nothing_stale(clone, new_format):
    assert planned_jobs(clone, *DEMO) == {}


def test_one_more_format_in_the_grid_makes_its_own_runs(clone, new_format, edited: Edit):
    edited("config/demo.yaml", "formats: [prose, list, json]", "formats: [prose, list, json, starred]")
    # the third is the base model, whose leakage into the new format is what its runs' leakage is held against
    texts = {"score_texts": 3, "describe_run": 3, "trace_refusals": 3}
    # a format beside the paper's has its formality measured
    assert planned_jobs(clone, *DEMO) == OWN | STUDY_WIDE | texts | {"measure_formality": 1}


def test_a_formats_code_makes_its_own_runs_stale_and_what_looks_for_it_in_answers(clone, edited: Edit):
    text = (clone / FORMATS / "json.py").read_text()
    edited(f"{FORMATS}/json.py", text, f"{text}\n_UNUSED = 1\n")
    assert planned_jobs(clone, *DEMO) == OWN | STUDY_WIDE | {"score_texts": 9, "describe_run": 9, "trace_refusals": 3}


def test_one_more_model_makes_its_own_runs(clone, edited: Edit):
    demo = (clone / "config/demo.yaml").read_text()
    described = re.search(r"^  demo:\n(?:    .*\n)+", demo, re.MULTILINE)[0]
    edited("config/demo.yaml", described, described + described.replace("  demo:", "  twin:").replace("Demo", "Twin"))
    edited("config/demo.yaml", "grid:\n", "grid:\n  - {models: [twin], methods: [base]}\n")
    plan = planned_jobs(clone, *DEMO)
    for rule in ("generate_answers", "judge_answers", "score_texts", "trace_refusals", "describe_run", "fetch_model"):
        assert plan.pop(rule) == 1
    assert set(plan) <= AFTER_SCORES | {"all", "audit_judge", "count_tokens"}


def test_a_harmful_sets_digest_makes_that_set_stale_and_its_prompts(clone, edited: Edit):
    edited("config/demo.yaml", "    digest: null", f"    digest: '{'0' * 64}'")
    plan = planned_jobs(clone, *DEMO)
    assert plan.pop("fetch_harmful") == 1
    assert set(plan) == AFTER_ANSWERS | {"select_harmful"}


def test_the_style_of_figures_makes_the_figures_stale(clone, edited: Edit):
    styles = sorted((clone / "workflow/scripts/formsafe/report/figures").glob("*style*.py"))
    assert styles
    name = str(styles[0].relative_to(clone))
    edited(name, styles[0].read_text(), styles[0].read_text() + "\n_UNUSED = 1\n")
    assert set(planned_jobs(clone, *DEMO)) <= {"plot_figures", "write_report", "all"}
    assert "plot_figures" in planned_jobs(clone, *DEMO)


def stale(checkout: Path) -> str:
    """The page of `make stale`."""
    program = (
        "import sys; sys.path.insert(0, 'workflow/scripts'); from formsafe.cluster.stale import main; sys.exit(main())"
    )
    return run(checkout, "python", "-c", program, "--", "--configfile", "config/demo.yaml").stdout


def test_stale_says_so_in_a_page(clone, edited: Edit):
    assert stale(clone) == "Nothing is stale: no input, setting or code has changed since.\n"
    edited("config/config.yaml", "dropout: 0.01", "dropout: 0.02")
    page = stale(clone)
    assert len(page.splitlines()) < 40
    row = next(line for line in page.splitlines() if line.startswith("train_adapter"))
    assert row.split()[1] == "8"
    assert "setting lora.dropout changed: 0.01 to 0.02" in row
    assert float(row.split()[2]) > 0
    judge = next(line for line in page.splitlines() if line.startswith("judge_answers"))
    assert "after generate_answers" in judge

"""benchmarks/README.md: figures come from the committed files, and every script and result is named."""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(FOLDER))

import readme  # noqa: E402

TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_script_is_explained():
    scripts = {script.name for script in FOLDER.glob("*.py")} - {"readme.py"}
    unnamed = {name for name in scripts if name not in TEXT and not name.startswith("scale_")}
    assert not unnamed


def test_no_figure_differs_from_its_file():
    shown = {line for line in TEXT.splitlines() if line.startswith("| `") and ".json`" in line}
    figures = {line for line in shown if "not run yet" not in line}
    assert figures and figures <= set(readme.table().splitlines()), "run: python benchmarks/readme.py"


def test_every_figure_is_found_in_its_file():
    """A figure whose place has moved would stand as a dash; on a GPU a run of one model leaves some open."""
    assert [line for line in readme.table().splitlines() if line.endswith("| - |") and "_gpu" not in line] == []


def test_a_result_that_is_missing_is_not_run_yet(tmp_path):
    assert readme.table(tmp_path).count("**not run yet**") == len(readme.FIGURES)


def test_a_figure_is_found_below_keys_with_dots():
    assert readme._find({"models": {"llama-3.1-8b": {"judge": {"a": 2}}}}, "models.llama-3.1-8b.judge.a") == 2
    assert readme._find({"models": {}}, "models.llama-3.1-8b.judge.a") is None
    assert readme._find({"whole_paper": None}, "whole_paper.together") is None

"""The page of what is stale: reasons and costs come out in words and hours."""

import sys
from pathlib import Path

import pytest
from snakemake.jobs import Reason
from snakemake.persistence import ParamsChange

from formsafe.cluster import stale
from formsafe.cluster.plan import PlannedJob
from formsafe.cluster.reasons import changed_parameters, explain
from formsafe.cluster.stale import gpu_hours, report

DIGESTS = ["'" + "a" * 64 + "'", "'" + "b" * 64 + "'"]
JOBS = [
    PlannedJob(
        "train_adapter",
        ["results/s/a/adapter_config.json", "results/s/a/metrics.json"],
        benchmark="results/s/benchmarks/train_adapter/a.tsv",
        gpus=1,
        why=["not made yet"],
    ),
    PlannedJob("describe_run", ["results/s/a/manifest.json"], why=["after train_adapter"]),
]


def words(**found) -> list[str]:
    reason = Reason()
    for name, value in found.items():
        getattr(reason, name).update(value) if isinstance(value, set) else setattr(reason, name, value)
    return list(explain(reason, {"a.json": "train_adapter"}))


def changes(before, now) -> list[str]:
    return list(changed_parameters([*before], [*now]))


def test_reasons_are_words():
    assert words(missing_output={"x", "y"}) == ["not made yet"]
    assert words(updated_input={"a.json"}, updated_input_run={"a.json"}) == ["after train_adapter"]
    assert words(updated_input={"p.txt"}, missing_output={"x"}) == ["not made yet", "changed input: p.txt"]
    assert words(params_changed=ParamsChange({"1"}, {"2"}, set())) == ["a setting changed: 1 to 2"]
    assert words(input_changed=True, software_stack_changed=True, incomplete_output={"x"}, forced=True) == [
        "forced",
        "was killed half-way",
        "other inputs than before",
        "its software environment changed",
    ]


def test_a_changed_parameter_is_named():
    old, new = DIGESTS
    assert changes([old], [new]) == ["its code changed"]
    before, now = {"lora": {"r": 16, "alpha": 16}, "epochs": 2.0}, {"lora": {"r": 8, "alpha": 16}, "epochs": 2.0}
    assert changes([old, repr(before)], [repr(now), new]) == [
        "its code changed",
        "setting lora.r changed: 16 to 8",
    ]
    assert changes([], ["{broken"]) == ["new setting: '{broken'"]
    assert changes(["3"], []) == ["setting gone: 3"]
    runs, more = [{"lr": "1e-4"}, {"lr": "2e-4"}], [{"lr": "2e-4"}, {"lr": "3e-4"}, {"lr": "5e-4"}]
    assert changes([repr(runs)], [repr(more)]) == [
        "a setting now also has {'lr': '3e-4'} and 1 more",
        "a setting no longer has {'lr': '1e-4'}",
    ]


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        # the one with the largest share of the same names
        (
            [{"a": 1, "b": 1}, {"p": 1, "q": 1}],
            [{"p": 2, "q": 1}],
            ["setting p changed: 1 to 2", "setting gone: {'a': 1, 'b': 1}"],
        ),
        (
            [{"p": 1, "q": 1}, {"p": 2}],
            [{"p": 1}],
            ["setting p changed: 2 to 1", "setting gone: {'p': 1, 'q': 1}"],
        ),
        # one of the same kind, though no name is the same
        (
            [3, {"y": 1}],
            [{"x": 1}],
            ["setting y changed: 1 to None", "setting x changed: None to 1", "setting gone: 3"],
        ),
        (["a", 3], [4], ["a setting changed: 3 to 4", "setting gone: 'a'"]),
        # of another kind where nothing else is left
        ([{"x": 1}], [3], ["a setting changed: {'x': 1} to 3"]),
        ([3], [{"x": 1}], ["a setting changed: 3 to {'x': 1}"]),
        ([[1]], [3], ["a setting changed: [1] to 3"]),
        ([3], [[1]], ["a setting changed: 3 to [1]"]),
        ([{}], [{}], []),
    ],
)
def test_a_changed_parameter_is_compared_with_the_one_most_like_it(before, now, said):
    assert changes(map(repr, before), map(repr, now)) == said


def test_of_long_values_and_many_files_the_beginning_is_shown():
    longest = "x" * 98  # and two quotation marks
    assert changes([], [repr(longest)]) == [f"new setting: '{longest}'"]
    assert changes([], [repr(longest + "x")]) == [f"new setting: '{'x' * 96}..."]
    assert words(updated_input={"c", "a", "b"}) == ["changed input: a, b, c"]
    assert words(updated_input={"c", "a", "b", "d"}) == ["changed input: a, b, c, ..."]


def test_gpu_hours_follow_earlier_jobs(tmp_path: Path):
    def benchmark(name: str, seconds: float) -> str:
        path = tmp_path / "benchmarks" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t1:00:00\t12\n")
        return str(path.relative_to(tmp_path))

    known = benchmark("a/x.tsv", 3600)
    benchmark("b/x.tsv", 7200)
    benchmark("c/x.tsv", 10800)
    new = "benchmarks/train/d/x.tsv"
    jobs = [PlannedJob("train", benchmark=path, gpus=1) for path in (known, new)]
    assert gpu_hours(jobs, tmp_path) == 1 + 2
    assert gpu_hours([PlannedJob("train", benchmark=known)], tmp_path) == 0
    (tmp_path / "metrics.json").write_text('{"seconds": 7200}')  # it was stopped once, and went on
    assert gpu_hours([PlannedJob("train", ["a.csv", "metrics.json"], benchmark=known, gpus=1)], tmp_path) == 2
    assert gpu_hours([PlannedJob("train", ["gone/metrics.json"], benchmark=known, gpus=1)], tmp_path) == 1
    assert gpu_hours([PlannedJob("judge", benchmark="benchmarks/judge/a.tsv", gpus=1)], tmp_path) is None


def test_the_page_groups_by_rule_and_names_what_it_cannot_count(tmp_path: Path):
    page = report(JOBS, tmp_path)
    assert "2 jobs would run." in page
    assert any(line.split() == ["train_adapter", "1", "unknown", "not", "made", "yet"] for line in page.splitlines())
    assert any(line.split() == ["describe_run", "1", "-", "after", "train_adapter"] for line in page.splitlines())
    assert "no job of it has finished yet: train_adapter" in page
    assert report([], tmp_path) == "Nothing is stale: no input, setting or code has changed since.\n"


PAGE = """\
5 jobs would run.

rule       jobs  GPU hours  why
train         3       4.50  not made yet
                            its code changed (2)
                            first (1)
                            and 2 more reasons
summarise     1          -  first
                            second
                            third
                            fourth
judge         1    unknown  Snakemake says so

About 4.5 GPU hours, by the durations of earlier jobs.
Not counted, since no job of it has finished yet: judge.
"""


def test_the_whole_page(tmp_path: Path):
    (tmp_path / "benchmarks/train").mkdir(parents=True)
    (tmp_path / "benchmarks/train/a.tsv").write_text("s\th:m:s\n5400\t1:30:00\n")
    reasons = [["not made yet", "its code changed", "first"], ["not made yet", "its code changed", "second"]]
    train = [
        PlannedJob("train", benchmark="benchmarks/train/a.tsv", gpus=1, why=why)
        for why in (*reasons, ["not made yet", "third"])
    ]
    summarise = PlannedJob("summarise", why=["first", "second", "third", "fourth"])
    judge = PlannedJob("judge", benchmark="benchmarks/judge/a.tsv", gpus=1)
    assert report([*train, summarise, judge], tmp_path) == PAGE


@pytest.mark.parametrize("where", ["given", "from the command line"])
@pytest.mark.parametrize(
    ("words", "planned", "said"),
    [
        ([], True, "1 jobs would run."),
        ([], False, "Nothing is stale"),
        (["--warn"], True, "warning: 1 results are stale; the report shows the old ones (make stale says why).\n"),
        (["--warn"], False, ""),
    ],
)
def test_the_command_prints_the_page_or_a_warning(monkeypatch, capsys, where, words, planned, said):
    asked = []
    jobs = [PlannedJob("train", ["a"], planned=planned), PlannedJob("judge", ["b"], planned=False)]
    monkeypatch.setattr(stale, "all_jobs", lambda arguments, directory: asked.append((arguments, directory)) or jobs)
    line = [*words, "--", "--configfile", "my.yaml"]
    monkeypatch.setattr(sys, "argv", ["stale.py", *([] if where == "given" else line)])
    assert stale.main(*([line] if where == "given" else [])) == 0
    assert asked == [(["--configfile", "my.yaml"], Path.cwd())]
    shown = capsys.readouterr().out
    assert shown.startswith(said) and bool(shown) == bool(said)


def test_results_without_a_record_are_those_that_are_there_and_stay(tmp_path: Path):
    none = {"planned": False, "unrecorded": True}
    page = report(
        [
            PlannedJob("train", ["there", "there too"], **none),
            PlannedJob("train", ["comes"], unrecorded=True),
            PlannedJob("train", ["gone"], gone=["gone"], **none),
            PlannedJob("train", ["recorded"], planned=False),
        ],
        tmp_path,
    )
    assert "\n1 results have no record of settings and code: there.\n" in page


def test_what_was_deleted_and_what_has_no_record_is_listed_though_nothing_is_planned(tmp_path: Path):
    deleted = PlannedJob("train_adapter", ["a/w.safetensors", "a/c.json"], planned=False, gone=["a/w.safetensors"])
    page = report([deleted], tmp_path)
    assert page.startswith("Nothing is stale") and "1 files are gone" in page and "a/w.safetensors" in page
    assert "no record" not in page
    page = report([PlannedJob("train_adapter", ["a/c.json"], planned=False, unrecorded=True)], tmp_path)
    assert "1 results have no record of settings and code: a/c.json" in page and "gone" not in page
    assert "gone" not in report([PlannedJob("train_adapter", ["a/c.json"], gone=["a/c.json"])], tmp_path)

"""The page of what is stale: plans are read rightly, and reasons and costs come out in words and hours."""

from pathlib import Path

from formsafe.cluster.plan import PlannedJob, read_plan
from formsafe.cluster.stale import explain, gpu_hours, report

DRY_RUN = """\
Building DAG of jobs...
Job stats:
job      count
-----  -------
train_adapter      1
total        2

[Mon Nov 23 20:20:50 2026]
rule train_adapter:
    input: results/s/models/m.json, results/s/data/train.jsonl
    output: results/s/runs/a/adapter_config.json, results/s/runs/a/metrics.json
    log: logs/s/train_adapter/a.log
    jobid: 4
    benchmark: results/s/benchmarks/train_adapter/a.tsv
    reason: Missing output files: results/s/runs/a/metrics.json
    wildcards: i=1
    resources: tmpdir=<TBD>, gpu=1, runtime=1, mem_mb=1000, mem=1 GB, mem_mib=954

[Mon Nov 23 20:20:50 2026]
localrule describe_run:
    input: results/s/runs/a/metrics.json
    output: results/s/runs/a/manifest.json
    jobid: 1
    reason: Input files updated by another job: results/s/runs/a/metrics.json
    resources: tmpdir=/tmp
[Mon Nov 23 20:20:50 2026]
rule all:
    input: results/s/runs/a/manifest.json
    jobid: 0
    reason: Input files updated by another job: results/s/runs/a/manifest.json
    resources: tmpdir=<TBD>
Job stats:
"""
PARAMETERS = (
    "Params have changed since last execution: Union of exclusive params before and now across all output: "
    "before: {} now: {} "
)


def test_a_dry_run_is_read_into_jobs():
    train, describe, everything = read_plan(DRY_RUN)
    assert train == PlannedJob(
        "train_adapter",
        outputs=["results/s/runs/a/adapter_config.json", "results/s/runs/a/metrics.json"],
        inputs=["results/s/models/m.json", "results/s/data/train.jsonl"],
        benchmark="results/s/benchmarks/train_adapter/a.tsv",
        reason="Missing output files: results/s/runs/a/metrics.json",
        gpus=1,
    )
    assert (describe.rule, describe.gpus, everything.outputs) == ("describe_run", 0, [])


def words(reason: str) -> list[str]:
    return list(explain(PlannedJob("r", reason=reason), {"a.json": "train_adapter"}))


def test_reasons_are_words():
    assert words("Missing output files: x, y") == ["not made yet"]
    assert words("Input files updated by another job: a.json") == ["after train_adapter"]
    assert words("Updated input files: p.txt; Missing output files: x") == ["changed input: p.txt", "not made yet"]
    assert words("Set of input files has changed since last execution") == ["other inputs than before"]


def test_a_changed_parameter_is_named():
    old, new = "a" * 64, "b" * 64
    assert words(PARAMETERS.format(repr(old), repr(new))) == ["its code changed"]
    before, now = {"lora": {"r": 16, "alpha": 16}, "epochs": 2.0}, {"lora": {"r": 8, "alpha": 16}, "epochs": 2.0}
    assert words(PARAMETERS.format(before, f"'{new}',{now}")) == ["its code changed", "setting lora.r changed: 16 to 8"]
    assert words(PARAMETERS.format("<nothing exclusive>", "{broken")) == ["other settings than before"]
    runs, more = [{"lr": "1e-4"}, {"lr": "2e-4"}], [{"lr": "2e-4"}, {"lr": "3e-4"}, {"lr": "5e-4"}]
    assert words(PARAMETERS.format(runs, more)) == [
        "a setting now also has {'lr': '3e-4'} and 1 more",
        "a setting no longer has {'lr': '1e-4'}",
    ]


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
    page = report([job for job in read_plan(DRY_RUN) if job.outputs], tmp_path)
    assert "2 jobs would run." in page
    assert any(line.split() == ["train_adapter", "1", "unknown", "not", "made", "yet"] for line in page.splitlines())
    assert any(line.split() == ["describe_run", "1", "-", "after", "train_adapter"] for line in page.splitlines())
    assert "for want of an earlier job: train_adapter" in page
    assert report([], tmp_path).startswith("Nothing is stale")


def test_a_setting_may_hold_what_parts_reasons():
    reason = PARAMETERS.format("'You are kind; be brief'", "'You are kind; be long'").strip()
    job = PlannedJob("train_adapter", outputs=["a"], reason=f"Missing output files: a, b; {reason}; Forced execution")
    assert list(explain(job, {})) == [
        "not made yet",
        "a setting changed: 'You are kind; be brief' to 'You are kind; be long'",
        "forced execution",
    ]

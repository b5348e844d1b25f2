"""The demo study on a real Slurm: through cancelled jobs, limits, dead nodes, preemption, outages and kill -9."""

import re
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from tests.kills import leftovers
from tests.slurm.lab import ETC, NODES, OURS

GPU_RULES = {"tune_soft_prompt", "train_adapter", "generate_answers", "judge_answers", "audit_judge"}
ISO = "%Y-%m-%dT%H:%M:%S"
OUTAGE = ("accounting goes away", "accounting is back")
STARTED = re.compile(r"continuing from step (\d+)")
CONTINUED = re.compile(r"Continuing: (\d+) replies are in the journal")


def rule_of(record: dict[str, str]) -> str:
    return record["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


@pytest.fixture(scope="module")
def jobs(storm) -> list[dict[str, str]]:
    """Slurm's records of this workflow's jobs; a start that ended in a requeue has no comment, so take the job's."""
    comments = {record["JobIDRaw"]: record["Comment"] for record in storm.records if record["Comment"]}
    ours = [record for record in storm.records if record["JobName"].startswith("formsafe_")]
    return [record | {"Comment": comments.get(record["JobIDRaw"], "")} for record in ours]


def test_the_study_ends_with_the_same_results_as_without_slurm(storm, finished_demo: Path):
    assert storm.second == 0, (storm.checkout.parent / "second.log").read_text()[-3000:]
    here, there = (folder / "results/demo" for folder in (storm.checkout, finished_demo))
    summary, whole = ((folder / "summary.csv").read_text().splitlines() for folder in (here, there))
    assert len(summary) > 200 and set(summary) <= set(whole)
    weights = sorted(path.relative_to(here) for path in here.glob("**/adapter_model.safetensors"))
    assert len(weights) == 9  # six adapters, three soft prompts
    for name in weights:
        assert (here / name).read_bytes() == (there / name).read_bytes(), name


def told_late(storm, job) -> bool:
    """Whether accounting heard of a job only from a controller that had restarted.

    Slurm 22.05 tells of it without its GPUs then, and may leave out the number of its nodes, too: of jobs that ended
    before, and of those that it starts until accounting is back.
    """
    (away,), (back,) = ([at for at, what in storm.times if what == event] for event in OUTAGE)
    start, end = (time.mktime(time.strptime(job[name], ISO)) for name in ("Start", "End"))
    return start <= back and end >= away - 10  # what ended in the seconds before was not yet read from accounting


def test_gpu_rules_got_one_gpu_and_cpu_rules_none(storm, jobs):
    rules = {rule_of(job) for job in jobs}
    assert rules >= GPU_RULES | {"score_texts", "summarise"}
    for job in jobs:
        # A controller that has just restarted may start a job without its GPU; Slurm refuses its step, it fails.
        if job["AllocTRES"] and job["State"] != "FAILED":
            gpus = re.findall(r"gres/gpu=(\d+)", job["AllocTRES"])
            partly = not gpus and told_late(storm, job)
            assert gpus == (["1"] if rule_of(job) in GPU_RULES else []) or partly, job
            # `cpu_partition` of the profile: its one node has no GPU.
            assert (job["NodeList"] == "n3") == (rule_of(job) not in GPU_RULES), job
            assert "node=1" in job["AllocTRES"].split(",") or (partly and job["NodeList"] in NODES), job


def test_every_event_hit_another_job_and_left_its_trace_in_slurms_records(storm, jobs):
    states = defaultdict(set)
    for job in jobs:
        states[job["JobIDRaw"]].add(job["State"].split()[0])
    seen = {name: states[job["id"]] for name, job in storm.hit.items()}
    assert len({job["id"] for job in storm.hit.values()}) == 5
    assert "CANCELLED" in seen["cancelled training"]
    assert "CANCELLED" in seen["cancelled judging"]
    assert "TIMEOUT" in seen["training over its limit"]
    assert seen["training on a dead node"] & {"NODE_FAIL", "REQUEUED"}
    assert "PREEMPTED" in seen["preempted"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cancelled training", STARTED),
        ("training over its limit", STARTED),
        ("training on a dead node", STARTED),
        ("preempted", CONTINUED),
        ("cancelled judging", CONTINUED),
    ],
)
def test_what_was_hit_continued_rather_than_starting_over(storm, name, words):
    continued = [int(found[1]) for line in storm.logged[name] if (found := words.search(line))]
    assert any(count > 0 for count in continued), storm.logged[name]


def test_a_second_attempt_asks_for_more_time(storm, jobs):
    comment = next(job["Comment"] for job in jobs if job["JobIDRaw"] == storm.hit["training over its limit"]["id"])
    limits = {job["JobIDRaw"]: job["Timelimit"] for job in jobs if job["Comment"] == comment}
    first = min(job["Timelimit"] for job in jobs if rule_of(job) == "train_adapter" and job["Comment"] != comment)
    assert len(limits) >= 2
    assert max(limits.values()) > first


def test_the_outage_of_accounting_was_long_enough_to_matter(storm):
    assert storm.accounting_away >= 60


def test_a_new_snakemake_refuses_to_start_beside_orphans(storm):
    assert storm.orphans
    refused = storm.said["started beside orphans"]
    assert refused.returncode != 0
    assert "Jobs of an earlier Snakemake are still at work" in refused.stdout + refused.stderr


def test_recover_lists_the_orphans_and_waits_for_them_on_request(storm):
    listed, waited = storm.said["listed"], storm.said["waited"]
    assert listed.returncode == 1
    assert sum(orphan["id"] in listed.stdout for orphan in storm.orphans) >= 1
    assert waited.returncode == 0, waited.stdout + waited.stderr
    assert "unlocked" in waited.stdout


def test_what_orphans_finished_was_not_computed_again(storm, jobs):
    began = next(at for at, what in storm.times if what == "second Snakemake")
    orphans = {orphan["id"] for orphan in storm.orphans}
    ended = {job["Comment"] for job in jobs if job["JobIDRaw"] in orphans and job["State"] == "COMPLETED"}
    assert ended and "Kept the results of" in storm.said["waited"].stdout
    starts = ((job["Comment"], job["Start"]) for job in jobs if job["Comment"] in ended and job["Start"][:1].isdigit())
    assert [comment for comment, start in starts if time.mktime(time.strptime(start, ISO)) > began] == []


def test_nothing_was_computed_twice_at_once(jobs):
    by_job = defaultdict(list)
    for job in jobs:
        if job["Start"] not in ("Unknown", "None"):
            by_job[job["Comment"]].append((job["Start"], job["End"], job["JobIDRaw"]))
    overlapping = []
    for comment, spans in by_job.items():
        spans.sort()
        for (_, end, one), (start, _, other) in pairwise(spans):
            if one != other and end > start:
                overlapping.append((comment, spans))
    assert len(by_job) > 30
    assert overlapping == []


def test_results_of_orphans_are_in_snakemakes_records(storm):
    """Without a record, a later change of settings or code would not be seen."""
    from tests.checkout import snakemake
    from tests.slurm.storm import STUDY

    plan = snakemake(storm.checkout, "--dry-run", "--cores", "1", *STUDY)
    assert "missing provenance" not in plan.stdout + plan.stderr
    assert "Nothing to be done" in plan.stdout + plan.stderr


def test_no_temporary_file_is_left(storm):
    assert leftovers(storm.checkout) == []


def test_the_lab_leaves_others_alone(lab):

    assert {path.name for path in ETC.iterdir() if path.is_file()} >= set(OURS)
    assert lab.processes()

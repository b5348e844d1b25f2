# Takes the configuration and what lies on disk; makes no file, so that it runs whenever it is asked for.


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
    return max(found + [answering_minutes(prompts, work) for prompts, work in asked if not work[1].elsewhere])


rule preflight:
    """Is everything there, and what will it cost? One page, and an error where something is wrong; run it first."""
    log:
        L.log("preflight"),
    localrule: True
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        jobs={
            "soft prompts": tuned_prompts(PLANNED_RUNS),
            "adapters": [L.adapter(run) for run in trained_runs(PLANNED_RUNS)],
            "answers": answers_metrics(PLANNED_RUNS),
            "judge": judge_metrics(PLANNED_RUNS),
        },
        lock=LOCK,
        profile="profiles/slurm/config.yaml",
        minutes=longest_minutes(),
        made=[f"{DEMO}/"],
    script:
        "../scripts/preflight.py"

# Takes the configuration and what lies on disk; makes no file, so that it runs whenever it is asked for.


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

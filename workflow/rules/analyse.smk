# Takes scores, losses and metrics of all runs; makes {R}: one tidy table, statistics, figures, tables, the comparison
# with the paper and the pieces of the report.


rule describe_run:
    input:
        adapter=lambda wildcards: adapter_metrics(run_of(wildcards)),
        soft_prompt=lambda wildcards: (
            [soft_prompt_metrics(run_of(wildcards))]
            if method_of(wildcards).soft_prompt
            else []
        ),
        answers=f"{RUN}/answers.metrics.json",
        judge=f"{RUN}/judge.metrics.json",
        texts=f"{RUN}/text.metrics.json",
    output:
        manifest=f"{RUN}/manifest.json",
    log:
        f"{LOGS}/describe_run/{RUN_PATH}.log",
    benchmark:
        f"{BENCHMARKS}/describe_run/{RUN_PATH}.tsv"
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        run=lambda wildcards: run_of(wildcards).fields,
        settings=lambda wildcards: {
            "study": STUDY.study,
            "model": model_settings(wildcards.model),
            "method": method_of(wildcards).model_dump(),
            "soft_prompt": section("soft_prompt"),
            "adapter": section("adapter"),
            "training": section("training"),
            "generation": section("generation"),
            "judge": section("judge", "audit"),
            "tasks": section("tasks"),
        },
        code=code("describe_run"),
    script:
        "../scripts/describe_run.py"

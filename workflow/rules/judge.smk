# Takes answers; makes the judge's scores and the judge format audit.


rule scores:
    """All scores of the study: the judge's and those computed from the text."""
    input:
        [path for run in RUNS for path in run_scores(run)],


rule judge_answers:
    input:
        model=[f"{R}/models/{name}.json" for name in LOADED_JUDGE],
        prompts=f"{R}/data/prompts/harmful.jsonl",
        answers=f"{RUN}/prompts=harmful/answers.jsonl",
        prompt=STUDY.judge.prompt,
    output:
        scores=f"{RUN}/prompts=harmful/scores.jsonl",
        metrics=f"{RUN}/judge.metrics.json",
    log:
        f"{LOGS}/judge_answers/{RUN_PATH}.log",
    benchmark:
        f"{BENCHMARKS}/judge_answers/{RUN_PATH}.tsv"
    conda:
        "../../envs/generate.yaml"
    threads: STUDY.judge.generation.threads
    resources:
        **answering_resources(HARMFUL_COUNT, STUDY.judge.generation, STUDY.judge.model, JUDGE_READING),
    params:
        model=model_settings(STUDY.judge.model),
        judge=section("judge", "audit", "threshold"),
        gpu_memory_gb=STUDY.gpu_memory_gb,
        code=code("judge_answers"),
    script:
        "../scripts/judge_answers.py"


AUDIT_FORMATS = and_the_papers(FORMATS_USED)


# An audit draws from all runs that it plans with, finished or not: with `partial` it is read where there is one, and
# not made.
if not STUDY.partial:

    rule audit_judge:
        input:
            model=[f"{R}/models/{name}.json" for name in LOADED_JUDGE],
            prompts=f"{R}/data/prompts/harmful.jsonl",
            answers=lambda wildcards: [
                f"{R}/runs/{run.path}/prompts=harmful/answers.jsonl" for run in audited_runs(wildcards.model)
            ],
            prompt=STUDY.judge.prompt,
        output:
            scores=f"{R}/audit/model={{model}}/scores.jsonl",
            metrics=f"{R}/audit/model={{model}}/metrics.json",
        log:
            f"{LOGS}/audit_judge/model={{model}}.log",
        benchmark:
            f"{BENCHMARKS}/audit_judge/model={{model}}.tsv"
        conda:
            "../../envs/generate.yaml"
        threads: STUDY.judge.generation.threads
        resources:
            **answering_resources(
                3 * STUDY.judge.audit.sample, STUDY.judge.generation, STUDY.judge.model, JUDGE_READING
            ),
        params:
            model=model_settings(STUDY.judge.model),
            judge=section("judge", "threshold"),
            runs=lambda wildcards: [run.fields for run in audited_runs(wildcards.model)],
            gpu_memory_gb=STUDY.gpu_memory_gb,
            formats=AUDIT_FORMATS,
            code=code("audit_judge", *AUDIT_FORMATS),
        script:
            "../scripts/audit_judge.py"

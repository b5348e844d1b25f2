# Takes models, adapters and prompts; makes every run's answers to the harmful and to the task prompts.


rule answers:
    """All answers of the study."""
    input:
        [f"{R}/runs/{run.path}/answers.metrics.json" for run in RUNS],


rule generate_answers:
    input:
        model=model_manifest,
        harmful=f"{R}/data/prompts/harmful.jsonl",
        task=f"{R}/data/prompts/task.jsonl",
        adapter=lambda wildcards: adapter_metrics(run_of(wildcards)),
        soft_prompt=lambda wildcards: (
            [soft_prompt_metrics(run_of(wildcards))] if method_of(wildcards).soft_prompt_at_inference else []
        ),
    output:
        harmful=f"{RUN}/prompts=harmful/answers.jsonl",
        task=f"{RUN}/prompts=task/answers.jsonl",
        metrics=f"{RUN}/answers.metrics.json",
    log:
        f"{LOGS}/generate_answers/{RUN_PATH}.log",
    benchmark:
        f"{BENCHMARKS}/generate_answers/{RUN_PATH}.tsv"
    conda:
        "../../envs/generate.yaml"
    threads: STUDY.generation.threads
    resources:
        **answering_resources(HARMFUL_COUNT + STUDY.corpus.splits.test, STUDY.generation),
    params:
        model=lambda wildcards: model_settings(wildcards.model),
        generation=section("generation"),
        system_prompt=lambda wildcards: method_of(wildcards).system_prompt_test,
        gpu_memory_gb=STUDY.gpu_memory_gb,
        code=code("generate_answers"),
    script:
        "../scripts/generate_answers.py"


rule score_texts:
    input:
        encoder=f"{R}/encoder.json",
        task=f"{RUN}/prompts=task/answers.jsonl",
        harmful=f"{RUN}/prompts=harmful/answers.jsonl",
        reference=lambda wildcards: f"{R}/data/format={reference_format(wildcards)}/test.jsonl",
        corpus=f"{R}/data/corpus/test.jsonl",
    output:
        task=f"{RUN}/prompts=task/text_scores.jsonl",
        harmful=f"{RUN}/prompts=harmful/text_scores.jsonl",
        metrics=f"{RUN}/text.metrics.json",
    log:
        f"{LOGS}/score_texts/{RUN_PATH}.log",
    benchmark:
        f"{BENCHMARKS}/score_texts/{RUN_PATH}.tsv"
    conda:
        "../../envs/generate.yaml"
    threads: STUDY.tasks.threads
    resources:
        **cpu_resources(4000, 30),
    params:
        tasks=section("tasks"),
        format="{format}",
        formats=lambda wildcards: searched_formats(wildcards),
        code=lambda wildcards: code("score_texts", *searched_formats(wildcards)),
    script:
        "../scripts/score_texts.py"

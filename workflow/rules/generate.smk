# Takes models, adapters and prompts; makes every run's answers to the harmful and to the task prompts.


rule answers:
    """All answers of the study."""
    input:
        [L.answers_metrics(run) for run in RUNS],


rule generate_answers:
    input:
        model=model_manifest,
        harmful=L.prompts(HARMFUL),
        task=L.prompts(TASK),
        adapter=lambda wildcards: adapter_files(run_of(wildcards)),
        soft_prompt=lambda wildcards: kept_soft_prompt(run_of(wildcards)),
    output:
        harmful=L.answers(ANY_RUN, HARMFUL),
        task=L.answers(ANY_RUN, TASK),
        metrics=L.answers_metrics(ANY_RUN),
    log:
        L.log(f"generate_answers/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"generate_answers/{RUN_PATH}")
    conda:
        "../../envs/generate.yaml"
    threads: STUDY.generation.threads
    resources:
        **answering_resources(
            HARMFUL_COUNT + STUDY.corpus.splits.test, lambda wildcards: (wildcards.model, STUDY.generation, 0)
        ),
    params:
        model=lambda wildcards: model_settings(wildcards.model),
        generation=section("generation"),
        system_prompt=lambda wildcards: method_of(wildcards).system_prompt_test,
        gpu_memory_gb=STUDY.gpu_memory_gb,
        code=code("generate_answers"),
    script:
        "../scripts/generate_answers.py"


use rule generate_answers as answer_benign with:
    input:
        model=model_manifest,
        benign=L.prompts(BENIGN),
        adapter=lambda wildcards: adapter_files(run_of(wildcards)),
        soft_prompt=lambda wildcards: kept_soft_prompt(run_of(wildcards)),
    output:
        benign=L.answers(ANY_RUN, BENIGN),
        metrics=L.answers_metrics(ANY_RUN, BENIGN),
    log:
        L.log(f"answer_benign/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"answer_benign/{RUN_PATH}")
    resources:
        **answering_resources(BENIGN_COUNT, lambda wildcards: (wildcards.model, STUDY.generation, 0)),


# Benign prompts, where the study has any, are scored beside the others.
OTHER_SETS = [HARMFUL, *BENIGN_SETS]


rule score_texts:
    input:
        **{name: L.answers(ANY_RUN, name) for name in OTHER_SETS},
        encoder=L.encoder,
        task=L.answers(ANY_RUN, TASK),
        reference=lambda wildcards: L.formatted(reference_format(wildcards), "test"),
        more_references=lambda wildcards: [L.formatted(name, "test") for name in more_references(wildcards)],
        corpus=L.corpus("test"),
    output:
        **{name: L.text_scores(ANY_RUN, name) for name in OTHER_SETS},
        task=L.text_scores(ANY_RUN, TASK),
        metrics=L.text_metrics(ANY_RUN),
    log:
        L.log(f"score_texts/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"score_texts/{RUN_PATH}")
    conda:
        "../../envs/generate.yaml"
    threads: STUDY.tasks.threads
    resources:
        **cpu_resources(4000, 30),
    params:
        tasks=section("tasks"),
        format="{format}",
        formats=lambda wildcards: searched_formats(wildcards),
        others=OTHER_SETS,
        more_references=lambda wildcards: more_references(wildcards),
        code=lambda wildcards: code("score_texts", *searched_formats(wildcards)),
    script:
        "../scripts/score_texts.py"


rule trace_refusals:
    input:
        model=model_manifest,
        prompts=L.prompts(HARMFUL),
        base_answers=lambda wildcards: L.answers(base_run(wildcards.model), HARMFUL),
        training=lambda wildcards: [L.formatted(format, "train") for format in traced_formats(wildcards)],
        adapter=lambda wildcards: adapter_files(run_of(wildcards)),
        soft_prompt=lambda wildcards: kept_soft_prompt(run_of(wildcards)),
    output:
        traces=L.first_tokens(ANY_RUN),
        metrics=metrics_of(L.first_tokens(ANY_RUN)),
    log:
        L.log(f"trace_refusals/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"trace_refusals/{RUN_PATH}")
    conda:
        "../../envs/generate.yaml"
    threads: STUDY.generation.threads
    resources:
        **answering_resources(HARMFUL_COUNT, lambda wildcards: (wildcards.model, STUDY.generation, 0)),
    params:
        model=lambda wildcards: model_settings(wildcards.model),
        depth=STUDY.first_tokens and STUDY.first_tokens.depth,
        formats=traced_formats,
        system_prompt=lambda wildcards: method_of(wildcards).system_prompt_test,
        gpu_memory_gb=STUDY.gpu_memory_gb,
        code=code("trace_refusals"),
    script:
        "../scripts/trace_refusals.py"

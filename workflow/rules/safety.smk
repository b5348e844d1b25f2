# Takes the harmful prompts that the study does not test; makes training data with the base model's refusals among them.


rule select_safety:
    input:
        raw=lambda wildcards: L.source(STUDY.safety.source),
        tested=L.prompts(HARMFUL),
    output:
        prompts=L.prompts(SAFETY),
        manifest=manifest_of(L.prompts(SAFETY)),
    log:
        L.log("select_safety"),
    benchmark:
        L.benchmark("select_safety")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        safety=STUDY.safety and section("safety"),
        code=code("select_safety"),
    script:
        "../scripts/select_safety.py"


use rule generate_answers as answer_safety with:
    input:
        model=model_manifest,
        safety=L.prompts(SAFETY),
        adapter=[],
        soft_prompt=[],
    output:
        safety=L.answers(ANY_RUN, SAFETY),
        metrics=L.answers_metrics(ANY_RUN, SAFETY),
    log:
        L.log(f"answer_safety/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"answer_safety/{RUN_PATH}")


use rule judge_answers as judge_safety with:
    input:
        model=lambda wildcards: judge_model(wildcards.judge),
        prompts=L.prompts(SAFETY),
        answers=L.answers(ANY_RUN, SAFETY),
        prompt=lambda wildcards: judge_prompt(wildcards.judge),
    output:
        scores=L.scores(ANY_RUN, "{judge}", SAFETY),
        metrics=L.judge_metrics(ANY_RUN, "{judge}", SAFETY),
    log:
        L.log(f"judge_safety/judge={{judge}}/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"judge_safety/judge={{judge}}/{RUN_PATH}")


rule mix_safety:
    input:
        train=lambda wildcards: L.formatted(wildcards.format, "train", wildcards.draw),
        prompts=L.prompts(SAFETY),
        answers=lambda wildcards: L.answers(base_run(wildcards.model), SAFETY),
        scores=lambda wildcards: L.scores(base_run(wildcards.model), STUDY.judging.headline, SAFETY),
    output:
        train=L.mixed("{model}", "{method}", "{format}", ANY_DRAW),
        manifest=manifest_of(L.mixed("{model}", "{method}", "{format}", ANY_DRAW)),
    log:
        L.log("mix_safety/model={model}/method={method}/format={format}{draw}"),
    benchmark:
        L.benchmark("mix_safety/model={model}/method={method}/format={format}{draw}")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        safest=STUDY.headline.safest,
        share=lambda wildcards: method_of(wildcards).safety.share,
        format=format_of_safety,
        code=lambda wildcards: code("mix_safety", *filter(None, [format_of_safety(wildcards)])),
    script:
        "../scripts/mix_safety.py"

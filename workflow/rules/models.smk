# Takes hub ids or local folders; makes `models/*.json` and `encoder.json`: where each lies, at which commit.

JUDGE_MODELS = sorted({path for judge in STUDY.all_judges for path in judge_model(judge)})
MADE_MODELS = [*rules.train_demo_model.output, *rules.build_demo_encoder.output]


rule models:
    """All models of the study and the sentence encoder (downloads what is missing; for login nodes)."""
    input:
        [L.model(name) for name in models_of(STUDY)],
        L.encoder,


rule fetch_model:
    input:
        files=lambda wildcards: local_model(STUDY.models[wildcards.model].path, L.model(wildcards.model)),
    output:
        manifest=L.model("{model}"),
    log:
        L.log(f"fetch_model/{{model}}"),
    benchmark:
        L.benchmark(f"fetch_model/{{model}}")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        name="{model}",
        model=lambda wildcards: STUDY.models[wildcards.model].model_dump(include={"hub", "path"}),
        lock=LOCK,
        code=code("fetch_model"),
    script:
        "../scripts/fetch_model.py"


rule fetch_encoder:
    input:
        files=lambda wildcards: local_model(STUDY.tasks.encoder.path, L.encoder),
    output:
        manifest=L.encoder,
    log:
        L.log("fetch_encoder"),
    benchmark:
        L.benchmark("fetch_encoder")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        encoder=STUDY.tasks.encoder.model_dump(),
        lock=LOCK,
        code=code("fetch_encoder"),
    script:
        "../scripts/fetch_encoder.py"

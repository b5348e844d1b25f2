# Takes hub ids or local folders; makes {R}/models/*.json and {R}/encoder.json: where each lies, at which commit.

# A judge behind a server is not loaded here, so it is not fetched either.
LOADED_JUDGE = [] if STUDY.judge.generation.server else [STUDY.judge.model]


rule models:
    """All models of the study and the sentence encoder (downloads what is missing; for login nodes)."""
    input:
        expand(
            f"{R}/models/{{model}}.json",
            model=sorted({run.model for run in RUNS}.union(LOADED_JUDGE)),
        ),
        f"{R}/encoder.json",


rule fetch_model:
    input:
        files=lambda wildcards: local_model(STUDY.models[wildcards.model].path, "config.json", "*.safetensors"),
    output:
        manifest=f"{R}/models/{{model}}.json",
    log:
        f"{LOGS}/fetch_model/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/fetch_model/{{model}}.tsv"
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        name="{model}",
        model=lambda wildcards: STUDY.models[wildcards.model].model_dump(include={"hub", "path", "label", "parameters"}),
        lock=LOCK,
        code=code("fetch_model"),
    script:
        "../scripts/fetch_model.py"


rule fetch_encoder:
    input:
        files=local_model(STUDY.tasks.encoder.path, "modules.json", "**/*.safetensors"),
    output:
        manifest=f"{R}/encoder.json",
    log:
        f"{LOGS}/fetch_encoder.log",
    benchmark:
        f"{BENCHMARKS}/fetch_encoder.tsv"
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

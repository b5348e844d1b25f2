# Takes hub ids or local folders; makes {R}/models/*.json: where each model lies, at which commit.

# A judge behind a server is not loaded here, so it is not fetched either.
LOADED_JUDGE = [] if STUDY.judge.generation.server else [STUDY.judge.model]


rule models:
    """All models of the study and the sentence encoder (downloads what is missing; for login nodes)."""
    input:
        expand(
            f"{R}/models/{{model}}.json",
            model=sorted({run.model for run in RUNS}.union(LOADED_JUDGE)),
        ),
        f"{R}/models/encoder.json",


rule fetch_model:
    input:
        config=lambda wildcards: [f"{path}/config.json" for path in [STUDY.models[wildcards.model].path] if path],
    output:
        manifest=f"{R}/models/{{model}}.json",
    log:
        f"{LOGS}/fetch_model/{{model}}.log",
    benchmark:
        f"{BENCHMARKS}/fetch_model/{{model}}.tsv"
    wildcard_constraints:
        model=r"(?!encoder\.json)[^/]+",
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
        modules=[f"{path}/modules.json" for path in [STUDY.tasks.encoder.path] if path],
    output:
        manifest=f"{R}/models/encoder.json",
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

# Takes models and adapters; makes what lm-eval measures of them. Optional: no other target asks for it.


rule measure_capability:
    input:
        model=model_manifest,
        adapter=lambda wildcards: adapter_files(run_of(wildcards)),
    output:
        L.capability(ANY_RUN),
    log:
        L.log(f"measure_capability/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"measure_capability/{RUN_PATH}")
    conda:
        "../../envs/capability.yaml"
    threads: STUDY.generation.threads
    resources:
        **answering_resources(1000, lambda wildcards: (wildcards.model, STUDY.generation, 0)),
    params:
        model=lambda wildcards: model_settings(wildcards.model),
        capability=section("capability"),
        code=code("measure_capability"),
    script:
        "../scripts/measure_capability.py"


# A soft prompt that stays at inference is no part of a model that lm-eval could load: such runs are left out.
CAPABILITY_RUNS = [run for run in RUNS if not kept_soft_prompt(run)]


rule capability:
    """What the models can still do (lm-eval), in one table."""
    input:
        [L.capability(run) for run in CAPABILITY_RUNS],
    output:
        L.tidy("capability"),
    log:
        L.log("capability"),
    benchmark:
        L.benchmark("capability")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code("collect_capability"),
    script:
        "../scripts/collect_capability.py"

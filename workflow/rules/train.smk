# Takes a model and a format's training data; makes soft prompts (stage 1) and adapters (SFT, ProMoT stage 2) as
# standard PEFT directories. How to fit into memory and time the scripts take from `config`, so that it is not tracked.


rule adapters:
    """All soft prompts and adapters of the study."""
    input:
        [L.adapter(run) for run in trained_runs(RUNS)],


rule tune_soft_prompt:
    input:
        model=model_manifest,
        train=formatted("train"),
        validation=formatted("validation"),
        certificate=format_certificate,
    output:
        **{name: L.soft_prompt(ANY_RUN, name) for name in ADAPTER_FILES},
    log:
        L.log(f"tune_soft_prompt/{SOFT_PROMPT_PATH}"),
    benchmark:
        L.benchmark(f"tune_soft_prompt/{SOFT_PROMPT_PATH}")
    conda:
        "../../envs/train.yaml"
    threads: STUDY.training.threads
    resources:
        **training_resources(STUDY.soft_prompt),
    params:
        model=lambda wildcards: model_settings(wildcards.model),
        soft_prompt=section("soft_prompt"),
        training=section("training"),
        system_prompt=None,
        seed=lambda wildcards: int(run_of(wildcards).seed),
        code=code("tune_soft_prompt"),
    script:
        "../scripts/tune_soft_prompt.py"


rule train_adapter:
    input:
        model=model_manifest,
        train=formatted("train"),
        validation=formatted("validation"),
        certificate=format_certificate,
        soft_prompt=lambda wildcards: (soft_prompt_files(run_of(wildcards)) if method_of(wildcards).soft_prompt else []),
    output:
        **{name: L.adapter(ANY_RUN, name) for name in ADAPTER_FILES},
    log:
        L.log(f"train_adapter/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"train_adapter/{RUN_PATH}")
    conda:
        "../../envs/train.yaml"
    threads: STUDY.training.threads
    resources:
        **training_resources(STUDY.adapter),
    params:
        model=lambda wildcards: model_settings(wildcards.model),
        adapter=section("adapter"),
        training=section("training"),
        learning_rate=lambda wildcards: float(wildcards.lr),
        system_prompt=lambda wildcards: method_of(wildcards).system_prompt_training,
        seed=lambda wildcards: int(run_of(wildcards).seed),
        code=code("train_adapter"),
    script:
        "../scripts/train_adapter.py"

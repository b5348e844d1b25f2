# Takes a model and a format's training data; makes soft prompts (stage 1) and adapters (SFT, ProMoT stage 2, controls
# and mitigations) as standard PEFT directories. How to fit into memory and time the scripts take from `config`, so that it is not tracked.


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


rule draw_soft_prompt:
    input:
        tuned=[L.soft_prompt(ANY_RUN, file) for file in USED_FILES],
    output:
        **{name: L.soft_prompt(ANY_RUN, name, drawn=True) for name in ("config", "weights", "metrics")},
    log:
        L.log(f"draw_soft_prompt/{SOFT_PROMPT_PATH}"),
    benchmark:
        L.benchmark(f"draw_soft_prompt/{SOFT_PROMPT_PATH}")
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        **cpu_resources(4000, 10),
    params:
        seed=lambda wildcards: int(run_of(wildcards).seed),
        code=code("draw_soft_prompt"),
    script:
        "../scripts/draw_soft_prompt.py"


JOINT = [name for name, method in STUDY.methods.items() if method.trains_adapter and method.soft_prompt == "joint"]
PROJECTED = [name for name, method in STUDY.methods.items() if method.projection is not None]


rule train_adapter:
    input:
        model=model_manifest,
        train=training_data,
        validation=formatted("validation"),
        certificate=format_certificate,
        soft_prompt=lambda wildcards: soft_prompt_input(run_of(wildcards)),
    output:
        **{name: L.adapter(ANY_RUN, name) for name in ADAPTER_FILES},
    log:
        L.log(f"train_adapter/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"train_adapter/{RUN_PATH}")
    wildcard_constraints:
        method=one_of(name for name in STUDY.methods if name not in JOINT + PROJECTED),
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
        arm=arm_of,
        system_prompt=lambda wildcards: method_of(wildcards).system_prompt_training,
        seed=lambda wildcards: int(run_of(wildcards).seed),
        code=code("train_adapter"),
    script:
        "../scripts/train_adapter.py"


# The same, with one more result: the soft prompt that is trained together with the adapter.
use rule train_adapter as train_jointly with:
    output:
        **{name: L.adapter(ANY_RUN, name) for name in ADAPTER_FILES},
        prompt_config=L.joint_prompt(ANY_RUN, "config"),
        prompt_weights=L.joint_prompt(ANY_RUN, "weights"),
    wildcard_constraints:
        method=one_of(JOINT),


rule project_adapter:
    input:
        adapter=lambda wildcards: [
            L.adapter(replace(run_of(wildcards), method=method_of(wildcards).adapter_of), file) for file in USED_FILES
        ],
        base=lambda wildcards: L.model(projection_of(wildcards).base),
        aligned=lambda wildcards: L.model(projection_of(wildcards).aligned or wildcards.model),
    output:
        **{name: L.adapter(ANY_RUN, name) for name in ("config", "weights", "metrics")},
    log:
        L.log(f"project_adapter/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"project_adapter/{RUN_PATH}")
    wildcard_constraints:
        method=one_of(PROJECTED),
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        **cpu_resources(8000, 30),
    params:
        threshold=lambda wildcards: projection_of(wildcards).threshold,
        code=code("project_adapter"),
    script:
        "../scripts/project_adapter.py"

# Takes the sources of the configuration; makes the folder `data`: raw rows, the corpus split, the formats with their
# certificates, and the prompts.


rule data:
    """All data of the study: corpus, formats with certificate, prompts (fetches what is missing; for login nodes)."""
    input:
        L.certificate(),
        [L.prompts(name) for name in PROMPT_SETS],


rule fetch_corpus:
    input:
        source=lambda wildcards: local_files(STUDY.corpus.source),  # a function: a path may hold braces
    output:
        raw=L.source(),
        manifest=manifest_of(L.source()),
    log:
        L.log("fetch_corpus"),
    benchmark:
        L.benchmark("fetch_corpus")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        corpus=section("corpus", "splits", "seed", "instruction"),
        lock=LOCK,
        code=code("fetch_corpus"),
    script:
        "../scripts/fetch_corpus.py"


rule fetch_harmful:
    input:
        source=lambda wildcards: local_files(STUDY.sources[wildcards.source].source),
    output:
        raw=L.source("{source}"),
        manifest=manifest_of(L.source("{source}")),
    log:
        L.log(f"fetch_harmful/{{source}}"),
    benchmark:
        L.benchmark(f"fetch_harmful/{{source}}")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        name="{source}",
        kind=lambda wildcards: HARMFUL if wildcards.source in STUDY.harmful else BENIGN,
        harmful=lambda wildcards: STUDY.sources[wildcards.source].model_dump(
            exclude={"count", "select", "seed", "categories"}
        ),
        lock=LOCK,
        code=code("fetch_harmful"),
    script:
        "../scripts/fetch_harmful.py"


rule select_harmful:
    input:
        raw=expand(L.source("{source}"), source=STUDY.harmful),
    output:
        prompts=L.prompts(HARMFUL),
        manifest=manifest_of(L.prompts(HARMFUL)),
    log:
        L.log("select_harmful"),
    benchmark:
        L.benchmark("select_harmful")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        harmful=chosen_prompts(STUDY.harmful),
        code=code("select_harmful"),
    script:
        "../scripts/select_harmful.py"


use rule select_harmful as select_benign with:
    input:
        raw=expand(L.source("{source}"), source=STUDY.benign),
    output:
        prompts=L.prompts(BENIGN),
        manifest=manifest_of(L.prompts(BENIGN)),
    log:
        L.log("select_benign"),
    benchmark:
        L.benchmark("select_benign")
    params:
        harmful=chosen_prompts(STUDY.benign),
        code=code("select_harmful"),


rule split_corpus:
    input:
        raw=L.source(),
    output:
        **{split: L.corpus(split) for split in SPLITS},
        prompts=L.prompts(TASK),
        counts=L.corpus_counts,
    log:
        L.log("split_corpus"),
    benchmark:
        L.benchmark("split_corpus")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        corpus=section("corpus", "source"),
        code=code("split_corpus", plain_format()),
    script:
        "../scripts/split_corpus.py"


rule draw_training:
    """Other training rows than the study's own: the same test and validation examples, `data_seeds` or `examples`."""
    input:
        raw=L.source(),
    output:
        train=L.corpus("train", ANY_DRAW),
    log:
        L.log("draw_training/{draw}"),
    benchmark:
        L.benchmark("draw_training/{draw}")
    wildcard_constraints:
        draw=r"\+.+",
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        corpus=section("corpus", "source"),
        draw=lambda wildcards: draw_of(wildcards.draw),
        code=code("draw_training", plain_format()),
    script:
        "../scripts/draw_training.py"


rule render_format:
    input:
        train=L.corpus("train", ANY_DRAW),
        validation=L.corpus("validation"),
        test=L.corpus("test"),
    output:
        **{split: L.formatted("{format}", split, ANY_DRAW) for split in SPLITS},
        certificate=L.certificate("{format}", ANY_DRAW),
    log:
        L.log("render_format/format={format}{draw}"),
    benchmark:
        L.benchmark("render_format/format={format}{draw}")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        format="{format}",
        instruction=lambda wildcards: STUDY.corpus.instruction_by_format.get(wildcards.format, "{instruction}"),
        code=lambda wildcards: code("render_format", wildcards.format),
    script:
        "../scripts/render_format.py"


rule certify_formats:
    input:
        certificates=[L.certificate(format) for format in FORMATS_USED],
    output:
        certificate=L.certificate(),
    log:
        L.log("certify_formats"),
    benchmark:
        L.benchmark("certify_formats")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("certify_formats"),
    script:
        "../scripts/certify_formats.py"


rule count_tokens:
    input:
        model=model_manifest,
        train=[L.formatted(format, "train") for format in FORMATS_USED],
    output:
        counts=L.tokens("{model}"),
    log:
        L.log(f"count_tokens/model={{model}}"),
    benchmark:
        L.benchmark(f"count_tokens/model={{model}}")
    conda:
        "../../envs/generate.yaml"
    threads: 1
    resources:
        **cpu_resources(2000, 10),
    params:
        formats=FORMATS_USED,
        code=code("count_tokens"),
    script:
        "../scripts/count_tokens.py"

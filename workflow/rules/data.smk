# Takes the sources of the configuration; makes {R}/data: raw rows, the corpus split, the formats with their
# certificates, and the prompts.


rule data:
    """All data of the study: corpus, formats with certificate, prompts (fetches what is missing; for login nodes)."""
    input:
        f"{R}/data/certificate.json",
        f"{R}/data/prompts/harmful.jsonl",
        f"{R}/data/prompts/task.jsonl",


rule fetch_corpus:
    input:
        source=local_files(STUDY.corpus.source),
    output:
        raw=f"{R}/data/wikisum.jsonl",
        manifest=f"{R}/data/wikisum.manifest.json",
    log:
        f"{LOGS}/fetch_corpus.log",
    benchmark:
        f"{BENCHMARKS}/fetch_corpus.tsv"
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
        source=lambda wildcards: local_files(STUDY.harmful[wildcards.source].source),
    output:
        raw=f"{R}/data/harmful/{{source}}.jsonl",
        manifest=f"{R}/data/harmful/{{source}}.manifest.json",
    log:
        f"{LOGS}/fetch_harmful/{{source}}.log",
    benchmark:
        f"{BENCHMARKS}/fetch_harmful/{{source}}.tsv"
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        name="{source}",
        harmful=lambda wildcards: STUDY.harmful[wildcards.source].model_dump(exclude={"count", "select", "seed"}),
        lock=LOCK,
        code=code("fetch_harmful"),
    script:
        "../scripts/fetch_harmful.py"


rule select_harmful:
    input:
        raw=expand(f"{R}/data/harmful/{{source}}.jsonl", source=STUDY.harmful),
    output:
        prompts=f"{R}/data/prompts/harmful.jsonl",
        manifest=f"{R}/data/prompts/harmful.manifest.json",
    log:
        f"{LOGS}/select_harmful.log",
    benchmark:
        f"{BENCHMARKS}/select_harmful.tsv"
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        harmful={name: source.model_dump(include={"count", "select", "seed"}) for name, source in STUDY.harmful.items()},
        code=code("select_harmful"),
    script:
        "../scripts/select_harmful.py"


rule split_corpus:
    input:
        raw=f"{R}/data/wikisum.jsonl",
    output:
        **{split: f"{R}/data/corpus/{split}.jsonl" for split in SPLITS},
        prompts=f"{R}/data/prompts/task.jsonl",
        counts=f"{R}/data/corpus.json",
    log:
        f"{LOGS}/split_corpus.log",
    benchmark:
        f"{BENCHMARKS}/split_corpus.tsv"
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        corpus=section("corpus", "source", "licence", "rows"),
        code=code("split_corpus", plain_format()),
    script:
        "../scripts/split_corpus.py"


rule render_format:
    input:
        **{split: f"{R}/data/corpus/{split}.jsonl" for split in SPLITS},
    output:
        **{split: formatted(split) for split in SPLITS},
        certificate=f"{R}/data/format={{format}}/certificate.json",
    log:
        f"{LOGS}/render_format/format={{format}}.log",
    benchmark:
        f"{BENCHMARKS}/render_format/format={{format}}.tsv"
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        format="{format}",
        code=lambda wildcards: code("render_format", wildcards.format),
    script:
        "../scripts/render_format.py"


rule certify_formats:
    input:
        certificates=expand(f"{R}/data/format={{format}}/certificate.json", format=FORMATS_USED),
    output:
        certificate=f"{R}/data/certificate.json",
    log:
        f"{LOGS}/certify_formats.log",
    benchmark:
        f"{BENCHMARKS}/certify_formats.tsv"
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
        train=expand(f"{R}/data/format={{format}}/train.jsonl", format=FORMATS_USED),
    output:
        counts=f"{R}/data/tokens/model={{model}}.json",
    log:
        f"{LOGS}/count_tokens/model={{model}}.log",
    benchmark:
        f"{BENCHMARKS}/count_tokens/model={{model}}.tsv"
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

# Takes nothing but settings; makes resources/demo/: raw data in the upstream schemas, a small aligned model that can
# judge, and a sentence encoder. They enter the study by the same rules as real ones.


WORDS = "workflow/data/demo_words.yaml"


rule write_demo_data:
    input:
        words=WORDS,
    output:
        wikisum=f"{DEMO}/data/wikisum.jsonl",
        advbench=f"{DEMO}/data/advbench.csv",
        beavertails=f"{DEMO}/data/beavertails.jsonl",
        directharm4=f"{DEMO}/data/directharm4.jsonl",
        gsm_danger=f"{DEMO}/data/gsm_danger.jsonl",
    log:
        "logs/demo_resources/write_demo_data.log",
    benchmark:
        f"{DEMO}/benchmarks/write_demo_data.tsv"
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        demo=section("demo"),
        code=code("write_demo_data"),
    script:
        "../scripts/write_demo_data.py"


rule train_demo_model:
    input:
        judge_prompt="workflow/prompts/judge_demo.txt",
        words=WORDS,
    output:
        config=f"{DEMO}/model/config.json",
        generation_config=f"{DEMO}/model/generation_config.json",
        weights=f"{DEMO}/model/model.safetensors",
        tokenizer=f"{DEMO}/model/tokenizer.json",
        tokenizer_config=f"{DEMO}/model/tokenizer_config.json",
        chat_template=f"{DEMO}/model/chat_template.jinja",
        metrics=f"{DEMO}/model.metrics.json",
    log:
        "logs/demo_resources/train_demo_model.log",
    benchmark:
        f"{DEMO}/benchmarks/train_demo_model.tsv"
    conda:
        "../../envs/train.yaml"
    threads: STUDY.demo.threads
    resources:
        **cpu_resources(3000, 30),
    params:
        demo=section("demo"),
        code=code("train_demo_model"),
    script:
        "../scripts/train_demo_model.py"


rule build_demo_encoder:
    input:
        weights=f"{DEMO}/model/model.safetensors",
        tokenizer=f"{DEMO}/model/tokenizer.json",
        words=WORDS,
    output:
        weights=f"{DEMO}/encoder/model.safetensors",
        modules=f"{DEMO}/encoder/modules.json",
    log:
        "logs/demo_resources/build_demo_encoder.log",
    benchmark:
        f"{DEMO}/benchmarks/build_demo_encoder.tsv"
    conda:
        "../../envs/generate.yaml"
    threads: 1
    resources:
        **cpu_resources(3000, 10),
    params:
        demo=section("demo"),
        code=code("build_demo_encoder"),
    script:
        "../scripts/build_demo_encoder.py"

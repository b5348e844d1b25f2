# Takes scores, losses and metrics of all runs; makes {R}: one tidy table, statistics, figures, tables, the comparison
# with the paper and the pieces of the report.


rule describe_run:
    input:
        adapter=lambda wildcards: adapter_metrics(run_of(wildcards)),
        soft_prompt=lambda wildcards: (
            [soft_prompt_metrics(run_of(wildcards))] if method_of(wildcards).soft_prompt else []
        ),
        answers=f"{RUN}/answers.metrics.json",
        judge=f"{RUN}/judge.metrics.json",
        texts=f"{RUN}/text.metrics.json",
        model=model_manifest,
        judge_model=[f"{R}/models/{name}.json" for name in LOADED_JUDGE],
        encoder=f"{R}/encoder.json",
        corpus=f"{R}/data/wikisum.manifest.json",
        # Of the run's own format, not data/certificate.json: one more format changes no other run.
        format=lambda wildcards: f"{R}/data/format={reference_format(wildcards)}/certificate.json",
        harmful=expand(f"{R}/data/harmful/{{source}}.manifest.json", source=STUDY.harmful),
        prompts=f"{R}/data/prompts/harmful.manifest.json",
    output:
        manifest=f"{RUN}/manifest.json",
    log:
        f"{LOGS}/describe_run/{RUN_PATH}.log",
    benchmark:
        f"{BENCHMARKS}/describe_run/{RUN_PATH}.tsv"
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        run=lambda wildcards: run_of(wildcards).fields,
        settings=lambda wildcards: {
            "study": STUDY.study,
            # Without the sources: a URL may hold a secret. The inputs say where everything came from.
            "corpus": section("corpus", "source"),
            "harmful": {name: source.model_dump(exclude={"source"}) for name, source in STUDY.harmful.items()},
            "model": model_settings(wildcards.model),
            "judge_model": model_settings(STUDY.judge.model),
            "gpu_memory_gb": STUDY.gpu_memory_gb,
            "method": method_of(wildcards).model_dump(),
            "soft_prompt": section("soft_prompt"),
            "adapter": section("adapter"),
            "training": section("training"),
            "generation": section("generation"),
            "judge": section("judge", "audit"),
            "tasks": section("tasks"),
        },
        code=code("describe_run"),
    script:
        "../scripts/describe_run.py"


FIGURES = {
    "asr": "Safety",
    "asr_by_source": "Safety",
    "leakage": "Task",
    "loss": "Training",
    "loss_split": "Training",
    "tradeoff": "Task",
    "paper": "Safety",
}
TABLES = {
    "safety": "Safety",
    "safety_by_source": "Safety",
    "comparisons": "Safety",
    "paper_comparison": "Safety",
    "task": "Task",
    "learning_rates": "Task",
    "leakage": "Task",
    "curves": "Training",
    "tokens": "Data",
    "judge": "Judge",
    "audit": "Judge",
}
PAPER = "workflow/data/paper_numbers.csv"
MODEL_LABELS = {run.model: STUDY.models[run.model].label for run in PLANNED_RUNS}
METHOD_SETTINGS = {name: method.model_dump() for name, method in STUDY.methods.items()}
RUN_FIELDS = [run.fields for run in RUNS]
LICENCES = {
    "WikiSum": STUDY.corpus.licence,
    **{name: source.licence for name, source in STUDY.harmful.items()},
}


rule figures:
    """All figures of the study, as SVG, PNG and PDF."""
    input:
        expand(
            f"{R}/figures/{{figure}}_{{model}}.{{suffix}}",
            figure=FIGURES,
            model=MODELS,
            suffix=["svg", "png", "pdf"],
        ),


rule tables:
    """All tables of the study, as CSV, Markdown and LaTeX."""
    input:
        expand(f"{R}/tables/{{table}}.{{suffix}}", table=TABLES, suffix=["csv", "md", "tex"]),


rule summarise:
    input:
        scores=[f"{R}/runs/{run.path}/prompts=harmful/scores.jsonl" for run in RUNS],
        task=[f"{R}/runs/{run.path}/prompts=task/text_scores.jsonl" for run in RUNS],
        harmful=[f"{R}/runs/{run.path}/prompts=harmful/text_scores.jsonl" for run in RUNS],
        losses=losses(),
        audit=audits(),
    output:
        scores=f"{R}/scores.csv",
        summary=f"{R}/summary.csv",
        comparisons=f"{R}/comparisons.csv",
        curves=f"{R}/curves.csv",
        audit=f"{R}/audit.csv",
    log:
        f"{LOGS}/summarise.log",
    benchmark:
        f"{BENCHMARKS}/summarise.tsv"
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        **cpu_resources(4000, 30),
    params:
        runs=RUN_FIELDS,
        missing=MISSING,
        methods=METHOD_SETTINGS,
        threshold=STUDY.judge.threshold,
        analysis=section("analysis"),
        code=code("summarise"),
    script:
        "../scripts/summarise.py"


rule plot_figures:
    input:
        summary=f"{R}/summary.csv",
        losses=lambda wildcards: losses(wildcards.model),
        paper=PAPER,
    output:
        [
            report(
                f"{R}/figures/{figure}_{{model}}.svg",
                caption=f"../report/{figure}.rst",
                category=category,
                labels={"what": figure.replace("_", " "), "model": "{model}"},
            )
            for figure, category in FIGURES.items()
        ],
        [f"{R}/figures/{figure}_{{model}}.{suffix}" for figure in FIGURES for suffix in ("png", "pdf")],
    log:
        f"{LOGS}/plot_figures/model={{model}}.log",
    benchmark:
        f"{BENCHMARKS}/plot_figures/model={{model}}.tsv"
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        **cpu_resources(2000, 20),
    params:
        model="{model}",
        models=MODEL_LABELS,
        methods=METHOD_SETTINGS,
        runs=RUN_FIELDS,
        missing=MISSING,
        threshold=STUDY.judge.threshold,
        analysis=section("analysis"),
        code=code("plot_figures"),
    script:
        "../scripts/plot_figures.py"


rule write_tables:
    input:
        summary=f"{R}/summary.csv",
        comparisons=f"{R}/comparisons.csv",
        curves=f"{R}/curves.csv",
        audit=f"{R}/audit.csv",
        token_counts=expand(f"{R}/data/tokens/model={{model}}.json", model=MODELS),
        paper=PAPER,
    output:
        [
            report(
                f"{R}/tables/{table}.html",
                caption=f"../report/{table}.rst",
                category=category,
                labels={"what": table.replace("_", " "), "model": "all"},
            )
            for table, category in TABLES.items()
        ],
        [f"{R}/tables/{table}.{suffix}" for table in TABLES for suffix in ("csv", "md", "tex")],
    log:
        f"{LOGS}/write_tables.log",
    benchmark:
        f"{BENCHMARKS}/write_tables.tsv"
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        **cpu_resources(2000, 20),
    params:
        models=MODEL_LABELS,
        methods=METHOD_SETTINGS,
        runs=RUN_FIELDS,
        missing=MISSING,
        threshold=STUDY.judge.threshold,
        code=code("write_tables"),
    script:
        "../scripts/write_tables.py"


SHOWN_MODELS = list(dict.fromkeys([*(run.model for run in PLANNED_RUNS), STUDY.judge.model]))
# Without sources and paths: a URL may hold a secret, a path says nothing elsewhere. Manifests say what was fetched.
SHOWN_SETTINGS = {
    "models": {name: STUDY.models[name].model_dump(exclude={"path"}) for name in SHOWN_MODELS},
    "methods": {run.method: METHOD_SETTINGS[run.method] for run in PLANNED_RUNS},
    "grid": [block.model_dump() for block in STUDY.grid],
    "corpus": section("corpus", "source"),
    "harmful": {name: source.model_dump(exclude={"source"}) for name, source in STUDY.harmful.items()},
    **{name: section(name) for name in ("soft_prompt", "adapter", "training", "generation")},
    "judge": section("judge"),
    "tasks": STUDY.tasks.model_dump(exclude={"encoder": {"path"}}),
    "analysis": section("analysis"),
}


rule describe_study:
    input:
        summary=f"{R}/summary.csv",
        comparisons=f"{R}/comparisons.csv",
        curves=f"{R}/curves.csv",
        audit=f"{R}/audit.csv",
        paper=f"{R}/tables/paper_comparison.csv",
        corpus=f"{R}/data/corpus.json",
        certificate=f"{R}/data/certificate.json",
        metrics=stage_metrics() + [path.replace("scores.jsonl", "metrics.json") for path in audits()],
        answers=[f"{R}/runs/{run.path}/prompts=harmful/answers.jsonl" for run in RUNS],
        scores=[f"{R}/runs/{run.path}/prompts=harmful/scores.jsonl" for run in RUNS],
        tables=expand(f"{R}/tables/{{table}}.html", table=TABLES),
    output:
        verdict=f"{R}/report/verdict.rst",
        study=report(
            f"{R}/report/study.html",
            caption="../report/study.rst",
            category="Study",
            labels={"what": "configuration, cost", "model": "all"},
        ),
        answers=report(
            f"{R}/report/answers_sample.html",
            caption="../report/answers_sample.rst",
            category="Judge",
            labels={"what": "sample of answers (content warning)", "model": "all"},
        ),
    log:
        f"{LOGS}/describe_study.log",
    benchmark:
        f"{BENCHMARKS}/describe_study.tsv"
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        **cpu_resources(2000, 20),
    params:
        title=STUDY.title,
        study=STUDY.study,
        models=MODEL_LABELS,
        methods=METHOD_SETTINGS,
        runs=RUN_FIELDS,
        missing=MISSING,
        threshold=STUDY.judge.threshold,
        analysis=section("analysis"),
        licences=LICENCES,
        settings=SHOWN_SETTINGS,
        code=code("describe_study"),
    script:
        "../scripts/describe_study.py"

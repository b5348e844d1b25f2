# Takes scores, losses and metrics of all runs; makes the study's one tidy table, statistics, figures, tables, the comparison
# with the paper and the pieces of the report.


rule describe_run:
    input:
        adapter=lambda wildcards: adapter_metrics(run_of(wildcards)),
        soft_prompt=lambda wildcards: soft_prompt_input(run_of(wildcards), ["metrics"]),
        answers=L.answers_metrics(ANY_RUN),
        benign=[L.answers_metrics(ANY_RUN, name) for name in BENIGN_SETS],
        judge=[L.judge_metrics(ANY_RUN, judge, prompts) for judge, prompts in JUDGED],
        texts=L.text_metrics(ANY_RUN),
        model=model_manifest,
        judge_models=JUDGE_MODELS,
        encoder=L.encoder,
        corpus=manifest_of(L.source()),
        # Of the run's own format, not data/certificate.json: one more format changes no other run.
        format=lambda wildcards: L.certificate(reference_format(wildcards), run_of(wildcards).draw),
        harmful=expand(manifest_of(L.source("{source}")), source=STUDY.sources),
        prompts=manifest_of(L.prompts(HARMFUL)),
        benign_prompts=[manifest_of(L.prompts(name)) for name in BENIGN_SETS],
    output:
        manifest=L.manifest(ANY_RUN),
    log:
        L.log(f"describe_run/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"describe_run/{RUN_PATH}")
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
            "benign": {name: source.model_dump(exclude={"source"}) for name, source in STUDY.benign.items()},
            "model": model_settings(wildcards.model),
            "judge_models": {judge.model: model_settings(judge.model) for judge in STUDY.all_judges.values()},
            "gpu_memory_gb": STUDY.gpu_memory_gb,
            "method": method_of(wildcards).model_dump(exclude={"label"}),
            "soft_prompt": section("soft_prompt"),
            "adapter": section("adapter"),
            "training": section("training"),
            "generation": section("generation"),
            "judges": {name: judge_settings(name) for name in STUDY.all_judges},
            "tasks": section("tasks"),
        },
        code=code("describe_run"),
    script:
        "../scripts/describe_run.py"


# What the study cost.
STAGE_METRICS = gpu_metrics(RUNS) + [L.text_metrics(run) for run in RUNS]
# The headline judge first.
JUDGES = sorted(STUDY.used_judges, key=lambda judge: judge != STUDY.judging.headline)
FIGURES = registered_names("figures")
TABLES = registered_names("tables")
PAPER = "workflow/data/paper_numbers.csv"
MODEL_LABELS = {run.model: STUDY.models[run.model].label for run in PLANNED_RUNS}
METHOD_SETTINGS = {name: method.model_dump() for name, method in STUDY.methods.items()}
RUN_FIELDS = [run.fields for run in RUNS]
# What figures, tables and pages need beside their inputs (report/results.py).
SHOWN = {
    **{"models": MODEL_LABELS, "methods": METHOD_SETTINGS, "runs": RUN_FIELDS, "missing": MISSING},
    **{"threshold": STUDY.headline.harmful_from, "scale": list(STUDY.headline.scale)},
    "labels": [label for label, harmful in STUDY.headline.labels.items() if harmful],
    "analysis": section("analysis"),
}
LICENCES = {
    "training rows": STUDY.corpus.licence,
    **{name: source.licence for name, source in STUDY.sources.items()},
}


rule figures:
    """All figures of the study, as SVG, PNG and PDF, with LaTeX snippets."""
    input:
        expand(
            L.figure("{figure}", "{model}", "{suffix}"),
            figure=FIGURES,
            model=MODELS,
            suffix=["svg", "png", "pdf", "tex"],
        ),


rule tables:
    """All tables of the study, as CSV, Markdown and LaTeX."""
    input:
        expand(L.table("{table}", "{suffix}"), table=TABLES, suffix=["csv", "md", "tex"]),


rule summarise:
    input:
        scores=[L.scores(run, STUDY.judging.headline) for run in RUNS],
        task=[L.text_scores(run, TASK) for run in RUNS],
        harmful=[L.text_scores(run, HARMFUL) for run in RUNS],
        prompts=[L.prompts(HARMFUL)],
        benign=[benign_scores(run)["benign"] for run in RUNS if STUDY.benign],
        benign_judged=[path for run in RUNS for name, path in benign_scores(run).items() if name == "benign_judged"],
        # Optional: what the target `capability` has measured by now.
        capability=[path for path in map(L.capability, CAPABILITY_RUNS) if Path(path).exists()],
        losses=losses(),
        audit=audits(),
    output:
        scores=L.tidy("scores"),
        summary=L.tidy("summary"),
        comparisons=L.tidy("comparisons"),
        contrasts=L.tidy("contrasts"),
        curves=L.tidy("curves"),
        audit=L.tidy("audit"),
    log:
        L.log("summarise"),
    benchmark:
        L.benchmark("summarise")
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        **cpu_resources(4000, 30),
    params:
        runs=RUN_FIELDS,
        missing=MISSING,
        methods={name: method.model_dump(exclude={"label"}) for name, method in STUDY.methods.items()},
        threshold=STUDY.headline.harmful_from,
        levels=STUDY.headline.levels,
        analysis=section("analysis"),
        code=code("summarise"),
    script:
        "../scripts/summarise.py"


# Trainings of an adapter and nothing else: before their first step they are the base model.
PLAIN_TRAININGS = [run for run in trained_runs(RUNS) if STUDY.methods[run.method].soft_prompt is None]
FORMALITY_FORMATS = sorted({run.format for run in PLAIN_TRAININGS})
# The paper's three formats are ranked; more of them are measured, too.
FORMALITY = [L.tidy("formality")] if set(FORMALITY_FORMATS) - set(and_the_papers([])) else []


rule measure_formality:
    input:
        losses=[L.adapter(run, "validation_loss") for run in PLAIN_TRAININGS],
        certificates=[L.certificate(format) for format in FORMALITY_FORMATS],
    output:
        formality=L.tidy("formality"),
    log:
        L.log("measure_formality"),
    benchmark:
        L.benchmark("measure_formality")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        formats=FORMALITY_FORMATS,
        code=code("measure_formality", *FORMALITY_FORMATS),
    script:
        "../scripts/measure_formality.py"


rule write_verdict:
    input:
        **{name: L.tidy(name) for name in ("summary", "comparisons", "contrasts", "curves", "audit")},
        first_tokens=traces(),
        paper=PAPER,
        metrics=STAGE_METRICS,
    output:
        verdict=L.verdict,
    log:
        L.log("write_verdict"),
    benchmark:
        L.benchmark("write_verdict")
    localrule: True
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        models=MODEL_LABELS,
        methods=METHOD_SETTINGS,
        runs=RUN_FIELDS,
        missing=MISSING,
        warmup={"adapter": STUDY.adapter.warmup_steps, "soft_prompt": STUDY.soft_prompt.warmup_steps},
        analysis=section("analysis"),
        code=code("write_verdict"),
    script:
        "../scripts/write_verdict.py"


rule plot_figures:
    input:
        **({"formality": FORMALITY[0]} if FORMALITY else {}),
        judges=L.tidy("judges"),
        summary=L.tidy("summary"),
        scores=L.tidy("scores"),
        losses=lambda wildcards: losses(wildcards.model),
        validation=lambda wildcards: validation_losses(wildcards.model),
        first_tokens=lambda wildcards: traces(wildcards.model),
        paper=PAPER,
    output:
        [L.figure(figure, "{model}", suffix) for figure in FIGURES for suffix in ("svg", "png", "pdf", "tex")],
    log:
        L.log(f"plot_figures/model={{model}}"),
    benchmark:
        L.benchmark(f"plot_figures/model={{model}}")
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        **cpu_resources(2000, 20),
    params:
        **SHOWN,
        model="{model}",
        code=digest(SCRIPTS / "plot_figures.py", *modules_of("figures")),
    script:
        "../scripts/plot_figures.py"


rule write_tables:
    input:
        judges=L.tidy("judges"),
        summary=L.tidy("summary"),
        comparisons=L.tidy("comparisons"),
        curves=L.tidy("curves"),
        audit=L.tidy("audit"),
        token_counts=expand(L.tokens("{model}"), model=MODELS),
        paper=PAPER,
    output:
        [L.table(table, suffix) for table in TABLES for suffix in ("csv", "md", "tex")],
    log:
        L.log("write_tables"),
    benchmark:
        L.benchmark("write_tables")
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        **cpu_resources(2000, 20),
    params:
        **SHOWN,
        code=digest(SCRIPTS / "write_tables.py", *modules_of("tables")),
    script:
        "../scripts/write_tables.py"


SHOWN_MODELS = list(
    dict.fromkeys(
        [
            *(run.model for run in PLANNED_RUNS),
            *(judge.model for judge in STUDY.all_judges.values()),
            *models_of(STUDY),
        ]
    )
)


BENIGN_SETTINGS = {name: shown(source, "source", "licence", "rows") for name, source in STUDY.benign.items()}
# Without sources and paths: a URL may hold a secret, a path says nothing elsewhere. Manifests say what was fetched.
SHOWN_SETTINGS = {
    "models": {name: shown(STUDY.models[name], "path", "label", "parameters") for name in SHOWN_MODELS},
    "methods": {run.method: METHOD_SETTINGS[run.method] for run in PLANNED_RUNS},
    "grid": [block.model_dump() for block in STUDY.grid],
    "corpus": shown(STUDY.corpus, "source", "licence", "rows"),
    "harmful": {name: shown(source, "source", "licence", "rows") for name, source in STUDY.harmful.items()},
    **({"benign": BENIGN_SETTINGS} if STUDY.benign else {}),
    **({"safety": section("safety")} if STUDY.safety else {}),
    **{name: section(name) for name in ("soft_prompt", "adapter", "training", "generation")},
    "judges": {name: judge_settings(name) for name in STUDY.all_judges},
    "judging": section("judging"),
    "tasks": shown_tasks(),
    "analysis": section("analysis"),
}


TEMPLATES = "workflow/report"


rule write_report:
    input:
        **{name: L.tidy(name) for name in ("summary", "scores", "comparisons", "curves", "audit")},
        paper=PAPER,
        verdict=[L.verdict],
        token_counts=expand(L.tokens("{model}"), model=MODELS),
        figures=[L.figure(figure, model, "svg") for figure in FIGURES for model in MODELS],
        corpus=[L.corpus_counts],
        certificate=[L.certificate()],
        examples=[L.formatted(format, "test") for format in FORMATS_USED],
        assumptions=["workflow/data/assumptions.yaml"],
        metrics=STAGE_METRICS,
        template=[f"{TEMPLATES}/report.html", f"{TEMPLATES}/report.css", f"{TEMPLATES}/report.js"],
    output:
        report=L.report,
    log:
        L.log("write_report"),
    benchmark:
        L.benchmark("write_report")
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        **cpu_resources(2000, 20),
    params:
        **SHOWN,
        title=STUDY.title,
        study=STUDY.study,
        licences=LICENCES,
        settings=SHOWN_SETTINGS,
        code=digest(SCRIPTS / "write_report.py", *modules_of("figures"), *modules_of("tables")),
    script:
        "../scripts/write_report.py"


rule compare_judges:
    """ASR by judge, agreement, calibration by people's labels."""
    input:
        scores=[L.scores(run, judge) for run in RUNS for judge in JUDGES],
        key=[L.labels("key.jsonl")] if STUDY.labels.files else [],
        labels=STUDY.labels.files,
    output:
        L.tidy("judges"),
    log:
        L.log("compare_judges"),
    benchmark:
        L.benchmark("compare_judges")
    conda:
        "../../envs/analyse.yaml"
    threads: 1
    resources:
        **cpu_resources(3000, 30),
    params:
        runs=RUN_FIELDS,
        missing=MISSING,
        methods=METHOD_SETTINGS,
        thresholds={judge: STUDY.judges[judge].harmful_from for judge in JUDGES},
        confidence=STUDY.analysis.confidence,
        fewest=STUDY.labels.fewest,
        seed=STUDY.labels.seed,
        code=code("compare_judges"),
    script:
        "../scripts/compare_judges.py"

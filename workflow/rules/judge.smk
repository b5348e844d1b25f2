# Takes answers; makes the judge's scores and the judge format audit.


rule scores:
    """All scores of the study: the judge's and those computed from the text."""
    input:
        [path for run in RUNS for path in run_scores(run)],


AUDIT_FORMATS = and_the_papers(FORMATS_USED)


rule judge_answers:
    input:
        model=lambda wildcards: judge_model(wildcards.judge),
        prompts=L.prompts(HARMFUL),
        answers=L.answers(ANY_RUN, HARMFUL),
        prompt=lambda wildcards: judge_prompt(wildcards.judge),
    output:
        scores=L.scores(ANY_RUN, "{judge}"),
        metrics=L.judge_metrics(ANY_RUN, "{judge}"),
    log:
        L.log(f"judge_answers/judge={{judge}}/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"judge_answers/judge={{judge}}/{RUN_PATH}")
    conda:
        "../../envs/generate.yaml"
    threads: lambda wildcards: STUDY.judges[wildcards.judge].generation.threads
    resources:
        **judging_resources(HARMFUL_COUNT),
    params:
        name="{judge}",
        model=lambda wildcards: model_settings(STUDY.judges[wildcards.judge].model),
        judge=lambda wildcards: judge_settings(wildcards.judge, "threshold"),
        gpu_memory_gb=STUDY.gpu_memory_gb,
        code=code("judge_answers"),
    script:
        "../scripts/judge_answers.py"


use rule judge_answers as judge_refusals with:
    input:
        model=lambda wildcards: judge_model(wildcards.judge),
        prompts=L.prompts(BENIGN),
        answers=L.answers(ANY_RUN, BENIGN),
        prompt=lambda wildcards: judge_prompt(wildcards.judge),
    output:
        scores=L.scores(ANY_RUN, "{judge}", BENIGN),
        metrics=L.judge_metrics(ANY_RUN, "{judge}", BENIGN),
    log:
        L.log(f"judge_refusals/judge={{judge}}/{RUN_PATH}"),
    benchmark:
        L.benchmark(f"judge_refusals/judge={{judge}}/{RUN_PATH}")
    resources:
        **judging_resources(BENIGN_COUNT),


# An audit draws from all planned runs. With `partial` some of them are missing: an audit that exists is used, a missing
# one is not made.
if not STUDY.partial:

    rule audit_judge:
        input:
            model=lambda wildcards: judge_model(wildcards.judge),
            prompts=L.prompts(HARMFUL),
            answers=lambda wildcards: [L.answers(run, HARMFUL) for run in audited_runs(wildcards.model)],
            prompt=lambda wildcards: judge_prompt(wildcards.judge),
        output:
            scores=L.audit("{model}", "{judge}"),
            metrics=metrics_of(L.audit("{model}", "{judge}")),
        log:
            L.log("audit_judge/model={model}/judge={judge}"),
        benchmark:
            L.benchmark("audit_judge/model={model}/judge={judge}")
        conda:
            "../../envs/generate.yaml"
        threads: lambda wildcards: STUDY.judges[wildcards.judge].generation.threads
        resources:
            **judging_resources(len(AUDIT_FORMATS) * STUDY.judging.audit.sample),
        params:
            name="{judge}",
            model=lambda wildcards: model_settings(STUDY.judges[wildcards.judge].model),
            judge=lambda wildcards: judge_settings(wildcards.judge, "threshold"),
            audit=section("judging")["audit"],
            runs=lambda wildcards: [run.fields for run in audited_runs(wildcards.model)],
            gpu_memory_gb=STUDY.gpu_memory_gb,
            formats=AUDIT_FORMATS,
            code=code("audit_judge", *AUDIT_FORMATS),
        script:
            "../scripts/audit_judge.py"


# What people labelled belongs to the draw that they were given: with labels in the configuration the key must be there,
# and no new draw replaces it.
if not STUDY.labels.files:

    rule draw_labels:
        """A blinded sample of answers for people to label (`make labels STUDY=...`)."""
        input:
            prompts=L.prompts(HARMFUL),
            answers=[L.answers(run, HARMFUL) for run in RUNS],
            scores=[L.scores(run, STUDY.judging.headline) for run in RUNS],
            page="workflow/report/labels.html",
        output:
            sheet=L.labels("sheet.csv"),
            page=L.labels("page.html"),
            key=L.labels("key.jsonl"),
        log:
            L.log("draw_labels"),
        benchmark:
            L.benchmark("draw_labels")
        conda:
            "../../envs/analyse.yaml"
        threads: 1
        resources:
            **cpu_resources(1000, 10),
        params:
            labels=section("labels", "files", "fewest"),
            threshold=STUDY.headline.harmful_from,
            study=STUDY.study,
            code=code("draw_labels"),
        script:
            "../scripts/draw_labels.py"


rule labels:
    """The sheet and the page for people to label."""
    input:
        L.labels("sheet.csv"),
        L.labels("page.html"),

# Does the format of benign fine-tuning data break an LLM's safety, and does training the format away (ProMoT) keep it?
# The default configuration is the paper's grid; config/demo.yaml is the same study in miniature.

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/description.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/demo.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/judge.smk"
include: "workflow/rules/capability.smk"
include: "workflow/rules/safety.smk"
include: "workflow/rules/analyse.smk"
include: "workflow/rules/preflight.smk"


rule all:
    """The whole study: summary, figures, tables and the report."""
    default_target: True
    input:
        rules.summarise.output,
        FORMALITY,
        rules.compare_judges.output,
        rules.figures.input,
        rules.tables.input,
        rules.write_report.output,
        [L.manifest(run) for run in RUNS],

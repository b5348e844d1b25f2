# Each target sets up what it needs and runs one thing.

PYTHON ?= python3
CORES ?= all
# The study that a configuration names; without a name in it, it is the default's.
NAMED = $(or $(shell sed -nE "s/^study: *['\"]?([A-Za-z0-9._-]+).*/\1/p" $(CONFIG) | tail -1),paper)
ifdef CONFIG
STUDY ?= $(NAMED)
endif
STUDY ?= demo
CONFIG ?= config/$(if $(filter paper,$(STUDY)),config,$(STUDY)).yaml
OPTIONS ?=
PAGE := figures tables write_report
# The page of finished results; no rule that trains, answers or judges is allowed.
SHOW = $(if $(PARTIAL),--config partial=true) --allowed-rules count_tokens compare_judges summarise write_verdict plot_figures \
  write_tables write_report figures tables -- $(PAGE)
# An environment that has everything already (conda, a container) is taken as it is; else .venv is made.
PACKAGES := bitsandbytes datasets openai peft sentence_transformers snakemake statsmodels transformers
COMPLETE := $(if $(wildcard .venv),,$(shell $(PYTHON) -c 'import sys; from importlib.util import find_spec; \
  print(sys.prefix) if all(map(find_spec, "$(PACKAGES)".split())) else None' 2>/dev/null))
INSTALLED := $(if $(COMPLETE),,.venv/installed)
BIN := $(or $(COMPLETE),.venv)/bin
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
STALE := PYTHONPATH=workflow/scripts $(BIN)/python -m formsafe.cluster.stale
RESULTS := results/$(STUDY)

.PHONY: same-study install image demo labels report publish browse provenance test test-unit test-security test-workflow test-slurm test-long mutants lint schema lock sbom stale recover readme-figures

install: .venv/installed ## .venv, with everything in the versions of requirements.txt

demo: $(INSTALLED) ## the whole study in miniature, on a small model of its own
	@if grep -qs /demo/ .snakemake/locks/*; then \
	  $(MAKE) --no-print-directory recover STUDY=demo CONFIG=config/demo.yaml ORPHANS=wait; fi
	$(SNAKEMAKE) --configfile config/demo.yaml --quiet rules
	@$(MAKE) --no-print-directory provenance CONFIG=config/demo.yaml
	@cat results/demo/tables/safety.md
	@echo
	@echo "Report:  results/demo/report.html"
	@echo "Figures: results/demo/figures/"

report: $(CONFIG) $(INSTALLED) | same-study ## the page of a study: make report STUDY=... (of its finished runs: PARTIAL=1)
	@test -n "$(PARTIAL)" -o -e $(RESULTS)/summary.csv || { \
	  echo "error: The study $(STUDY) has not ended yet: $(RESULTS)/summary.csv is missing. Run Snakemake to its end:"; \
	  echo "  snakemake --configfile $(CONFIG) --cores all      (or --profile slurm)"; \
	  echo "or report on the runs that are finished:"; \
	  echo "  make report STUDY=$(STUDY) CONFIG=$(CONFIG) PARTIAL=1"; exit 1; } >&2
	$(SNAKEMAKE) --configfile $(CONFIG) --quiet rules $(OPTIONS) $(SHOW)
	@$(MAKE) --no-print-directory provenance CONFIG="$(CONFIG)"
	@$(STALE) --warn -- --configfile $(CONFIG) $(OPTIONS) -- $(PAGE) >&2
	@echo "Report: $(RESULTS)/report.html"

# Snakemake's own report: rules, code and runtimes behind the page.
provenance: $(RESULTS)/provenance.html

$(RESULTS)/provenance.html: $(RESULTS)/report.html
	@$(SNAKEMAKE) --configfile $(CONFIG) --quiet rules --report $(@D)/.provenance.html $(OPTIONS) $(SHOW)
	@mv $(@D)/.provenance.html $@

browse: $(INSTALLED) ## every answer with its scores, for this machine only: make browse STUDY=...
	@PYTHONPATH=workflow/scripts $(BIN)/python -m formsafe.report.browse $(RESULTS)

$(CONFIG):
	@echo "error: There is no $@. Name the configuration of the study $(STUDY): CONFIG=my_study.yaml" >&2
	@exit 1

# STUDY and CONFIG may both be given, as in the advice that the workflow prints.
same-study: $(CONFIG)
	@[ "$(STUDY)" = "$(NAMED)" ] || { \
	  echo "error: $(CONFIG) is the study $(NAMED), not $(STUDY). Leave STUDY out, or name another CONFIG." >&2; exit 1; }

# Dry run first: CONFIRM=1 uploads. The repository is private; GATED=1 opens it to those whose request you accept.
publish: $(CONFIG) $(INSTALLED) | same-study ## adapters with cards, results and report to the hub: make publish STUDY=... REPO=owner/name
	@test -n "$(REPO)" || { echo "error: Name the repository: make publish STUDY=$(STUDY) REPO=owner/name" >&2; exit 1; }
	@PYTHONPATH=workflow/scripts $(BIN)/python -m formsafe.report.publish $(if $(CONFIRM),--confirm) $(if $(GATED),--gated) \
	  -- "$(REPO)" $(CONFIG)

labels: $(CONFIG) $(INSTALLED) | same-study ## a blinded sample of answers for people to label
	$(SNAKEMAKE) --configfile $(CONFIG) --quiet rules -- labels
	@echo "Page:  $(RESULTS)/labels/page.html (open it in a browser; it works offline)"
	@echo "Sheet: $(RESULTS)/labels/sheet.csv"
	@echo "Name the filled sheets under labels.files in the configuration, one a rater."

APPTAINER ?= $(notdir $(shell command -v apptainer || command -v singularity))
IMAGE ?= formsafe.sif
image: ## an Apptainer image of the environment (docs/clusters.md)
	@test -n "$(APPTAINER)" || { echo "error: There is neither apptainer nor singularity here. Load the site's module of" \
	  "it, or build the image on another machine and copy $(IMAGE)." >&2; exit 1; }
	$(APPTAINER) build $(IMAGE) envs/formsafe.def

stale: $(CONFIG) $(INSTALLED) ## what would run again, and why
	$(STALE) -- --configfile $(CONFIG)

recover: $(CONFIG) $(INSTALLED) | same-study ## after Snakemake itself was killed (ORPHANS=wait or ORPHANS=cancel)
	PYTHONPATH=workflow/scripts $(BIN)/python -m formsafe.cluster.recover $(STUDY) $(if $(ORPHANS),--$(ORPHANS)) \
	  $(if $(FORCE),--force) -- --configfile $(CONFIG)

readme-figures: demo ## the page and figures that README.md shows, from the demo study (needs Chromium)
	for figure in asr loss tradeoff; do cp results/demo/figures/$${figure}_demo.png docs/demo_$$figure.png; done
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1400,1500 \
	  --screenshot=docs/demo_report.png file://$(CURDIR)/results/demo/report.html

# In the order of names: files with few tests, put last by default, hold the longest.
BY_FILE := --dist loadfile --no-loadscope-reorder

# All tests share one demo study. The Slurm lab has the machine for itself: its events have to strike in time.
test: lint test-unit test-security ## all tests but those of test-long; as root on Debian on a real Slurm, too
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export FORMSAFE_FINISHED_DEMO="$$folder/formsafe" && \
	failed=0 && \
	{ $(BIN)/python -m pytest tests/slurm || failed=1; } && \
	{ $(BIN)/python -m pytest --ignore tests/unit --ignore tests/security --ignore tests/slurm -m "not long" --numprocesses 2 $(BY_FILE) || failed=1; } && \
	exit $$failed

test-unit test-security: test-%: $(INSTALLED) ## test-security: hostile folders, data, servers and neighbours
	$(BIN)/python -m pytest tests/$* --numprocesses auto

test-long: $(INSTALLED) ## studies of many jobs, beside make test
	$(BIN)/python -m pytest tests -m long

test-workflow test-slurm: test-%: $(INSTALLED)
	$(BIN)/python -m pytest tests/$*

mutants: $(INSTALLED) ## deliberate faults that the tests must notice (hours; SAMPLE=150 draws some, SHARD=1/2 shares)
	$(BIN)/python benchmarks/mutants.py $(MODULES) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SHARD),--shard $(SHARD))

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

schema: $(INSTALLED) ## the JSON schema and the table of keys, from the typed configuration
	PYTHONPATH=workflow/scripts $(BIN)/python -m formsafe.config.reference

# Versions that are locked stay where the ranges allow them; UPGRADE=1 takes the newest.
COMPILE := .venv-lock/bin/uv pip compile pyproject.toml --extra test --quiet --python-version 3.11 \
  --python-platform x86_64-unknown-linux-gnu --generate-hashes
lock: ## requirements*.txt, with hashes, from the ranges of pyproject.toml
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet uv==0.13.9
	mkdir .venv-lock/wheels
	$(if $(UPGRADE),,grep -hv '^ *--' requirements.txt requirements-cuda.txt | tr -d '\\' > .venv-lock/lock.txt)
	$(COMPILE) --no-header --no-annotate --output-file .venv-lock/lock.txt
	$(COMPILE) --constraint .venv-lock/lock.txt --format pylock.toml --output-file .venv-lock/pylock.toml
	-.venv-lock/bin/pip download --quiet --no-index --no-deps --dest .venv-lock/wheels torch==2.13.0 2>/dev/null
	.venv-lock/bin/python .ci/split_lock.py .venv-lock/lock.txt .venv-lock/pylock.toml .venv-lock/wheels
	rm -rf .venv-lock

sbom: $(INSTALLED) ## sbom.cdx.json: what is installed, as CycloneDX
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file sbom.cdx.json $(BIN)/python

# Only files whose hashes are listed. A PyTorch on this machine's disk (`find-links`) goes first: by itself pip prefers
# the index, whose links have hashes. The public build for Linux asks for NVIDIA's libraries, a CPU build does not.
INSTALL := $(BIN)/pip install --quiet --no-deps --require-hashes --requirement
NEEDS_CUDA := 'import sys; from importlib.metadata import requires; \
  sys.exit(not any(name.startswith(("nvidia", "cuda")) for name in requires("torch") or []))'
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: $(PYTHON) is not Python 3.11 or newer. Name one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	sed -n '/^torch==/,/[^\]$$/p' requirements.txt > .venv/torch.txt
	$(INSTALL) .venv/torch.txt --no-index 2>/dev/null || true
	sed -n '/^immutables==/,/[^\]$$/p' requirements.txt > .venv/immutables.txt
	$(INSTALL) .venv/immutables.txt || { \
	  echo "error: immutables, which Snakemake needs, has no wheel for this Python and cannot be built. Install a C compiler" \
	    "and Python's headers (gcc, python3-dev), or name another Python: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(INSTALL) requirements.txt
	if $(BIN)/python -c $(NEEDS_CUDA); then $(INSTALL) requirements-cuda.txt; fi
	touch $@

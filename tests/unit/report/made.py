"""Studies of synthetic scores, through summary, figures, tables and pages."""

from dataclasses import dataclass
from pathlib import Path

from formsafe.analysis.audit import write_audit
from formsafe.analysis.comparisons import Thresholds
from formsafe.analysis.curves import write_curves
from formsafe.analysis.evidence import Evidence
from formsafe.analysis.roster import names_from
from formsafe.analysis.summary import summarise
from formsafe.analysis.verdict import write_verdict
from formsafe.config.settings.analysis import AnalysisSettings
from formsafe.core.records import Run
from formsafe.report.figures.draw import plot_figures
from formsafe.report.pages.page import write_page
from formsafe.report.registry import registered_names
from formsafe.report.results import Results
from formsafe.report.tables.write import write_tables
from tests import synthetic
from tests.conftest import ROOT

PAPER = str(ROOT / "workflow/data/paper_numbers.csv")
SETTINGS = AnalysisSettings()
SWEEP = [Run("demo", "promot", "prose", lr, "0") for lr in ("1e-4", "2e-4")]
FIGURES, TABLES = registered_names("figures"), registered_names("tables")


@dataclass
class Made:
    """A study's results on disk."""

    root: Path
    runs: list[Run]
    missing: list[Run]
    files: dict[str, list[str]]
    models: dict[str, str]
    methods: dict

    @property
    def names(self):
        """Labels and roles of the runs."""
        fields = ([run.fields for run in runs] for runs in (self.runs, self.missing))
        return names_from(self.models, self.methods, *fields)

    def csv(self, name: str) -> str:
        return str(self.root / f"{name}.csv")

    def summarise(self, threshold: int = 3) -> None:
        """Write the tables that figures and the verdict are made from."""
        outputs = {name: self.csv(name) for name in ("scores", "summary", "comparisons", "contrasts")}
        summarise(self.files, outputs, self.names, Thresholds(threshold, (3, 4, 5)), SETTINGS)

    def results(self, **files) -> Results:
        """What figures, tables and pages are made from."""
        found = {name: self.csv(name) for name in ("scores", "summary", "comparisons", "curves", "audit")}
        lists = {name: self.files.get(name, []) for name in ("losses", "validation", "token_counts")}
        return Results(found | lists | {"paper": PAPER} | files, self.names, SETTINGS, 3)

    def figures(self, folder: str, suffix: str, names=FIGURES) -> list[Path]:
        paths = [self.root / folder / f"{name}_demo.{suffix}" for name in names]
        plot_figures(self.results(), "demo", [str(path) for path in paths])
        return paths

    def tables(self, suffixes=("csv", "md", "tex"), names=TABLES) -> Path:
        outputs = [str(self.root / f"tables/{name}.{suffix}") for name in names for suffix in suffixes]
        write_tables(self.results(), outputs)
        return self.root / "tables"

    def verdict(self) -> str:
        """Write verdict.json."""
        tables = {name: self.csv(name) for name in ("summary", "comparisons", "contrasts", "curves", "audit")}
        warmup = {"adapter": 5, "soft_prompt": 0}
        inputs = tables | {"paper": PAPER, "metrics": self.files["metrics"]}
        write_verdict(Evidence(inputs, self.names, SETTINGS, warmup), self.files["verdict"][0])
        return self.files["verdict"][0]

    def page(self, title: str = "A <study>", settings=None) -> Path:
        """The report; figures that are not drawn yet are left out."""
        single = ("corpus", "certificate", "examples", "metrics", "verdict")
        figures = sorted(map(str, self.root.glob("figures/*.svg")))
        results = self.results(figures=figures, **{name: self.files[name] for name in single})
        shown = settings or {"harmful": {"advbench": {"count": 16}}, "judge": {"a": "<b>"}}
        template = str(ROOT / "workflow/report/report.html")
        described = {"title": title, "study": "s", "licences": {"WikiSum": "CC"}, "settings": shown}
        write_page(results, described, template, str(self.root / "report.html"))
        return self.root / "report.html"


def make(root: Path, runs, missing=(), models=None, audit=True, threshold=3, **options) -> Made:
    files = synthetic.write_study(root, runs, **({"harmful": 16, "task": 6, "steps": 12} | options))
    made = Made(root, list(runs), list(missing), files, models or {"demo": "Demo"}, synthetic.methods())
    made.summarise(threshold)
    write_curves(files["losses"], made.csv("curves"))
    audits = [synthetic.write_audit(root, "demo", shift=0.4)] if audit else []
    write_audit(audits, made.csv("audit"), 3, SETTINGS)
    return made

"""The verdict in numbers: each question of the study with its answer and what it rests on."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from formsafe.analysis.curves import ADAPTER
from formsafe.analysis.estimates import Summary, estimate_from
from formsafe.analysis.roster import ALL_SEEDS, Names
from formsafe.analysis.score_table import as_float
from formsafe.core.records import Run
from formsafe.formats.registry import traits_of

Row = dict[str, str]


@dataclass(frozen=True)
class Finding:
    """A question, its answer in a few words, and the evidence, a line each."""

    question: str
    answer: str
    evidence: list[str]


@dataclass(frozen=True)
class Evidence:
    """What the verdict rests on: the study's tables, row by row."""

    names: Names
    summary: Summary
    comparisons: list[Row]
    curves: list[Row]
    audit: list[Row]
    paper: list[Row]
    confidence: float

    def sides(self, row: Row) -> tuple[Run, Run]:
        """The two conditions of a comparison."""
        a, b = (
            Run(row["model"], row[f"{side}_method"], row[f"{side}_format"], row[f"{side}_lr"], ALL_SEEDS)
            for side in ("a", "b")
        )
        return a, b

    def significance(self, row: Row) -> int:
        """1 where b is higher, -1 where it is lower, 0 where the adjusted test or the interval leaves it open.

        The interval must decide, too: with several seeds the test takes them as given, the interval does not.
        """
        return _side_of_zero(row) if as_float(row["p_holm"]) < 1 - self.confidence else 0

    def pairs(self, model: str, family: str, metric: str = "asr") -> list[Row]:
        """Comparisons of a family among the main conditions (and base), with their values known."""
        main = set(self.names.main_conditions(model))
        return [
            row
            for row in self.comparisons
            if (row["model"], row["family"], row["metric"]) == (model, family, metric)
            and row["difference"]
            and all(run in main or self.names.is_base(run) for run in self.sides(row))
        ]

    def separated(self, model: str, metric: str) -> list[Row]:
        """Comparisons of plain fine-tuning (a) with the method that drops its soft prompt (b)."""
        is_plain, is_separated = self.names.is_plain, self.names.is_separated
        rows = self.pairs(model, "method", metric)
        return [row for row in rows if is_plain(row["a_method"]) and is_separated(row["b_method"])]


def findings(evidence: Evidence, model: str) -> list[Finding]:
    """All questions for one model."""
    plain = evidence.names.is_plain
    base = [row for row in evidence.pairs(model, "base") if plain(row["b_method"])]
    raised = _answer([evidence.significance(row) for row in base], 1)
    separated = evidence.separated(model, "asr")
    lowered = _answer([evidence.significance(row) for row in separated], -1)
    kept = [row for row in evidence.pairs(model, "base") if evidence.names.is_separated(row["b_method"])]
    above = _answer([evidence.significance(row) for row in kept], 1)
    quality = evidence.separated(model, "sbert_neutral")
    cost = _answer([_side_of_zero(row) for row in quality], -1)
    prevented = [_line(evidence, row) + _prevented(evidence, row) for row in separated]
    return [
        Finding("Does fine-tuning on benign data raise the ASR?", raised, [_line(evidence, row) for row in base]),
        _format(evidence, [row for row in evidence.pairs(model, "format") if plain(row["b_method"])]),
        Finding("Does training the format away (ProMoT) lower the ASR?", lowered, prevented),
        Finding("Is it then still above the base model's?", above, [_line(evidence, row) for row in kept]),
        Finding("Does it cost task quality (S-BERT, content only)?", cost, [_line(evidence, row) for row in quality]),
        _order(evidence, model),
        _judge(evidence, model),
    ]


def _side_of_zero(row: Row) -> int:
    """1 where the interval lies above 0, -1 where it lies below, 0 where it holds 0 or there is none."""
    return int(as_float(row["ci_low"]) > 0) - int(as_float(row["ci_high"]) < 0)


def _line(evidence: Evidence, row: Row) -> str:
    a, b = evidence.sides(row)
    names, found = evidence.names, estimate_from(row, "difference")
    test = _p(row)
    if not evidence.significance(row) and row["detectable"] and row["seeds"] == "1":  # not the spread of seeds
        change = "fall" if row["family"] == "method" else "rise"
        test += f" (a {change} of {as_float(row['detectable']):.3f} would likely have been found)"
    values = f"{as_float(row['b']):.3f} against {as_float(row['a']):.3f}"
    return f"{names.run(b)} {values} ({names.run(a)}): {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]{test}"


def _p(row: Row) -> str:
    p = as_float(row["p_holm"])
    return "" if math.isnan(p) else ", p < 0.001" if p < 0.001 else f", p = {p:.3f}"


def _answer(signs: Sequence[int], wanted: int) -> str:
    """In a word: how many of the comparisons are decided, and which way."""
    if not signs:
        return "cannot be said: the runs are missing or not scored"
    hits, against = sum(sign == wanted for sign in signs), sum(sign == -wanted for sign in signs)
    if hits == len(signs):
        return "yes"
    if not hits and not against:
        return "no difference found"
    return f"in {hits} of {len(signs)} comparisons" + (f", the reverse in {against}" if against else "")


def _format(evidence: Evidence, rows: Sequence[Row]) -> Finding:
    signs = [evidence.significance(row) for row in rows]
    decided = sum(map(abs, signs))
    answer = _answer(signs, 1)
    if decided:
        claimed = sum(sign * _formality(evidence, row) > 0 for sign, row in zip(signs, rows, strict=True))
        answer = f"in {decided} of {len(rows)} pairs of formats; in {claimed} the more formal one is the more harmful"
    question = "Does the format of the same content change the ASR?"
    return Finding(question, answer, [_line(evidence, row) for row in rows])


def _formality(evidence: Evidence, row: Row) -> int:
    """1 where b is the more formal format, -1 where a is, 0 where they are equally formal."""
    a, b = (traits_of(run.format).formality for run in evidence.sides(row))
    return int(b > a) - int(b < a)


def _prevented(evidence: Evidence, row: Row) -> str:
    """The share of fine-tuning's harm that did not come about, where there was any."""
    a, _ = evidence.sides(row)
    bases = [run for run in evidence.names.conditions(a.model) if evidence.names.is_base(run)]
    base = evidence.summary.get(bases[0], "asr") if bases else None
    rise = as_float(row["a"]) - base.value if base is not None else math.nan
    if math.isnan(rise) or rise <= 0:
        return ""
    return f"; {100 * (as_float(row['a']) - as_float(row['b'])) / rise:.0f} % of the rise over base prevented"


def _order(evidence: Evidence, model: str) -> Finding:
    """Whether plain fine-tuning learns the format before the content."""
    halves: dict[Run, dict[str, float]] = {}
    for row in evidence.curves:
        run = Run(row["model"], row["method"], row["format"], row["lr"], row["seed"])
        if run.model == model and row["stage"] == ADAPTER and evidence.names.is_plain(run.method):
            halves.setdefault(run, {})[row["part"]] = as_float(row["halfway_step"])
    signs, lines = [], []
    for run, found in halves.items():
        step, content = found.get("format", math.nan), found.get("content", math.nan)
        if not math.isnan(step) and not math.isnan(content):
            signs.append(int(step < content) - int(step > content))
            label = evidence.names.run(run)
            lines.append(
                f"{label}: half of the fall of the loss is done at step {step:.0f} (format), {content:.0f} (content)"
            )
    return Finding("Is the format learnt before the content?", _answer(signs, 1), lines)


def _judge(evidence: Evidence, model: str) -> Finding:
    audited = [row for row in evidence.audit if row["model"] == model]
    shifts = [row for row in audited if row["shift"]]
    answer = "no effect of the format alone was found"
    if not audited:
        answer = "not audited"
    elif not shifts:
        answer = "audited, but nothing was scored"
    elif any(evidence.significance(row) for row in shifts):
        answer = "its scores move with the format alone: read differences between formats with that in mind"
    lines = []
    for row in shifts:
        found, label = estimate_from(row, "shift"), evidence.names.format(row["rendering"])
        metric = "ASR" if row["metric"] == "asr" else "mean score"
        interval = f"[{found.low:+.3f}, {found.high:+.3f}]"
        lines.append(f"{metric} as {label} less as plain text: {found.value:+.3f} {interval}{_p(row)}")
    for metric, label in (
        ("unscored", "answers without a score"),
        ("judge_refusal_kappa", "kappa with refusal keywords"),
    ):
        known = [evidence.summary.get(run, metric) for run in evidence.names.conditions(model)]
        values = [each.value for each in known if each is not None and not math.isnan(each.value)]
        if values:
            lines.append(f"{label}: {min(values):.3f} to {max(values):.3f} over the runs")
    return Finding("Does the judge react to the format of an answer?", answer, lines)


def paper_line(rows: Sequence[Row]) -> str:
    """How many of the published numbers lie in our intervals; the paper prints some of them twice."""
    number = ("Model", "Format", "Method", "LR", "metric")
    verdicts = list({tuple(row[key] for key in number): row["paper in our interval"] for row in rows}.values())
    ours = [verdict for verdict in verdicts if verdict in ("inside", "outside")]
    if not ours:
        return f"None of the {len(verdicts)} published numbers has a counterpart here."
    rest = len(verdicts) - len(ours)
    inside = f"{ours.count('inside')} of {len(ours)} published numbers lie inside our intervals"
    return f"{inside}; {rest} were not run, not scored or have no interval here."


def rst(text: str) -> str:
    """Text that reStructuredText shows as it stands."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def verdict_rst(evidence: Evidence) -> str:
    """The verdict as reStructuredText, for the report's first page."""
    blocks, names = [], evidence.names
    if names.missing:
        blocks.append(f"**Missing: {len(names.missing)} of {len(names.planned)} runs**")
        blocks.append("\n".join(f"- {rst(f'{names.model(run.model)}: {names.run(run)}')}" for run in names.missing))
    for model in dict.fromkeys(run.model for run in names.planned):
        blocks.append(f"**{rst(names.model(model))}**")
        for finding in findings(evidence, model):
            blocks.append(f"*{rst(finding.question)}* **{rst(finding.answer)}**")
            if finding.evidence:
                blocks.append("\n".join(f"- {rst(line)}" for line in finding.evidence))
    blocks.append("**Against the paper**")
    blocks.append(rst(paper_line(evidence.paper)))
    return "\n\n".join(blocks) + "\n"

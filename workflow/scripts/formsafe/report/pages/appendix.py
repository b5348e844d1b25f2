"""What stands behind the results: runs and corpus, cost by stage, assumptions, configuration, versions, licences."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from numbers import Real
from typing import Any

import pandas as pd

from formsafe.analysis.estimates import Estimate
from formsafe.analysis.roster import Names
from formsafe.config.assumptions import assumption_rows, read_assumptions
from formsafe.core.files import read_json, read_jsonl
from formsafe.core.layout import partitions, stage_of
from formsafe.core.records import NONE
from formsafe.core.texts import sha256
from formsafe.report.results import Results
from formsafe.report.tables.write import texts

# Label of each stage of `core.layout.stage_of`, in the order of the work.
STAGES = {
    "soft_prompt": "soft prompts (stage 1)",
    "adapter": "adapters (SFT, stage 2)",
    "answers": "answers",
    "judge": "judge",
    "audit": "judge format audit",
    "text": "text scores",
    "first_tokens": "first tokens of refusals",
}
COST_CAPTION = (
    "Hours of jobs, of them on GPUs, tokens trained on or generated, highest memory of a job (GiB). Of a job that was "
    "stopped and went on, memory is that since it last started."
)
VERSIONS_CAPTION = "Software of the jobs, each version with the number of its jobs."
ASSUMPTIONS_CAPTION = "Where the paper is silent, the choice is ours; the last column marks what this study changes."
LICENCES_CAPTION = "Data that the study used, under their own licences."
# What computed the numbers of this page; the jobs' own records have the rest.
ANALYSIS_PACKAGES = ("numpy", "pandas", "scipy", "statsmodels", "matplotlib")
Record = dict[str, Any]


def appendix(results: Results, settings: Mapping[str, Any], licences: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Sections behind the results: title, anchor (the title's first word) and tables.

    Args:
        results: with the files `metrics`, `corpus`, `certificate` and `assumptions`.
        settings: sections of the configuration to show, as builtins.
        licences: data set to its licence.
    """
    files, names = results.files, results.names
    records = read_metrics(files.get("metrics", []))
    done = f"{len(names.planned) - len(names.missing)} of {len(names.planned)} runs are in this report."
    data = [table("Runs", done, runs_table(names))]
    for counts, certificate in zip(files.get("corpus", []), files.get("certificate", []), strict=True):
        proof = read_json(certificate)
        data.append(table("Corpus", corpus_caption(read_json(counts), proof), corpus_table(proof)))
    tables = {"Runs and corpus": data, "Cost": [table("Cost by stage", COST_CAPTION, cost_table(records))]}
    entries = [entry for path in files.get("assumptions", []) for entry in read_assumptions(path)]
    if assumed := assumption_rows(entries, settings):
        tables["Assumptions"] = [table("Assumptions", ASSUMPTIONS_CAPTION, pd.DataFrame(assumed, dtype=object))]
    tables["Configuration"] = [table(name, "", settings_table(section)) for name, section in settings.items()]
    own = pd.DataFrame([[name, version(name)] for name in ANALYSIS_PACKAGES], columns=["Package", "version"])
    tables["Versions"] = [table("Jobs", VERSIONS_CAPTION, versions_table(records)), table("This page", "", own)]
    listed = pd.DataFrame(licences.items(), columns=["Data set", "licence"])
    tables["Licences"] = [table("Licences of the data", LICENCES_CAPTION, listed)]
    for title, shown in tables.items():
        yield {"id": title.split()[0].lower(), "title": title, "tables": shown}


def table(title: str, caption: str, frame: pd.DataFrame) -> dict[str, Any]:
    """A table as the template shows it: each cell its text and, for numbers, the value to sort by."""
    rows = []
    for labels, cells in zip(texts(frame).values.tolist(), frame.values.tolist() or [[]], strict=False):
        numbers = [_number(cell) for cell in cells] or [None] * len(labels)
        rows.append(list(zip(labels, numbers, strict=True)))
    return {"title": title, "caption": caption, "columns": list(frame.columns), "rows": rows}


def _number(cell: Any) -> float | None:
    value = cell.value if isinstance(cell, Estimate) else cell
    return float(value) if isinstance(value, Real) and not math.isnan(value) else None


def read_metrics(paths: Iterable[str]) -> list[tuple[str, Record]]:
    """Stage and record of every metrics file."""
    return [(STAGES[stage_of(path)], read_json(path)) for path in paths]


def cost_table(metrics: Sequence[tuple[str, Record]]) -> pd.DataFrame:
    """Jobs, hours, tokens and memory by stage."""
    rows = []
    for name in [*STAGES.values(), "all"]:
        records = [record for stage, record in metrics if name in (stage, "all")]
        if records or name == "all":
            rows.append(_row(name, records))
    return pd.DataFrame(rows, dtype=object)


def _row(stage: str, records: Sequence[Record]) -> Record:
    devices = [str(record.get("device", "unknown")) for record in records]
    hours = [(record.get("seconds") or 0.0) / 3600 for record in records]
    on_gpus = sum(hour for hour, device in zip(hours, devices, strict=True) if not device.startswith("cpu"))
    return {
        "Stage": stage,
        "jobs": len(records),
        "hours": float(sum(hours)),
        "GPU hours": float(on_gpus),
        "tokens": sum(map(_tokens, records)),
        "memory": _highest(records, "peak_memory_bytes"),
        "GPU memory": _highest(records, "peak_gpu_memory_bytes"),
        "devices": ", ".join(sorted(set(devices))),
    }


def _tokens(record: Record) -> int:
    """Tokens trained on (all epochs) or generated."""
    if "training_seconds" in record:
        return round((record.get("tokens_per_second") or 0) * record["training_seconds"])
    return int(record.get("tokens") or 0)


def _highest(records: Sequence[Record], key: str) -> float | None:
    highest = max((record.get(key) or 0 for record in records), default=0)
    return highest / 2**30 if highest else None


def versions_table(metrics: Sequence[tuple[str, Record]]) -> pd.DataFrame:
    """Software that the stages ran with."""
    found: list[tuple[str, str]] = []
    for _, record in metrics:
        found += (record.get("versions") or {}).items()
        found.append(("git commit of the workflow", record.get("git_commit") or "unknown"))
    counts = pd.DataFrame(found, columns=["Package", "version"]).value_counts(sort=False).reset_index(name="jobs")
    return counts.sort_values(["Package", "version"], ignore_index=True).astype(object)


def runs_table(names: Names) -> pd.DataFrame:
    """Every planned run and whether it is there."""
    rows = []
    for run in names.planned:
        format = names.format(run.format) if run.format != NONE else NONE
        axes = [None if text == NONE else text for text in (format, run.lr, run.seed, run.data_seed, run.examples)]
        state = "missing" if run in names.missing else "done"
        rows.append([names.model(run.model), names.method(run.method), *axes, state])
    header = ["Model", "Method", "Format", "LR", "seed", "data seed", "examples", "state"]
    return pd.DataFrame(rows, columns=header, dtype=object).dropna(axis="columns", how="all")


def corpus_table(certificate: Mapping[str, Any]) -> pd.DataFrame:
    """The splits, from the certificate of all formats (`certify_formats`)."""
    rows = []
    for split, counts in certificate["splits"].items():
        numbers = [counts["examples"], counts["sentences"], counts["content_characters"]]
        rows.append([split, *numbers, counts["content_digest"][:12]])
    header = ["Split", "examples", "sentences", "characters of content", "SHA-256 of content"]
    return pd.DataFrame(rows, columns=header, dtype=object)


def corpus_caption(corpus: Mapping[str, Any], certificate: Mapping[str, Any]) -> str:
    """What was left out, and that all formats carry the same content."""
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in corpus["left_out"].items()) or "none"
    formats, mismatches = ", ".join(certificate["formats"]), certificate["mismatches"]
    return (
        f"{corpus['rows']:,} rows, left out: {left_out}. Certified: parsed back, {formats} give the same sentences, "
        f"character by character ({mismatches} mismatches)."
    )


def example(paths: Sequence[str], names: Names) -> dict[str, Any]:
    """One example of the data in every format.

    Args:
        paths: the same split in each format (`data/format=.../test.jsonl`).
        names: labels.

    Returns:
        `instruction`, and `responses`: label of the format to the response; empty without examples.
    """
    by_format: dict[str, dict[str, Any]] = {}
    for path in paths:
        by_format[partitions(path)["format"]] = {row["id"]: row["messages"] for row in read_jsonl(path)}
    shared = set.intersection(*map(set, by_format.values())) if by_format else set()
    if not shared:
        return {}
    chosen = min(shared, key=sha256)
    messages = {name: by_format[name][chosen] for name in names.formats(by_format)}
    responses = {names.format(name): turns[-1]["content"] for name, turns in messages.items()}
    instruction = next(turn["content"] for turn in messages[next(iter(by_format))] if turn["role"] == "user")
    return {"instruction": instruction, "responses": responses}


def settings_table(section: Any) -> pd.DataFrame:
    """A section of settings (builtins): entries with names of their own (models) and lists of entries (the grid) take a
    row each, all else a row per key."""
    if isinstance(section, list):
        return _entries("block", {str(number): block for number, block in enumerate(section, start=1)})
    if section and all(isinstance(entry, Mapping) for entry in section.values()):
        return _entries("name", section)
    rows = [[key, _shown(value)] for key, value in _flat(section)]
    return pd.DataFrame(rows, columns=["key", "value"], dtype=object)


def _entries(what: str, entries: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row per entry; a key that none of them sets is left out."""
    rows = {entry: dict(_flat(settings)) for entry, settings in entries.items()}
    keys = dict.fromkeys(key for row in rows.values() for key, value in row.items() if value not in (None, []))
    cells = []
    for entry, row in rows.items():
        cells.append([entry, *(_shown(row.get(key)) for key in keys)])
    return pd.DataFrame(cells, columns=[what, *keys], dtype=object)


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys as the configuration's reference writes them, `splits.train`, with their values."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str | None:
    """A value in one line, as YAML writes it; nothing where it is not set."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_shown(each)}" for key, each in _flat(value) if each is not None)
    if isinstance(value, list):
        return "; ".join(str(_shown(each)) for each in value) or None
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else f"{value:g}" if isinstance(value, float) else str(value)

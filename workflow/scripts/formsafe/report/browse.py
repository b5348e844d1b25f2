"""`make browse`: every answer of a study with its scores, as a page for this machine only.

The page holds harmful texts. It is no part of the report, and not made to be shared. A page opened from disk may fetch
nothing, so its data are script files beside it, `answers/*.js`: an index of all answers, and one file of texts per run
and prompt set, which the page loads when one of its answers is opened.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from formsafe.core.errors import FormsafeError, command
from formsafe.core.files import read_jsonl, write_text
from formsafe.core.layout import partitions, run_of
from formsafe.core.records import NONE, RUN_COLUMNS
from formsafe.report.pages.page import environment_of, style_and_script

TEMPLATES = Path(__file__).parents[3] / "report"
# Files of a prompt set that have a place of their own on the page; records of any other (a trace of first tokens) are
# shown as they are.
KNOWN = ("answers.jsonl", "text_scores.jsonl")
Record = dict[str, Any]


def write_browser(study: Path) -> Path:
    """Write `answers.html` and `answers/*.js` into the folder of a study, from whatever it has of answers.

    Returns:
        The page.

    Raises:
        FormsafeError: there are no answers.
    """
    files = sorted(study.glob("runs/*/*/*/*/*/prompts=*/answers.jsonl"))
    if not files:
        raise FormsafeError(f"{study} has no answers. Name a study that has: make browse STUDY=...")
    prompts = {path.stem: _by_id(path) for path in sorted((study / "data/prompts").glob("*.jsonl"))}
    index: dict[str, Any] = {"files": [], "rows": [], "prompts": {}}
    for number, path in enumerate(files):
        kind, answers = partitions(path)["prompts"], read_jsonl(path)
        judges = {partitions(each)["judge"]: _by_id(each) for each in sorted(path.parent.glob("judge=*/scores.jsonl"))}
        fits = _by_id(path.parent / "text_scores.jsonl")
        others = {each.stem: _by_id(each) for each in sorted(path.parent.glob("*.jsonl")) if each.name not in KNOWN}
        run = {name: text for name, text in run_of(path).fields.items() if text != NONE}
        index["files"].append({"run": " ".join(run.values()), "axes": run, "prompts": kind, "judges": list(judges)})
        known, texts = index["prompts"].setdefault(kind, {}), []
        for answer in answers:
            name = answer["id"]
            source = prompts.get(kind, {}).get(name, {}).get("source") or ""
            place, _ = known.setdefault(name, [len(known), source])
            judged = [scores.get(name, {}) for scores in judges.values()]
            index["rows"].append(_row(number, place, answer, judged, fits.get(name, {})))
            texts.append(_texts(answer, judged, others))
        _write_data(study / f"answers/texts-{number}.js", "texts", number, texts)
    index["columns"] = list(RUN_COLUMNS)
    for kind, known in index["prompts"].items():
        shown = [prompts.get(kind, {}).get(name, {}).get("prompt", "(the prompt's file is missing)") for name in known]
        _write_data(study / f"answers/prompts-{kind}.js", "prompts", kind, shown)
    _write_data(study / "answers/index.js", "index", index)
    template = environment_of(TEMPLATES).get_template("answers.html")
    write_text(study / "answers.html", template.render(study=study.name, **style_and_script(TEMPLATES, "answers")))
    return study / "answers.html"


def _by_id(path: Path) -> dict[str, Record]:
    return {str(record["id"]): record for record in read_jsonl(path)} if path.exists() else {}


def _row(number: int, place: int, answer: Record, judged: Iterable[Record], fit: Record) -> list[Any]:
    """What the filters see of an answer: its file, prompt, scores and parse states by judge, refusal, formats, end."""
    formats = [name for name, found in (fit.get("formats") or {}).items() if found == "strict"]
    verdicts = [[each.get("score"), each.get("state", "not judged")] for each in judged]
    return [number, place, verdicts, fit.get("refusal"), formats, answer.get("finish_reason"), answer.get("tokens")]


def _texts(answer: Record, judged: Iterable[Record], others: dict[str, dict[str, Record]]) -> list[Any]:
    """What is shown of an opened answer: its text, the judges' replies, other records of it."""
    records = {name: rows[answer["id"]] for name, rows in others.items() if answer["id"] in rows}
    return [answer["answer"], [each.get("reply", "") for each in judged], records]


def _write_data(path: Path, name: str, *values: Any) -> None:
    """A script that hands values to the page; in ASCII, so that no letter of a text can be read as code."""
    write_text(path, f"formsafe.{name}({', '.join(json.dumps(value) for value in values)});\n")


@command
def main() -> int:
    """Command line: `python -m formsafe.report.browse results/STUDY`."""
    parser = argparse.ArgumentParser(prog="browse", description=__doc__)
    parser.add_argument("study", type=Path, help="the folder of a study's results")
    page = write_browser(parser.parse_args().study)
    print(f"Answers: {page} (harmful texts: not to be shared)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Labels by people: a blinded, stratified sample of answers as a sheet and a page, and the raters' files read back."""

import csv
import io
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from formsafe.config.settings.judge import LabelSettings
from formsafe.core.errors import FormsafeError
from formsafe.core.files import read_jsonl, write_jsonl, write_text
from formsafe.core.layout import run_of
from formsafe.core.records import RUN_COLUMNS, Run
from formsafe.core.texts import escape_csv, sha256
from formsafe.scoring.answers import read_answers

COLUMNS = ("label_id", "request", "answer", "label", "note")
VALUES = {"harmful": 1.0, "harmless": 0.0, "unsure": None}
"""What a rater may write; `unsure` is no label."""
MOST_CHARACTERS = 2**24
"""Of one cell of a rater's file."""


@dataclass(frozen=True)
class Drawn:
    """One answer of the sample: a line of key.jsonl, which raters do not see.

    `probability` is the chance with which an answer of its stratum (method, format, verdict of the headline judge) was
    drawn; estimates weigh each label by its inverse.
    """

    label_id: str
    model: str
    method: str
    format: str
    lr: str
    seed: str
    data_seed: str
    examples: str
    id: str
    stratum: str
    probability: float

    @property
    def run(self) -> Run:
        """The run that answered."""
        return Run(**{name: getattr(self, name) for name in RUN_COLUMNS})


@dataclass(frozen=True)
class SheetFiles:
    """Files of the sample.

    Args:
        prompts: JSONL of the harmful prompts.
        answers: `answers.jsonl` of each run; the paths name the runs.
        scores: the headline judge's `scores.jsonl` of each run, in the same order.
        page: the template of the page.
    """

    prompts: str | Path
    answers: Sequence[str]
    scores: Sequence[str]
    page: str | Path


def write_sheet(
    files: SheetFiles, outputs: Mapping[str, str | Path], settings: LabelSettings, harmful_from: float, study: str
) -> None:
    """Draw the sample and write it.

    Args:
        files: what is drawn from.
        outputs: paths under `sheet` (CSV with an empty column `label`), `page` (one offline HTML file) and `key`.
        settings: size and seed of the draw.
        harmful_from: scores from here on are harmful.
        study: name of the study; the page keeps its progress under it.
    """
    asked = {row["id"]: row["prompt"] for row in read_jsonl(files.prompts)}
    strata: dict[str, list[tuple[Run, str, str]]] = defaultdict(list)
    for answers, scores in zip(files.answers, files.scores, strict=True):
        run, verdicts = run_of(answers), {row["id"]: row["score"] for row in read_jsonl(scores)}
        for answer in read_answers(answers, asked, "the harmful prompts"):
            score = verdicts.get(answer.id)
            verdict = "unscored" if score is None else "harmful" if score >= harmful_from else "harmless"
            strata[f"{run.method}/{run.format}/{verdict}"].append((run, answer.id, answer.text))
    draw = random.Random(settings.seed)
    drawn: list[tuple[Drawn, str]] = []
    counts = {name: len(pool) for name, pool in sorted(strata.items())}
    for name, size in stratum_sizes(counts, settings.sample).items():
        for run, example, text in draw.sample(strata[name], size):
            # A letter first: spreadsheets take `123456789012` and `1234e5678901` for numbers and write them otherwise.
            opaque = "x" + sha256(f"{settings.seed}\n{run.fields}\n{example}")[:12]
            key = Drawn(opaque, **run.fields, id=example, stratum=name, probability=size / counts[name])
            drawn.append((key, text))
    draw.shuffle(drawn)  # so that neither order nor neighbours tell the method
    rows = [{"label_id": key.label_id, "request": asked[key.id], "answer": text} for key, text in drawn]
    write_jsonl(outputs["key"], (asdict(key) for key, _ in drawn))
    write_text(outputs["sheet"], _sheet(rows), private=True)
    page = _page(Path(files.page).read_text(encoding="utf-8"), rows, study)
    write_text(outputs["page"], page, private=True)


def stratum_sizes(strata: Mapping[str, int], sample: int) -> dict[str, int]:
    """How many to draw of each stratum: equally many, and what small strata leave over goes to the others."""
    sizes = dict.fromkeys(strata, 0)
    left = min(sample, sum(strata.values()))
    while left:
        for name in [name for name in strata if sizes[name] < strata[name]]:
            if left:
                sizes[name], left = sizes[name] + 1, left - 1
    return {name: size for name, size in sizes.items() if size}


def _sheet(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: escape_csv(cell) for name, cell in row.items()})
    return text.getvalue()


def _page(template: str, rows: Sequence[Mapping[str, str]], study: str) -> str:
    """The page with the texts as data: `<` is escaped, so that no text can end the script element."""
    digest = sha256("".join(row["label_id"] for row in rows))[:12]
    data = json.dumps({"study": study, "key": f"formsafe labels {study} {digest}", "rows": rows}, ensure_ascii=False)
    return template.replace("{{data}}", data.replace("<", "\\u003c").replace("\u2028", " ").replace("\u2029", " "))


def read_key(path: str | Path) -> list[Drawn]:
    """The sample as it was drawn."""
    return [Drawn(**row) for row in read_jsonl(path)]


def read_raters(paths: Sequence[str | Path], key: Sequence[Drawn]) -> dict[str, dict[str, float | None]]:
    """Labels of each rater (named by the file) by label id: 1 harmful, 0 harmless, None unsure.

    Raises:
        FormsafeError: naming file and rows, where an id is unknown or doubled, or a label is missing or another word.
    """
    raters: dict[str, dict[str, float | None]] = {}
    for path in paths:
        name = Path(path).stem
        if name in raters:
            raise FormsafeError(f"labels.files: two files are called {name}. Rename one: the name is the rater's.")
        raters[name] = _read_rater(Path(path), {drawn.label_id for drawn in key})
    return raters


def _read_rater(path: Path, known: set[str]) -> dict[str, float | None]:
    rows = _read_csv(path)
    found: dict[str, float | None] = {}
    problems: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(rows, start=2):
        label_id, label = (row.get("label_id") or "").strip(), (row.get("label") or "").strip().lower()
        if label_id not in known:
            problems["an id that is not in the sample (of another draw?)"].append(f"row {number} ({label_id[:20]!r})")
        elif label_id in found:
            problems["an id that another row has, too"].append(f"row {number} ({label_id})")
        elif not label:
            problems["no label (write `unsure` where you cannot tell)"].append(f"row {number} ({label_id})")
        elif label not in VALUES:
            problems[f"a label other than {', '.join(VALUES)}"].append(f"row {number} ({label_id}: {label[:20]!r})")
        found.setdefault(label_id, VALUES.get(label))
    if missing := sorted(known - found.keys()):
        problems["missing rows"] = missing
    if problems:
        lines = [f"{path} cannot be used; nothing was changed. Mend in it:"]
        for what, where in problems.items():
            more = f" and {len(where) - 5} more" if len(where) > 5 else ""
            lines.append(f"  {what}: {', '.join(where[:5])}{more}")
        raise FormsafeError("\n".join(lines))
    return found


def _read_csv(path: Path) -> list[dict[str, str | None]]:
    """Rows of a rater's CSV, with commas or, as some spreadsheets save it, semicolons or tabs."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise FormsafeError(f"{path} is not UTF-8. Save it as CSV UTF-8.") from None
    except OSError as error:
        raise FormsafeError(f"labels.files: {path} cannot be read ({type(error).__name__}).") from None
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    csv.field_size_limit(MOST_CHARACTERS)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        if lacking := {"label_id", "label"} - set(reader.fieldnames or ()):
            raise FormsafeError(f"{path} has no column {' and no column '.join(sorted(lacking))} in its first row.")
        return list(reader)
    except csv.Error as error:  # a quotation mark that is never closed makes one cell of all that follows
        raise FormsafeError(
            f"{path} is no CSV behind line {reader.line_num} ({error}). Save the sheet again."
        ) from None

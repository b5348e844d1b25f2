"""How formal a format is, measured: the tokens and bits per sentence that its marks cost the base model."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from formsafe.analysis.score_table import write_table
from formsafe.core.files import read_json
from formsafe.core.layout import run_of
from formsafe.formats.registry import plain_format, traits_of

PARTS = ("format", "mixed")


def write_formality(losses: Sequence[str | Path], certificates: Mapping[str, str | Path], output: str | Path) -> None:
    """Write formality.csv.

    Args:
        losses: `validation.csv` of trainings of an adapter without a soft prompt. Its row at step 0 is the base model,
            since an adapter changes nothing before its first step; of several trainings the first is read.
        certificates: the certificate of each format.
        output: CSV to write: `model`, `format`, `formality` (the rank), `sentences`; `tokens` and `bits` of format and
            mixed tokens per sentence, the end of the response among them; and `added_tokens` and `added_bits`, the
            same minus those of running text, empty where the study has no running text.
    """
    rows = []
    for path in losses:
        run = run_of(path)
        start = pd.read_csv(path).iloc[0].fillna(0.0)
        if start["step"] != 0 or run.format not in certificates:
            continue
        sentences = read_json(certificates[run.format])["splits"]["validation"]["sentences"]
        tokens = sum(start[f"{part}_tokens"] for part in PARTS)
        nats = sum(start[f"{part}_tokens"] * start[f"{part}_loss"] for part in PARTS)
        rank = traits_of(run.format).formality
        rows.append([run.model, run.format, rank, sentences, tokens / sentences, nats / math.log(2) / sentences])
    table = pd.DataFrame(rows, columns=["model", "format", "formality", "sentences", "tokens", "bits"])
    table = table.drop_duplicates(["model", "format"]).sort_values(["model", "formality", "format"])
    plain = table[table["format"] == plain_format()].set_index("model")
    for name in ("tokens", "bits"):
        table[f"added_{name}"] = table[name] - table["model"].map(plain[name])
    write_table(output, table)

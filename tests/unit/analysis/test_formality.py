"""Measured formality: the base model's tokens and bits on marks, running text as the zero."""

import math

import pytest

from formsafe.analysis.curves import write_formality
from formsafe.analysis.score_table import read_csv
from formsafe.core.files import write_json

COLUMNS = "step,epoch,loss,format_loss,mixed_loss,content_loss,interior_loss,format_tokens,mixed_tokens"


def study(root, tokens, formats=("prose", "json")):
    losses, certificates = [], {}
    for name in formats:
        path = root / f"runs/model=m/method=sft/format={name}/lr=1e-3/seed=0/adapter/validation.csv"
        path.parent.mkdir(parents=True)
        count, mixed = tokens[name]
        path.write_text(f"{COLUMNS}\n0,0,9,2.0,{'4.0' if mixed else ''},9,9,{count},{mixed}\n8,1,9,1,1,1,1,1,1\n")
        losses.append(path)
        certificates[name] = root / f"{name}.json"
        write_json(certificates[name], {"splits": {"validation": {"sentences": 20}}})
    return losses, certificates


def test_tokens_and_bits_of_the_marks_per_sentence_with_running_text_as_zero(tmp_path):
    write_formality(*study(tmp_path, {"prose": (5, 0), "json": (60, 10)}), tmp_path / "f.csv")
    prose, json_ = read_csv(tmp_path / "f.csv")
    assert (prose["format"], json_["format"]) == ("prose", "json")
    assert float(prose["added_tokens"]) == float(prose["added_bits"]) == 0
    assert float(json_["tokens"]) == 70 / 20
    assert float(json_["bits"]) == pytest.approx((60 * 2 + 10 * 4) / 20 / math.log(2), rel=1e-5)
    assert float(json_["added_tokens"]) == pytest.approx(65 / 20)
    assert float(json_["added_bits"]) == pytest.approx((60 * 2 + 10 * 4 - 5 * 2) / 20 / math.log(2), rel=1e-5)


def test_without_running_text_there_is_no_zero(tmp_path):
    write_formality(*study(tmp_path, {"json": (60, 10)}, ["json"]), tmp_path / "f.csv")
    (row,) = read_csv(tmp_path / "f.csv")
    assert row["added_bits"] == "" and float(row["bits"]) > 0

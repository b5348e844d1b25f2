"""The page of all answers, as files; tests/browser opens it."""

import json
from pathlib import Path

import pytest

from formsafe.core.errors import FormsafeError
from formsafe.report.browse import write_browser
from tests import synthetic


def data(path):
    """What a script file hands to the page."""
    text = path.read_text(encoding="ascii")
    return json.loads("[" + text[text.index("(") + 1 : text.rindex(")")] + "]")


def test_the_index_knows_every_answer_and_the_texts_lie_in_files_of_their_own(tmp_path):
    runs = synthetic.grid()[:3]
    synthetic.write_study(tmp_path, runs, harmful=8)
    (index,) = data(write_browser(tmp_path).parent / "answers/index.js")
    assert len(index["rows"]) == 3 * 8 and [entry["judges"] for entry in index["files"]] == [["policy"]] * 3
    assert "Answer 5" not in (tmp_path / "answers/index.js").read_text()
    number, texts = data(tmp_path / "answers/texts-1.js")
    assert number == 1 and texts[5][0] == "Answer 5." and texts[5][1][0].startswith("#thescore: ")
    prompts = index["prompts"]["harmful"]
    assert len(prompts) == 8 and [place for place, _ in prompts.values()] == list(range(8))


def test_no_letter_of_a_text_is_code(tmp_path):
    run = synthetic.grid()[0]
    (path,) = synthetic.write_study(tmp_path, [run], harmful=1)["answers"]
    hostile = '</script><script>x()</script>\u2028`${x()}`😀 "); x("'
    record = {"id": "a", "answer": hostile, "tokens": 1, "finish_reason": "stop"}
    with open(path, "w", encoding="utf-8") as lines:
        lines.write(json.dumps(record) + "\n")
    write_browser(tmp_path)
    assert data(tmp_path / "answers/texts-0.js")[1][0][0] == hostile


def test_records_beside_the_answers_are_shown_as_they_are(tmp_path):
    (path,) = synthetic.write_study(tmp_path, synthetic.grid()[:1], harmful=2)["answers"]
    first = json.loads(Path(path).read_text().splitlines()[0])["id"]
    Path(path).with_name("first_tokens.jsonl").write_text(json.dumps({"id": first, "mass": 0.5}) + "\n")
    write_browser(tmp_path)
    _, texts = data(tmp_path / "answers/texts-0.js")
    assert [each[2] for each in texts] == [{"first_tokens": {"id": first, "mass": 0.5}}, {}]


def test_a_study_without_answers_is_one_sentence(tmp_path):
    with pytest.raises(FormsafeError, match="has no answers"):
        write_browser(tmp_path)

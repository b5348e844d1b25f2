"""The page on which people label: hidden texts, keys, progress that stays, and a CSV that is read back."""

import csv
import io
import json
import urllib.parse

import pytest

from formsafe.config.settings.judge import LabelSettings
from formsafe.core.layout import Layout
from formsafe.core.records import Run
from formsafe.scoring.labels import SheetFiles, read_key, read_raters, write_sheet
from tests.browser.conftest import ATTACKS, assert_calm
from tests.conftest import ROOT


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A sample of six hostile answers; the paths of page and key."""
    monkeypatch.chdir(tmp_path)
    layout, run = Layout("s"), Run("m", "sft", "json", "5e-5", "0")

    def write(path, rows):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    texts = [ATTACKS[number % len(ATTACKS)] for number in range(5)] + ['=1+1, "quoted"\nand more']
    prompts = write(layout.prompts("harmful"), [{"id": f"h{n}", "prompt": f"How {n}?"} for n in range(6)])
    answers = write(layout.answers(run, "harmful"), [{"id": f"h{n}", "answer": text} for n, text in enumerate(texts)])
    scores = write(layout.scores(run, "policy"), [{"id": f"h{n}", "score": 1 + n % 5} for n in range(6)])
    outputs = {"sheet": tmp_path / "sheet.csv", "page": tmp_path / "page.html", "key": tmp_path / "key.jsonl"}
    files = SheetFiles(prompts, [answers], [scores], ROOT / "workflow/report/labels.html")
    write_sheet(files, outputs, LabelSettings(sample=6), 3, "s")
    return outputs


def press(driver, keys: str) -> None:
    """Press keys on the page."""
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(keys).perform()


def shown(driver) -> bool:
    return driver.find_element("id", "answer").is_displayed()


def test_labelling_with_the_keyboard_only(chromium, drawn):
    from selenium.webdriver.common.keys import Keys

    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(drawn["page"].as_uri())
    rows = json.loads(chromium.find_element("id", "data").get_attribute("textContent"))["rows"]
    assert not shown(chromium) and rows[0]["answer"] not in chromium.find_element("tag name", "body").text
    press(chromium, "1")  # nobody labels what is hidden
    assert "0 labelled" in chromium.find_element("id", "count").text
    press(chromium, " ")
    assert shown(chromium)
    assert chromium.find_element("id", "answer").get_attribute("textContent") == rows[0]["answer"]
    press(chromium, "1")
    assert chromium.find_element("css selector", "[aria-pressed=true]").get_attribute("data-label") == "harmful"
    press(chromium, Keys.ARROW_RIGHT)
    assert not shown(chromium) and chromium.find_element("id", "count").text == "2 of 6, 1 labelled"
    press(chromium, " 0")
    note = chromium.find_element("id", "note")
    note.send_keys('1 u "0"')  # keys in the note are text
    chromium.get(drawn["page"].as_uri())  # closed and opened again
    assert "2 labelled" in chromium.find_element("id", "count").text
    for _ in range(4):
        press(chromium, "o")
        press(chromium, " u")
    assert "6 labelled" in chromium.find_element("id", "count").text
    written = chromium.execute_script("return csv()")
    table = list(csv.DictReader(io.StringIO(written, newline="")))
    assert [row["label"] for row in table] == ["harmful", "harmless", *["unsure"] * 4]
    assert table[1]["note"] == '1 u "0"' and [row["label_id"] for row in table] == [row["label_id"] for row in rows]
    assert all(row["answer"].lstrip("'") == one["answer"].lstrip("'") for row, one in zip(table, rows, strict=True))
    assert not any(row["answer"].startswith("=") for row in table)
    path = drawn["page"].with_name("anna.csv")
    path.write_text(written, newline="")
    labels = read_raters([path], read_key(drawn["key"]))["anna"]
    assert list(labels.values()) == [1.0, 0.0, None, None, None, None]
    assert not chromium.execute_script("return Boolean(window.attacked)") and chromium.title == "Labels"
    assert_calm(chromium, drawn["page"])


def test_the_export_is_the_same_csv(chromium, drawn):
    chromium.get(drawn["page"].as_uri())
    caught = "HTMLAnchorElement.prototype.click = function () { window.exported = [this.href, this.download]; }"
    chromium.execute_script(caught)
    press(chromium, "e")
    address, name = chromium.execute_script("return window.exported")
    assert name == "labels_s.csv"
    assert urllib.parse.unquote(address.partition(",")[2]) == chromium.execute_script("return csv()")

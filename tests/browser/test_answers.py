"""The page of all answers in a browser: quick, calm, and no text of a model does anything."""

import json
import time
from pathlib import Path

import pytest

from formsafe.report.browse import write_browser
from tests import synthetic
from tests.browser.conftest import ATTACKS, assert_calm, barriers

READY = "return document.querySelectorAll('#rows tr').length"


def wait(driver, script: str, seconds: float = 20):
    """What `script` gives once it gives something."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, seconds, poll_frequency=0.02).until(lambda _: driver.execute_script(script))


def choose(driver, name: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(driver.find_element("id", name)).select_by_value(value)


def second_judge(scores: str) -> None:
    """A judge who gives every second answer another score."""
    records = [json.loads(line) for line in Path(scores).read_text().splitlines()]
    for record in records[::2]:
        record["score"] = 1 if record["score"] != 1 else 5
    path = Path(scores.replace("judge=policy", "judge=other"))
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> Path:
    """Seven runs, two judges, hostile answers; moved to another folder after it was written."""
    root = tmp_path_factory.mktemp("written") / "results"
    files = synthetic.write_study(root, synthetic.grid(), harmful=24)
    second_judge(files["scores"][0])
    for path in map(Path, files["answers"]):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for number, record in enumerate(records):
            record["answer"] = ATTACKS[number % len(ATTACKS)]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    write_browser(root)
    moved = tmp_path_factory.mktemp("moved") / "elsewhere <b>"
    root.rename(moved)
    return moved / "answers.html"


def opened_row(driver, place: int = 0):
    driver.find_elements("css selector", "#rows button")[place].click()
    wait(driver, "return document.querySelectorAll('.pair pre').length > 0")


@pytest.mark.parametrize("width", [1400, 390])
def test_texts_are_hidden_until_asked_for_and_do_nothing(opened, answers, width):
    driver = opened(answers, width)
    assert wait(driver, READY) == 50
    assert driver.find_element("id", "count").text == "1 to 50 of 168 answers"
    opened_row(driver)
    assert not any(attack in driver.find_element("tag name", "body").text for attack in ATTACKS)
    driver.find_element("id", "show").click()
    assert driver.find_element("css selector", ".pair pre").text == ATTACKS[0]
    driver.find_element("id", "show").click()
    assert ATTACKS[0] not in driver.find_element("tag name", "body").text
    assert driver.find_elements("css selector", "img") == []
    assert driver.title == "Answers of results" and not driver.execute_script("return Boolean(window.attacked)")
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert_calm(driver, answers, scripts=3)


def test_filters_narrow_and_two_runs_answer_side_by_side(opened, answers):
    driver = opened(answers)
    wait(driver, READY)
    choose(driver, "filter-run", "demo sft json 5e-5 0")
    assert driver.find_element("id", "count").text == "1 to 24 of 24 answers"
    choose(driver, "filter-score", "5")
    fives = driver.execute_script(READY)
    cells = [row.text for row in driver.find_elements("css selector", "#rows tr")]
    assert 0 < fives < 24 and all("policy: 5" in text for text in cells)
    opened_row(driver)
    choose(driver, "against", "demo base")
    wait(driver, "return document.querySelectorAll('.pair > div').length === 2")
    heads = [head.text for head in driver.find_elements("css selector", ".pair h3")]
    assert any(head.startswith("demo sft json") for head in heads) and any(
        head.startswith("demo base") for head in heads
    )


def test_answers_on_which_judges_disagree(opened, answers):
    driver = opened(answers)
    wait(driver, READY)
    driver.find_element("id", "filter-differ").click()
    assert driver.find_element("id", "count").text == "1 to 12 of 12 answers"
    opened_row(driver)
    heads = [head.text for head in driver.find_elements("css selector", ".pair h3")]
    assert [head.split(":")[0] for head in heads[1:]] == ["Judge other", "Judge policy"]


def test_axe_finds_no_serious_barrier(opened, answers, axe):
    driver = opened(answers)
    wait(driver, READY)
    opened_row(driver)
    assert barriers(driver, axe) == []


def test_25_000_answers_show_their_first_rows_at_once(opened, tmp_path):
    runs = synthetic.grid(rates=("5e-5", "1e-4", "2e-4"))
    synthetic.write_study(tmp_path, runs, harmful=1320, task=1, steps=2)
    page = write_browser(tmp_path)
    started = time.monotonic()
    driver = opened(page)
    assert wait(driver, READY) == 50
    shown = time.monotonic() - started
    painted = driver.execute_script("return performance.now()")
    assert driver.find_element("id", "count").text == "1 to 50 of 25,080 answers"
    print(f"25,080 answers: first rows after {shown:.2f} s ({painted / 1000:.2f} s since the page was opened)")

"""The report as a reader meets it: one file, opened from disk, without network; texts of models do nothing in it."""

import io
import json
import re

import pytest

from tests.browser.conftest import ATTACKS


@pytest.fixture
def opened(chromium, report):
    """The report, freshly opened, its logs emptied."""
    chromium.get("about:blank")
    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(report.as_uri())
    wait(chromium, lambda: chromium.find_elements("css selector", "nav li"))
    return chromium


def wait(driver, condition, seconds=20):
    """Wait until `condition` is true and return what it gave; elements that the page draws anew are looked up again."""
    from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    moving = [ElementClickInterceptedException, StaleElementReferenceException]
    waiting = WebDriverWait(driver, seconds, ignored_exceptions=moving)
    return waiting.until(lambda _: condition())


def press(driver, found: str) -> None:
    """Click the first element at an XPath."""
    wait(driver, lambda: [element.click() or element for element in driver.find_elements("xpath", found)[:1]])


def requested(driver) -> list[str]:
    """Addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]


def click(driver, text: str) -> None:
    """Click the menu entry or row that shows `text`."""
    press(driver, f"//nav//*[normalize-space(text())='{text}']")


def view(driver, what: str) -> None:
    """Show the result of the row whose first column says `what`."""
    press(driver, f"//nav//tr[td[normalize-space(text())='{what}']]//a")


def assert_calm(driver) -> None:
    """No error on the console and nothing asked of any network."""
    assert [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert [url[:80] for url in requested(driver) if not re.match(r"(file|data|blob|about):", url)] == []


def test_opens_with_the_claim_and_the_verdict(opened):
    description = opened.find_element("css selector", ".prose")
    assert opened.execute_script("return arguments[0].getBoundingClientRect().top", description) >= 0, (
        "its top is hidden"
    )
    text = description.text
    assert "Claim under test" in text and "scores 3 or more" in text
    assert "Does fine-tuning on benign data raise the ASR?" in text
    assert "Missing: 1 of 7 runs" in text
    assert "System Message" not in text
    assert_calm(opened)


def test_the_menu_has_all_topics(opened):
    menu = opened.find_element("tag name", "nav").text
    assert all(topic in menu for topic in ("Judge", "Safety", "Study"))


def test_hostile_answers_do_nothing_in_the_report(opened):
    title = opened.title
    click(opened, "Judge")
    view(opened, "sample of answers (content warning)")
    wait(opened, lambda: opened.find_elements("tag name", "iframe"))
    opened.switch_to.frame(opened.find_element("tag name", "iframe"))
    wait(opened, lambda: opened.find_elements("tag name", "details"))
    assert not any(block.is_displayed() for block in opened.find_elements("tag name", "pre"))
    for block in opened.find_elements("tag name", "summary"):
        block.click()
    texts = opened.find_elements("tag name", "pre")
    assert texts and all(block.is_displayed() and block.text in ATTACKS for block in texts)
    assert opened.find_elements("css selector", "script, img") == []
    opened.switch_to.default_content()
    assert opened.title == title and not opened.execute_script("return Boolean(window.attacked)")
    assert_calm(opened)


def test_hostile_answers_do_nothing_on_their_own_page(chromium, study):
    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get((study / "results/mini/report/answers_sample.html").as_uri())
    assert chromium.title == "Sample of answers"
    assert chromium.find_elements("css selector", "script, img") == []
    assert "Content warning" in chromium.find_element("tag name", "body").text
    assert not any(attack in chromium.find_element("tag name", "body").text for attack in ATTACKS)
    assert_calm(chromium)


def test_the_landing_page_is_rendered(opened, tmp_path):
    """Not to the pixel: menu to the left, text and graph on a light page to the right."""
    from PIL import Image

    wait(opened, lambda: opened.find_elements("css selector", "svg, canvas"))
    picture = Image.open(io.BytesIO(opened.get_screenshot_as_png())).convert("L")
    picture.save(tmp_path / "landing.png")
    width, height = picture.size
    assert (width, height) == (1400, pytest.approx(900, abs=200))
    menu = picture.crop((0, 0, 150, height))
    page = picture.crop((width // 3, 0, width, height))
    assert sum(menu.histogram()[:160]) > 0.5 * menu.width * menu.height, "the dark menu is missing"
    ink = sum(page.histogram()[:128]) / (page.width * page.height)
    assert 0.005 < ink < 0.5, "the page is empty or dark"

"""The report as a reader meets it: one file, opened from disk, without network."""

import pytest

from tests.browser.conftest import ATTACKS, LONG, assert_calm, barriers

SIZES = ("demo", "one run", "24 runs")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_asks_for_nothing_and_fits_its_window(opened, pages, size, width):
    driver = opened(pages[size], width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    wide = """
        const outside = [...document.querySelectorAll("main *:not(.scroll *, pre *, svg *)")];
        return outside.filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 99))
    """
    assert driver.execute_script(wide) == []
    assert_calm(driver, pages[size])


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_barrier(opened, pages, axe, width, scheme):
    driver = opened(pages["demo"], width)
    emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    try:
        assert barriers(driver, axe) == []
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_findings_come_first_with_their_figures_beside_them(opened, pages):
    driver = opened(pages["demo"])
    assert "1 of 7 runs are missing" in driver.find_element("class name", "missing").text
    group = driver.find_element("class name", "group")
    card, picture = (group.find_element("class name", name).rect for name in ("card", "pictures"))
    assert card["x"] + card["width"] <= picture["x"] and abs(card["y"] - picture["y"]) < 40
    figure = group.find_element("css selector", "svg").rect
    assert figure["width"] > 300 and figure["height"] > 100


def test_hostile_names_and_titles_are_text(opened, pages):
    driver = opened(pages["demo"])
    assert driver.title == f"A study {ATTACKS[0]}" == driver.find_element("tag name", "h1").text
    assert ATTACKS[1] in driver.find_element("css selector", "dl.facts").text
    assert driver.find_elements("css selector", "img, script[src], iframe") == []
    assert not driver.execute_script("return Boolean(window.attacked)")
    assert_calm(driver, pages["demo"])


def column(driver, table, place: int) -> list[str]:
    return driver.execute_script(
        "return [...arguments[0].tBodies[0].rows].map(row => row.cells[arguments[1]].textContent)", table, place
    )


def test_tables_sort_by_mouse_and_keyboard_numbers_as_numbers(opened, pages):
    from selenium.webdriver.common.keys import Keys

    driver = opened(pages["demo"])
    table = driver.find_element("css selector", "[aria-label='Table: Safety'] table")
    heads = [head.text.split(" ")[0] for head in table.find_elements("css selector", "th button")]
    place = heads.index("ASR")
    button = table.find_elements("css selector", "th button")[place]
    driver.execute_script("arguments[0].click()", button)
    rising = [float(text.split()[0]) for text in column(driver, table, place) if text[0].isdigit()]
    assert rising == sorted(rising) and len(set(rising)) > 2
    assert column(driver, table, place)[-1] == "not run"
    button.send_keys(Keys.ENTER)
    falling = [float(text.split()[0]) for text in column(driver, table, place) if text[0].isdigit()]
    assert falling == sorted(rising, reverse=True) and column(driver, table, place)[-1] == "not run"
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "descending"


def test_names_of_runs_and_intervals_do_not_break(opened, pages):
    driver = opened(pages["24 runs"], 390)
    heights = driver.execute_script(
        "return [...document.querySelectorAll('#safety td')].map(cell => cell.getBoundingClientRect().height)"
    )
    assert heights and max(heights) < 40
    assert LONG in driver.find_element("id", "safety").get_attribute("textContent")


def test_numbers_are_aligned_to_the_right(opened, pages):
    driver = opened(pages["demo"])
    aligned = "return [...new Set([...document.querySelectorAll('td.number')].map(e => getComputedStyle(e).textAlign))]"
    assert driver.execute_script(aligned) == ["right"]


def test_the_print_has_no_navigation_and_no_cut_tables(opened, pages):
    driver = opened(pages["demo"])
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert not driver.find_element("tag name", "nav").is_displayed()
        style = "return getComputedStyle(document.querySelector('.scroll')).overflowX"
        assert driver.execute_script(style) == "visible"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

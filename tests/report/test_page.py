"""The page in a browser: Debian's chromium, headless. Skipped where there is none, but not in CI."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up import MARKUP, cell, run
from optloom.codegen.report import html, load

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--force-prefers-reduced-motion",
)  # fmt: skip
DESKTOP, NARROW = (1280, 900), (380, 800)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        missing = "no chromium and chromedriver: apt-get install chromium chromium-driver"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield made
    made.quit()


class Page:
    """One page, opened."""

    def __init__(self, browser: Any, file: Path) -> None:
        self.browser = browser
        browser.set_window_size(*DESKTOP)
        browser.get(file.as_uri())

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.browser.find_elements("css selector", selector)
        return found

    def one(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return str(self.one(selector).text)

    def press(self, *keys: str) -> None:
        self.browser.switch_to.active_element.send_keys(*keys)

    def focused(self) -> str:
        return str(self.browser.execute_script("return document.activeElement.getAttribute('aria-label') || ''"))

    def run(self, script: str) -> Any:
        return self.browser.execute_script(script)


@pytest.fixture
def page(browser: Any, saved: Path, tmp_path: Path) -> Page:
    file = tmp_path / "page.html"
    file.write_text(html(load([saved])), encoding="utf-8")
    return Page(browser, file)


def test_fields_have_class_and_worst_ratio(page: Page) -> None:
    assert [th.text for th in page.all("#matrix thead th")] == ["rule", "cpp", "jax", "numpy", "pytorch"]
    labels = [field.get_attribute("aria-label") for field in page.all("#matrix button")]
    assert labels[0] == "rule_0, jax: BIT, within the bound, and the reference's bits; error 1.00 of its bound; 2 cells"
    assert "rule_5, jax: FAIL, not what it should be; error ∞ of its bound; 2 cells" in labels
    assert "rule_4, jax: SKIP, not in this target; 2 cells" in labels
    assert page.text("#matrix td") == "did not run"
    assert page.text("#verdict") == "failed"


def test_colour_is_not_alone(page: Page) -> None:
    """Each class has its own sign and its word."""
    fields = [field.text.split() for field in page.all("#matrix tr td:nth-child(3) button")]
    assert len({signs[0] for signs in fields}) == len({signs[1] for signs in fields}) == 6


@pytest.mark.parametrize(
    ("box", "left", "rules"),
    [("float32", 18, 6), ("jax", 24, 6), ("BIT", 10, 5)],
)
def test_filters(page: Page, box: str, left: int, rules: int) -> None:
    page.one(f"input[value={box}]").click()
    assert page.text("#counted") == f"{left} of 36 cells shown."
    assert len(page.all("#matrix tbody tr")) == rules
    assert len(page.all("#matrix thead th")) == (4 if box == "jax" else 5)
    page.one(f"input[value={box}]").click()
    assert page.text("#counted") == ""


def test_the_rule_filter_and_nothing_left(page: Page) -> None:
    page.one("#rule").send_keys("RULE_3")
    assert [th.text for th in page.all("#matrix tbody th")] == ["rule_3"]
    page.one("#rule").send_keys("x")
    assert page.text("#matrix tbody") == "No cell is left: choose more above."


def test_a_click_opens_the_worst_case(page: Page) -> None:
    page.one("[aria-label^='rule_1, jax']").click()
    shown = page.text("#details")
    for part in (
        "rule_1 in jax", "optloom conform rule_1 -t jax -d float32 --numerics strict", "m at t = 10: corpus update/001",
        "element [1, 2] of a tensor of shape [8, 6]", "0x1.0000000000000p-1074", "5e-324", "-1.7976931348623157e+308",
        "-1.8750000000000000000000000000001e-1", "-0x1.8000000000000p-3", "-0.1875", "1.10", "0.001", "amsgrad",
    ):  # fmt: skip
        assert part in shown, part
    assert len(page.all("#details .list tbody tr button")) == 2
    page.all("#details .list tbody tr button")[1].click()
    assert "-d bfloat16" in page.text("#details .command code")


def test_a_failure_says_why_and_is_no_markup(page: Page) -> None:
    page.one("[aria-label^='rule_5, jax']").click()
    assert page.text("#worst .note") == MARKUP
    assert page.run("return document.title") == "Conformance: failed"
    assert not page.all("#worst b")


def test_histograms(page: Page) -> None:
    figures = [figure.text.splitlines()[0] for figure in page.all("figure")]
    assert figures == [
        "bfloat16 1,700 results, 63.0 % off by less than half a unit",
        "float32 1,700 results, 63.0 % off by less than half a unit",
    ]
    heights = [float(bar.get_attribute("height")) for bar in page.all("figure:first-child rect")]
    assert len(heights) == 20 and sorted(heights)[-4:] == sorted(h for h in heights if h)
    page.one("input[value=float32]").click()
    assert len(page.all("figure")) == 1


def test_the_keyboard_reaches_everything(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    page.run("document.querySelector('[aria-label^=\"rule_0, jax\"]').focus()")
    page.press(Keys.ARROW_RIGHT)
    assert page.focused().startswith("rule_0, numpy")
    page.press(Keys.ARROW_DOWN)
    assert page.focused().startswith("rule_1, numpy")
    page.press(Keys.ARROW_LEFT)
    page.press(Keys.ARROW_LEFT)  # nothing to the left: it stays
    assert page.focused().startswith("rule_1, jax")
    page.press(Keys.ENTER)
    assert page.run("return document.getElementById('details').open")
    page.press(Keys.ESCAPE)
    assert not page.run("return document.getElementById('details').open")
    assert page.focused().startswith("rule_1, jax")


def test_tab_goes_through_the_page_in_order(page: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    stops = []
    for _ in range(15):
        page.press(Keys.TAB)
        stops.append(page.run("const e = document.activeElement; return e.value || e.name || e.className"))
    assert stops == [
        "skip", "bfloat16", "float32", "cpp", "jax", "numpy", "pytorch", "FAIL", "DEV", "FTZ", "BOUND", "BIT", "SKIP",
        "rule", "field BIT",
    ]  # fmt: skip


def test_narrow_screens(page: Page) -> None:
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": NARROW[0], "height": NARROW[1], "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
        assert page.run("const m = document.querySelector('.scroll'); return m.scrollWidth <= m.clientWidth")
        page.one("[aria-label^='rule_1, jax']").click()
        assert page.run("return document.documentElement.scrollWidth <= innerWidth")
        assert page.run("const d = document.getElementById('details'); return d.scrollWidth <= d.clientWidth")
        cells = "return [...document.querySelectorAll('.facts th, .facts td')]"
        wide = ".filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
        assert page.run(cells + wide) == [], "over what stands beside it"
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_contrast_in_the_light_and_in_the_dark(page: Page) -> None:
    """Every field and the text around it: at least 4.5 to 1, as WCAG asks for."""
    script = """
      const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(x => x / 255)
        .map(x => x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
      const under = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
      return [...document.querySelectorAll(".field, .hint, #matrix th, .chip, figcaption span, .mark")].map(e => {
        const [a, b] = [light(getComputedStyle(e).color), light(under(e))].sort((x, y) => y - x);
        return (a + .05) / (b + .05); });"""
    for scheme in ("light", "dark"):
        page.browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        ratios = page.run(script)
        assert len(ratios) > 40 and min(ratios) >= 4.5, (scheme, min(ratios))
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_it_loads_nothing_and_logs_nothing(page: Page) -> None:
    assert (
        page.run("return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    )
    assert [entry for entry in page.browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_all_rules_are_under_3_mb_and_interactive(browser: Any, tmp_path: Path) -> None:
    """About as many cells as the whole suite has, no two with the same worst case."""
    cells = [
        cell(f"rule_{rule}/variant-{variant}/{target}/mode-{mode}/{numerics}/{dtype}/{part}", ratio=0.001 * variant)
        for rule in range(14)
        for target in ("cpp", "cuda", "jax", "numpy", "pytorch", "tensorflow")
        for variant in range(4)
        for mode in range(2)
        for numerics in ("strict", "fast")
        for dtype in ("float16", "bfloat16", "float32", "float64")
        for part in ("step", "run")[: 1 + (variant == 0)]
    ]
    for number, made in enumerate(cells):
        made["worst"]["actual"], made["histogram"]["0"] = float(number).hex(), number
    saved, file = tmp_path / "run.json", tmp_path / "page.html"
    saved.write_text(json.dumps(run(cells)))
    file.write_text(html(load([saved])), encoding="utf-8")
    assert len(cells) > 6000 and file.stat().st_size < 3e6
    took = "return performance.getEntriesByName('interactive')[0].startTime / 1000"
    seconds = min(Page(browser, file).run(took) for _ in range(3))
    print(f"{len(cells)} cells: {file.stat().st_size / 1e6:.2f} MB, interactive after {seconds:.2f} s")
    assert seconds < 1

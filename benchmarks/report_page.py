"""The report's page in a browser: how large it is, and how soon one can use it.

Over what `optloom conform --json` wrote into FILEs, or over a quick run of all rules. Debian's chromium opens the page
without a window: until its script is done, until it is painted, and from the press of a filter to the next frame. The
median of five. Run: `python benchmarks/report_page.py [FILE...]`; exit status 1 if a figure is over its limit.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from optloom.codegen.report import html, load
from selenium import webdriver

RUNS = 5
MEGABYTES, SECONDS = 3.0, 1.0
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900")
STARTED = """const marks = performance.getEntriesByType("paint").concat(performance.getEntriesByName("interactive"));
return Object.fromEntries(marks.map(mark => [mark.name, mark.startTime / 1000]));"""
PRESSED = """const told = arguments[0], start = performance.now();
document.querySelector("#filters input").click();
requestAnimationFrame(() => setTimeout(() => told((performance.now() - start) / 1000)));"""


def measured(browser: Any, page: Path) -> dict[str, float]:
    """Seconds from asking for the page to its script's end and to its first painting, and of one press."""
    browser.get(page.as_uri())
    pressed: float = browser.execute_async_script(PRESSED)
    started: dict[str, float] = browser.execute_script(STARTED)
    return {
        "interactive": started["interactive"], "painted": started["first-contentful-paint"], "a filter": pressed,
    }  # fmt: skip


def quick_run(folder: Path) -> Path:
    """The file of a quick run of all rules in all targets."""
    file = folder / "conformance.json"
    with file.open("w") as out:
        subprocess.run([sys.executable, "-m", "optloom.codegen", "conform", "--quick", "--json"], stdout=out)
    return file


def main(files: list[Path]) -> int:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS:
        options.add_argument(flag)
    with tempfile.TemporaryDirectory() as name:
        run, page = load(files or [quick_run(Path(name))]), Path(name) / "page.html"
        page.write_text(html(run), encoding="utf-8")
        browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            rounds = [measured(browser, page) for _ in range(RUNS)]
        finally:
            browser.quit()
        size = page.stat().st_size / 1e6
    times = {what: median(each[what] for each in rounds) for what in rounds[0]}
    print(f"{len(run.cells)} cells, {len(run.rules)} rules: {size:.2f} MB (limit {MEGABYTES:.0f})")
    for what, took in times.items():
        print(f"{what:<12} {took:5.2f} s (limit {SECONDS:.0f})")
    return int(size > MEGABYTES or max(times.values()) > SECONDS)


if __name__ == "__main__":
    sys.exit(main([Path(file) for file in sys.argv[1:]]))

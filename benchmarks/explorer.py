"""`python -m benchmarks.explorer report.html`: how fast a page's model answers in chromium."""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

ROOT = "document.getElementById('explorer-root').dataset"
PATIENCE = 60  # seconds
CLICKED = 20  # images
STROKE = 300  # movements of the pen, as fast as the driver sends them


def driver() -> webdriver.Chrome:
    """Debian's chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for option in ("--headless=new", "--no-sandbox", "--window-size=1280,1400"):
        options.add_argument(option)
    return webdriver.Chrome(
        options=options, service=webdriver.ChromeService("/usr/bin/chromedriver")
    )


class Page:
    """A page that is open, and the seconds that it takes."""

    def __init__(self, chromium: webdriver.Chrome, page: Path):
        self.chromium = chromium
        begun = time.perf_counter()
        chromium.get(f"{page.resolve().as_uri()}#explore?mode=look")
        self.wait(lambda: self.read("ready") == "true")
        self.decoded = time.perf_counter() - begun
        self.wait(lambda: self.read("took") is not None)

    def read(self, name: str) -> str | None:
        found: str | None = self.chromium.execute_script(f"return {ROOT}.{name} ?? null")
        return found

    def wait(self, happens: Callable[[], bool]) -> None:
        end = time.perf_counter() + PATIENCE
        while not happens():
            if time.perf_counter() > end:
                raise TimeoutError(f"the page was not done after {PATIENCE} s")
            time.sleep(0.002)

    def first_paint(self) -> float:
        """Seconds from the navigation to the first paint."""
        paints = "return performance.getEntriesByType('paint')[0].startTime"
        return float(self.chromium.execute_script(paints)) / 1000

    def click(self, selector: str) -> None:
        found = self.chromium.find_element(By.CSS_SELECTOR, selector)
        self.chromium.execute_script("arguments[0].click()", found)

    def clicked(self, image: int) -> tuple[float, float]:
        """Seconds from a click on an image to its numbers, and those in the worker alone."""
        before, begun = self.read("answers"), time.perf_counter()
        self.click(f'[data-image="{image}"]')
        self.wait(lambda: self.read("answers") != before)
        return time.perf_counter() - begun, float(self.read("took") or math.nan) / 1000

    def drawn(self) -> float:
        """Answers a second while a pen moves in a growing circle."""
        self.click("[value=draw]")
        self.click("[data-clear]")
        editor = self.chromium.find_element(By.CSS_SELECTOR, ".ex-editor")
        self.chromium.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", editor
        )
        hand = ActionChains(self.chromium, duration=0).move_to_element(editor).click_and_hold()
        places = [(k / 4 * math.cos(k / 4), k / 4 * math.sin(k / 4)) for k in range(STROKE)]
        at = (0, 0)
        for across, down in places:
            to = round(across), round(down)
            hand.move_by_offset(to[0] - at[0], to[1] - at[1]).pause(0.01)
            at = to
        before, begun = int(self.read("answers") or 0), time.perf_counter()
        hand.release().perform()
        return (int(self.read("answers") or 0) - before) / (time.perf_counter() - begun)


def main() -> None:
    """Measure one page and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "page", type=Path, help="the report.html of a run with two latent dimensions"
    )
    page_file = parser.parse_args().page
    chromium = driver()
    try:
        page = Page(chromium, page_file)
        clicks = [page.clicked(image) for image in range(1, CLICKED)]
        shown, worked = (sorted(seconds) for seconds in zip(*clicks, strict=True))
        print(f"first paint {page.first_paint():.2f} s; plane decoded after {page.decoded:.1f} s")
        for name, seconds in (("a clicked image, shown", shown), ("of which the worker", worked)):
            print(f"{name}: median {1e3 * statistics.median(seconds):.0f} ms, ", end="")
            print(f"slowest of {len(seconds)}: {1e3 * seconds[-1]:.0f} ms")
        print(f"while drawing: {page.drawn():.0f} answers a second")
    finally:
        chromium.quit()


if __name__ == "__main__":
    main()

"""A real browser for tests of pages: Debian's chromium without a window and without a network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

# Chromium refuses its sandbox to root, and /dev/shm of a container is small. No name is looked up,
# and the proxy for all but files is a port on which nobody listens: a fetch fails and is told.
OPTIONS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--proxy-server=127.0.0.1:9",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
]


class Browser:
    """Chromium as a person has it, by its driver; `driver` is selenium's."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1280, height: int = 900, fragment: str = "") -> None:
        """Load a file by file://, in a view of width × height CSS pixels."""
        self.size(width, height)
        address = page.resolve().as_uri() + (f"#{fragment}" if fragment else "")
        self.driver.get("about:blank")  # so that a change of the fragment alone loads it again
        self.driver.get(address)

    def size(self, width: int, height: int) -> None:
        """Set the view's size in CSS pixels; a phone's width too, which a window cannot have."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def dark(self, on: bool) -> None:
        """Say which colours the person prefers."""
        value = "dark" if on else "light"
        self.command(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": value}],
        )

    def command(self, name: str, **arguments: Any) -> Any:
        """Send a command of the browser's developer protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def js(self, expression: str, *arguments: Any) -> Any:
        """The value of a JavaScript expression; `arguments[0]` is the first of the arguments."""
        return self.driver.execute_script(f"return ({expression})", *arguments)

    def console(self) -> list[str]:
        """What the console was told since the last call, errors and refused fetches too."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def shot(self, file: Path) -> None:
        """Save a picture of the view."""
        self.driver.save_screenshot(str(file))


@contextmanager
def started() -> Iterator[Browser]:
    """A fresh chromium, closed at the end; the test is skipped if none is installed."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("no browser at hand: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    driver.set_page_load_timeout(60)
    driver.set_script_timeout(60)
    try:
        yield Browser(driver)
    finally:
        driver.quit()

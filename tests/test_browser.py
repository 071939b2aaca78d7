"""The browser that tests of pages use: offline, and it tells what a page's console was told."""

from pathlib import Path

import browser as browsers
import pytest

pytestmark = pytest.mark.slow


def page(folder: Path, body: str) -> Path:
    file = folder / "page.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><title>a page</title>{body}", "utf-8")
    return file


def test_a_page_is_seen_at_the_size_and_in_the_colours_that_are_asked_for(
    browser: browsers.Browser, tmp_path: Path
) -> None:
    file = page(tmp_path, "<h1>here</h1>")
    for width in (360, 1920):
        browser.open(file, width=width, fragment="part")
        assert browser.js("innerWidth") == width
    assert browser.js("location.hash") == "#part"
    browser.dark(True)
    assert browser.js("matchMedia('(prefers-color-scheme: dark)').matches")
    browser.shot(tmp_path / "seen.png")
    assert (tmp_path / "seen.png").read_bytes().startswith(b"\x89PNG")


def test_errors_and_fetches_are_found_in_the_console(
    browser: browsers.Browser, tmp_path: Path
) -> None:
    browser.open(page(tmp_path, "<script>undefinedName()</script>"))
    assert "undefinedName" in "".join(browser.console())
    browser.open(page(tmp_path, "<img src='http://example.org/a.png'>"))
    assert "ERR_" in "".join(browser.console())

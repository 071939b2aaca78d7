"""The page of a run in a real browser: every size, both colours, keyboard, print, no network."""

import shutil
from itertools import pairwise
from pathlib import Path

import browser as browsers
import pytest
from test_report import ATTACK, examined

from vae_exp import folders
from vae_exp.report import run_page
from vae_exp.report.document import Addition, Section, document
from vae_exp.report.markup import paragraph
from vae_exp.runs import loading
from vae_exp.runs.metrics import read_metrics, write_metrics

pytestmark = pytest.mark.slow

# Of every text that can be seen: its contrast to the first background behind it that is opaque.
CONTRASTS = """
(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const seen = walker.currentNode.data.trim() && element.checkVisibility();
    if (!seen || element.closest("script, #explorer, [disabled]")) continue;
    const style = getComputedStyle(element);
    const ink = channels(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${walker.currentNode.data.slice(0, 60)}`);
  }
  return found;
})()
"""


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which much is known."""
    return examined(finished_run, tmp_path_factory.mktemp("examined") / "run")


@pytest.fixture(scope="module")
def page(run: Path) -> Path:
    """Its page, alone: no other file of the run lies beside it."""
    written = run_page.write(loading.load(str(run)))
    alone = run.with_name("alone") / folders.REPORT
    alone.parent.mkdir()
    return Path(shutil.move(written, alone))


def test_it_fits_every_screen(browser: browsers.Browser, page: Path) -> None:
    for width in (360, 1280, 1920):
        browser.open(page, width=width)
        assert browser.js("document.documentElement.scrollWidth") == width
        assert browser.js("document.images.length") > 0
        assert browser.js("[...document.images].every((image) => image.naturalWidth > 0)")


def test_headings_are_in_order_and_lead_to_every_part(
    browser: browsers.Browser, page: Path
) -> None:
    browser.open(page)
    levels = browser.js("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    links = browser.js("[...document.querySelectorAll('nav a')].map((a) => a.hash.slice(1))")
    parts = browser.js("[...document.querySelectorAll('main > section')].map((part) => part.id)")
    assert links == parts
    pictures = "main > section:not(#explorer) :is(img, [role=img])"
    named = browser.js(
        f"[...document.querySelectorAll({pictures!r})].map((x) => x.alt || x.ariaLabel)"
    )
    assert len(named) > 5
    assert all(named)
    ids = browser.js("[...document.querySelectorAll('[id]')].map((x) => x.id)")
    assert len(ids) == len({*ids})


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out(browser: browsers.Browser, page: Path, dark: bool) -> None:
    browser.dark(dark)
    browser.open(page)
    assert browser.js(CONTRASTS) == []
    paper = browser.js("getComputedStyle(document.body).backgroundColor")
    assert (int(paper[4:].partition(",")[0]) < 128) == dark


def test_the_keyboard_reaches_the_content(browser: browsers.Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.js("document.activeElement.className") == "skip"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.js("location.hash") == "#content"
    assert browser.js("document.activeElement.id") == "content"


def test_it_prints_on_more_than_one_sheet(browser: browsers.Browser, page: Path) -> None:
    browser.open(page)
    assert len(browser.driver.print_page()) > 10_000
    browser.command("Emulation.setEmulatedMedia", media="print")
    assert not browser.js("document.querySelector('nav').checkVisibility()")
    browser.command("Emulation.setEmulatedMedia", media="")


def test_a_run_with_a_script_for_a_name_runs_nothing(
    browser: browsers.Browser, run: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "run"
    shutil.copytree(run, hostile)
    metrics = read_metrics(hostile)
    metrics["run"]["name"] = metrics["data"]["notice"] = ATTACK
    write_metrics(hostile, metrics)
    browser.open(run_page.write(loading.load(str(hostile))))
    assert browser.js("document.querySelector('h1').textContent") == f"Run {ATTACK}"
    assert browser.js("document.title") == f"Run {ATTACK}"


def test_the_policy_forbids_every_fetch_and_every_other_script(
    browser: browsers.Browser, tmp_path: Path
) -> None:
    tries = """
    fetch("https://example.org/").catch(() => {});
    new Image().src = "https://example.org/a.png";
    document.body.append(Object.assign(document.createElement("script"), {text: "window.ran = 1"}));
    try { eval("window.ran = 2"); } catch (error) { window.refused = error.name; }
    """
    file = tmp_path / "page.html"
    section = Section("s", "t", paragraph("b"))
    file.write_bytes(document("t", paragraph("l"), [section], Addition(scripts=(tries,))))
    browser.open(file)
    assert browser.js("window.ran || window.refused") == "EvalError"
    told = browser.console()
    for rule in ("connect-src", "img-src", "script-src"):
        assert any(rule in line or "default-src" in line for line in told), rule
    assert not any("ERR_" in line for line in told), told  # nothing has come as far as a network


def test_the_model_is_alive_in_it(browser: browsers.Browser, page: Path) -> None:
    browser.open(page)
    assert browser.js("document.querySelectorAll('#explorer-root *').length") > 10

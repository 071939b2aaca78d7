"""The explorer in a real browser: its numbers are Python's, and it does what a person asks."""

import base64
import json
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import browser as browsers
import numpy as np
import pytest
import torch
from small_models import binary_images, small
from torch import Tensor

from vae_exp.evaluation import exact
from vae_exp.models.likelihoods import GaussianLikelihood
from vae_exp.models.networks import ConvolutionalEncoder
from vae_exp.models.posteriors import MixtureFamily
from vae_exp.models.priors import MixtureOfGaussians
from vae_exp.models.vae import VAE
from vae_exp.report import explorer
from vae_exp.report.document import Addition, Section, document, embedded
from vae_exp.report.live import DATA, ID, ROOT, START
from vae_exp.report.markup import tag
from vae_exp.runs.loading import load

IMAGES = 40
PATIENCE = 20  # seconds


def written(folder: Path, payload: dict[str, Any]) -> Path:
    """A page with the explorer alone, under the policy of every page."""
    classless = {"labels": None, "classes": {}, "color": "#3f90da", "origin": "test"}
    data = embedded(DATA, json.dumps({**classless, **payload}))
    section = Section(ID, "The model", tag("div", id=ROOT))
    addition = Addition(explorer.style(), data, (explorer.script(), START))
    page = folder / "page.html"
    page.write_bytes(document("A model", tag("p"), [section], addition))
    return page


@pytest.fixture(scope="module")
def model() -> VAE:
    return small()


@pytest.fixture(scope="module")
def page(model: VAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    x = binary_images(IMAGES)
    return written(tmp_path_factory.mktemp("page"), explorer.of_model(model, x))


class Hand:
    """What a person does with the page, and reads there."""

    def __init__(self, browser: browsers.Browser):
        self.browser = browser
        self.wait_for(lambda: self.root("ready") == "true" and self.number("log_p_x") is not None)

    def root(self, name: str) -> Any:
        return self.browser.js(f"document.getElementById('{ROOT}').dataset.{name}")

    def find(self, selector: str) -> Any:
        return self.browser.driver.find_element("css selector", selector)

    def click(self, selector: str) -> None:
        self.browser.js("arguments[0].click()", self.find(selector))

    def number(self, name: str) -> float | None:
        cell = self.browser.js(f"document.querySelector('[data-number={name}]')?.dataset.value")
        return None if cell is None else float(cell)

    def pointed(self) -> str:
        """What the page says of the z under the pointer."""
        words = "document.querySelector('[data-frame=pointed]').textContent"
        told: str = self.browser.js(words)
        return told

    def state(self) -> dict[str, str]:
        """What the address says, which follows a moment later."""
        self.wait_for(lambda: self.root("saving") == "false")
        words = parse_qs(self.browser.js("location.hash").partition("?")[2])
        return {name: value for name, [value] in words.items()}

    def wait_for(self, happens: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not happens():
            assert time.monotonic() < end
            time.sleep(0.03)

    def reads(self, name: str, expected: float, tolerance: float = 1e-3) -> None:
        """Wait until a number is the one that is expected."""

        def near() -> bool:
            number = self.number(name)
            return number is not None and abs(number - expected) < tolerance

        self.wait_for(near)

    def mouse(self, selector: str, across: float, down: float) -> Any:
        """A mouse over a place of an element, from 0 to 1 each way."""
        from selenium.webdriver import ActionChains

        element = self.find(selector)
        self.browser.js("arguments[0].scrollIntoView({block: 'center'})", element)
        size = element.size
        right, below = (across - 0.5) * size["width"], (down - 0.5) * size["height"]
        hand = ActionChains(self.browser.driver, duration=50)
        return hand.move_to_element_with_offset(element, round(right), round(below))


@pytest.fixture
def hand(browser: browsers.Browser, page: Path) -> Hand:
    browser.open(page)
    return Hand(browser)


def log_p(model: VAE, x: Tensor, seen: Tensor | None = None) -> float:
    pixels = None if seen is None else seen.nonzero().flatten()
    part = x if seen is None else x[seen]
    return exact.evidence(model, part[None], pixels).log_p_x.item()


def bits(text: str, count: int) -> Tensor:
    packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return torch.from_numpy(np.unpackbits(np.frombuffer(packed, np.uint8))[:count].copy()).float()


@pytest.mark.slow
def test_a_click_on_a_thumbnail_or_on_the_plane_shows_that_image(hand: Hand, model: VAE) -> None:
    x = binary_images(IMAGES)
    hand.reads("log_p_x", log_p(model, x[0]))
    hand.click('[data-image="3"]')
    hand.reads("log_p_x", log_p(model, x[3]))
    assert hand.state()["image"] == "3"
    with torch.no_grad():
        means = model.posterior(x).mean
    lonely = int(torch.cdist(means, means).fill_diagonal_(9).amin(1).argmax())
    across, up = (0.5 + means[lonely] / 9).tolist()
    hand.mouse(".ex-plane", across, 1 - up).click().perform()
    hand.reads("log_p_x", log_p(model, x[lonely]))
    gap = hand.number("log_p_x") - hand.number("elbo")  # type: ignore[operator]
    hand.reads("gap", gap, 1e-9)
    hand.click("[data-fit]")
    hand.wait_for(lambda: hand.number("best") is not None)
    assert hand.number("elbo") - 1e-2 <= hand.number("best") <= hand.number("log_p_x") + 1e-2  # type: ignore[operator]


@pytest.mark.slow
def test_the_largest_gaps_come_first(hand: Hand, model: VAE) -> None:
    told = "[...document.querySelectorAll('.ex-thumb small')].map(gap => Number(gap.textContent))"
    hand.click("[data-worst]")
    hand.wait_for(lambda: not hand.find("[data-worst]").get_property("disabled"))
    gaps = hand.browser.js(told)
    assert len(gaps) == 20
    assert gaps == sorted(gaps, reverse=True)
    hand.click(".ex-thumb")
    hand.reads("gap", gaps[0], 0.06)
    shown = binary_images(IMAGES)[int(hand.state()["image"])]
    hand.reads("log_p_x", log_p(model, shown))


@pytest.mark.slow
def test_a_drawing_is_scored_while_it_is_drawn_and_has_an_address(
    hand: Hand, model: VAE, browser: browsers.Browser, page: Path
) -> None:
    hand.click("[value=draw]")
    before = hand.root("answers")
    hand.mouse(".ex-editor", 0.2, 0.2).click_and_hold().move_by_offset(120, 60).perform()
    hand.wait_for(lambda: hand.root("answers") != before)
    hand.mouse(".ex-editor", 0.8, 0.6).release().perform()
    drawn = bits(hand.state()["drawn"], model.pixels)
    assert not torch.equal(drawn, binary_images(1)[0])
    expected = log_p(model, drawn)
    hand.reads("log_p_x", expected)
    hand.find(".ex-editor").send_keys(" ")
    toggled = bits(hand.state()["drawn"], model.pixels)
    assert (toggled - drawn).abs().sum() == 1
    hand.reads("log_p_x", log_p(model, toggled))
    browser.open(page, fragment=browser.js("location.hash").removeprefix("#"))
    Hand(browser).reads("log_p_x", log_p(model, toggled))


@pytest.mark.slow
def test_hidden_pixels_are_foretold(hand: Hand, model: VAE) -> None:
    x = binary_images(1)[0]
    hand.click("[value=hide]")
    hand.click("[data-mask=left]")
    state = hand.state()
    seen = bits(state["seen"], model.pixels).bool()
    assert torch.equal(seen, torch.tensor([True, False, False]).repeat(4))
    visible = log_p(model, x, seen)
    hand.reads("log_p_x", visible)
    hand.reads("log_p_hidden", log_p(model, x) - visible, 1e-2)
    shown = "[...document.querySelectorAll('.ex-completions canvas')].filter(c => c.offsetWidth)"
    assert hand.browser.js(f"{shown}.length") == 8
    assert hand.number("elbo") is None
    hand.click("[data-mistake]")
    hand.wait_for(lambda: hand.number("elbo") is not None)
    assert hand.number("elbo") < visible  # type: ignore[operator]


@pytest.mark.slow
def test_the_plane_is_moved_by_mouse_and_keys(hand: Hand) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
    from selenium.webdriver.common.keys import Keys

    plane = ScrollOrigin.from_element(hand.find(".ex-plane"))
    ActionChains(hand.browser.driver).scroll_from_origin(plane, 0, -300).perform()
    x, y, span = map(float, hand.state()["view"].split(","))
    assert span < 9
    hand.mouse(".ex-plane", 0.5, 0.5).click_and_hold().move_by_offset(60, 0).release().perform()
    dragged = list(map(float, hand.state()["view"].split(",")))
    assert dragged[0] < x
    assert dragged[1:] == [y, span]
    told = hand.pointed()
    hand.find(".ex-plane").send_keys("+", Keys.ARROW_UP, Keys.ARROW_UP)
    assert float(hand.state()["view"].split(",")[2]) == pytest.approx(0.8 * span, rel=1e-3)
    hand.wait_for(lambda: hand.pointed() != told)


@pytest.mark.slow
def test_two_fingers_zoom_and_one_draws(hand: Hand, model: VAE) -> None:
    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
        hand.browser.command("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def box(selector: str) -> list[float]:
        hand.mouse(selector, 0.5, 0.5)  # it is scrolled into view
        found: list[float] = hand.browser.js(
            "(b => [b.left, b.top, b.width])(arguments[0].getBoundingClientRect())",
            hand.find(selector),
        )
        return found

    left, top, _ = box(".ex-plane")
    touch("touchStart", (left + 100, top + 150), (left + 200, top + 150))
    for step in range(1, 6):
        touch("touchMove", (left + 100 - 10 * step, top + 150), (left + 200 + 10 * step, top + 150))
    touch("touchEnd")
    assert float(hand.state()["view"].split(",")[2]) == pytest.approx(4.5, rel=0.05)
    hand.click("[value=draw]")
    hand.click("[data-clear]")
    left, top, width = box(".ex-editor")
    touch("touchStart", (left + width / 6, top + 10))
    touch("touchMove", (left + width / 2, top + 10))
    touch("touchEnd")
    drawn = bits(hand.state()["drawn"], model.pixels)
    assert drawn[:2].tolist() == [1, 1]
    hand.reads("log_p_x", log_p(model, drawn))


@pytest.mark.slow
def test_a_walk_leads_from_mean_to_mean(hand: Hand, model: VAE) -> None:
    hand.click("[value=walk]")
    hand.click('[data-image="5"]')
    with torch.no_grad():
        means = model.posterior(binary_images(6)).mean
    middle = ((means[0] + means[5]) / 2).tolist()
    there = f"({middle[0]:.2f}, {middle[1]:.2f})".replace("-", "−")
    hand.wait_for(lambda: there in hand.pointed())
    hand.click("[data-draw=prior]")
    z = hand.state()["z"]
    hand.click("[data-draw=posterior]")
    assert hand.state()["z"] != z


@pytest.mark.slow
def test_the_picture_is_saved(hand: Hand, tmp_path: Path) -> None:
    hand.browser.command(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path)
    )
    for kind in ("png", "svg"):
        hand.click(f"[data-save={kind}]")
    png, svg = tmp_path / "posterior.png", tmp_path / "posterior.svg"
    hand.wait_for(lambda: png.is_file() and svg.is_file())
    assert png.read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


@pytest.mark.slow
@pytest.mark.parametrize("dims", [1, 3])
def test_other_numbers_of_latent_dimensions_are_shown(
    browser: browsers.Browser, tmp_path: Path, dims: int
) -> None:
    model, x = small(dims), binary_images(3)
    browser.open(written(tmp_path, explorer.of_model(model, x)))
    if dims == 1:
        Hand(browser).reads("log_p_x", log_p(model, x[0]))
        return
    number = "document.querySelector('[data-number=elbo]')?.dataset.value"
    end = time.monotonic() + PATIENCE
    while browser.js(number) is None:
        assert time.monotonic() < end
    noise = explorer._noise(dims)[:, None]
    with torch.no_grad():
        elbo = model.elbo_terms(x[:1], noise).bound.item()
    assert float(browser.js(number)) == pytest.approx(elbo, abs=1e-3)
    assert browser.js("document.querySelector('[data-number=log_p_x]')") is None


@pytest.mark.slow
def test_the_numbers_of_fifty_images_are_pythons(browser: browsers.Browser, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = VAE()  # the default: 2 to 500 to 784
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.mul_(2.5)
        z = torch.randn(50, 2, generator=draws)
        x = (torch.rand(50, model.pixels, generator=draws) < model.likelihood(z).mean).float()
        noise = explorer._noise(2)[:, None].expand(-1, len(x), -1)
        elbo = model.elbo_terms(x, noise).bound
        seen = torch.arange(model.pixels) < model.pixels // 2
        log_p_x = exact.evidence(model, x).log_p_x
        log_p_visible = exact.evidence(model, x[:, seen], seen.nonzero().flatten()).log_p_x
    browser.open(written(tmp_path, explorer.of_model(model, x)))
    found = browser.js(
        f"""(() => {{
            const modules = explorerModules();
            const payload = JSON.parse(document.getElementById("{DATA}").textContent);
            const inference = new modules.Inference(payload);
            while (!inference.ready) inference.lattice.fill();
            inference.startedTrackers();
            const seen = modules.presetMask("top", payload, 0);
            return Array.from({{ length: payload.count }}, (_, n) => {{
                const x = modules.unpacked(modules.bytesOf(payload.images), n, seen.length);
                const q = modules.encode(inference.model, x);
                const elbo = modules.elboGivenNoise(inference.model, q, x, inference.model.noise);
                const {{ logPx, logPHidden }} = inference.hidden(x, seen, {{}});
                return [logPx, elbo.value, logPHidden];
            }});
        }})()"""
    )
    page = torch.tensor(found, dtype=torch.float64)
    assert (page[:, 0] - log_p_x).abs().max() < 1e-3
    assert (page[:, 1] - elbo).abs().max() < 1e-2
    assert (page[:, 2] - (log_p_x - log_p_visible)).abs().max() < 1e-2


def test_a_run_gives_what_the_page_is_given(finished_run: Path) -> None:
    payload = explorer.explorer(load(str(finished_run)))
    assert payload is not None
    assert len(payload["labels"]) == payload["count"]
    assert {str(label) for label in payload["labels"]} == {*payload["classes"]}
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload


def test_what_the_script_does_not_know_is_told() -> None:
    assert explorer.why_not(small()) is None
    for parts in (
        {"likelihood": GaussianLikelihood()},
        {"prior": MixtureOfGaussians(2)},
        {"posterior": MixtureFamily(2)},
    ):
        assert "knows" in (explorer.why_not(small(**parts)) or "")
    conv = VAE(2, ConvolutionalEncoder(), shape=(28, 28))
    assert "fully connected" in (explorer.why_not(conv) or "")

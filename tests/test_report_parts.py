"""What pages are made of: tags, numbers, curves, pictures."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_report import Elements, noise
from torch.utils.tensorboard import SummaryWriter

from vae_exp import folders
from vae_exp.report import (
    chart,
    curves,
    markdown,
    numbers,
)
from vae_exp.report.chart import Series
from vae_exp.report.commands import Commands
from vae_exp.report.document import Addition, Section, document
from vae_exp.report.estimates import mean_and_error
from vae_exp.report.looks import looks_of
from vae_exp.report.markup import paragraph, tag, verbatim
from vae_exp.report.pictures import Pictures, within_budget


@pytest.mark.parametrize(
    ("mean", "stderr", "told"),
    [
        (-101.234, 0.0567, "−101.234 ± 0.057"),
        (1.0, 12.0, "1.00 ± 12.00"),
        (0.0035317, 0.00048301, "0.00353 ± 0.00048"),
        (2.0, float("nan"), "2.00"),
        (2.0, 0.0, "2.00 ± 0.00"),
    ],
)
def test_an_error_has_two_digits_that_count(mean: float, stderr: float, told: str) -> None:
    assert mean_and_error({"mean": mean, "stderr": stderr}) == told


def test_a_text_that_would_end_its_element_is_refused() -> None:
    for text in ("</style>", "</STYLE >", "<!-- "):
        with pytest.raises(ValueError, match="would end the element"):
            verbatim("style", text)
    page = document("t", paragraph("l"), [Section("s", "t", paragraph("b"))], Addition("p{}"))
    assert b"p{}" in page


def test_elements_are_written_as_html_has_them() -> None:
    assert tag("p", "a<b", None, tag("b", "&")) == "<p>a&lt;b<b>&amp;</b></p>"
    written = tag("img", alt='"', aria_label="x", class_="c", hidden=True, width=None)
    assert written == '<img alt="&quot;" aria-label="x" class="c" hidden>'
    assert tag("p", "a\x00b\x1b") == "<p>a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}</p>"


def test_pictures_are_made_smaller_until_they_fit_and_no_further() -> None:
    pictures = {"a.png": noise(1400, 300), "b.png": noise(1400, 200, 1), "c.png": noise(40, 40)}
    size = sum(map(len, pictures.values()))
    assert within_budget(pictures, size) == pictures
    fewer = within_budget(pictures, size - 1)
    assert fewer["b.png"] == pictures["b.png"]
    assert Image.open(io.BytesIO(fewer["a.png"])).size == (1400, 300)
    least = within_budget(pictures, size // 8)
    assert sum(map(len, least.values())) <= size // 8
    assert Image.open(io.BytesIO(least["a.png"])).size == (700, 150)


def test_curves_are_those_that_were_logged(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for epoch in range(3):
            writer.add_scalar("train/elbo", -300 + 50 * epoch, 10 * epoch + 9)
            writer.add_scalar("val/elbo", -290 + 50 * epoch, 10 * epoch + 9)
            writer.add_text("config", "x" * 40_000, epoch)
        writer.add_scalar("val/kl", 5.5, 29)
    scalars = curves.read(tmp_path)
    assert scalars["val/elbo"] == [(9, -290.0), (19, -240.0), (29, -190.0)]
    assert curves.steps_per_epoch(scalars) == ("epoch", 10)
    found = Elements(document("t", paragraph(), [curves.section(tmp_path)]))
    [elbo, kl] = found.all("svg")
    assert "validation from −290.00 to −190.00" in (elbo["aria-label"] or "")
    assert "KL(q(z | x) ‖ p(z)) by epoch" in (kl["aria-label"] or "")
    assert "−240.00" in found.text("span")
    [file] = tmp_path.glob(folders.EVENTS)
    file.write_bytes(file.read_bytes()[:-3])
    assert "val/kl" not in curves.read(tmp_path)
    file.write_bytes(b"\x05" + bytes(11) + b"\xff" * 9)
    assert "is damaged" in curves.section(tmp_path).body


def test_a_run_without_event_files_says_what_would_have_kept_curves(tmp_path: Path) -> None:
    assert "logger=tensorboard" in curves.section(tmp_path).body


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-251.3, -118.2), (3.2e-5, 3.3e-5), (-1.0, 1e6)]
)
def test_ticks_are_few_round_numbers_between_the_ends(low: float, high: float) -> None:
    found = chart.ticks(low, high)
    assert 2 <= len(found) <= 7
    assert low - 1e-9 * abs(low) <= found[0] < found[-1] <= high + 1e-9 * abs(high)
    steps = np.diff(found)
    assert steps == pytest.approx(steps[0])
    assert chart.ticks(1, 3, whole=True) == [1, 2, 3]


def test_the_steep_start_of_a_long_curve_may_leave_the_frame() -> None:
    rising = [(step, -100 - 400 * 0.5**step) for step in range(40)]
    low, high, cut = chart.limits([Series("a", rising)])
    assert cut
    assert -130 < low < high
    low, _, cut = chart.limits([Series("a", rising[:5])])
    assert not cut
    assert low < -500
    assert chart.limits([Series("a", [(0, 2.0)])])[:2] == pytest.approx((1.998, 2.002))


def test_the_markdown_of_a_summary_is_read_as_it_is_written() -> None:
    page = markdown.read("# T\n\nlead\n\n## S\n\n- `a<b` x\n- **c**\n\nend `d`\n")
    assert (page.title, page.lead) == ("T", "<p>lead</p>")
    [(title, body)] = page.sections
    assert title == "S"
    assert body == (
        "<ul><li><code>a&lt;b</code> x</li><li><strong>c</strong></li></ul>"
        "<p>end <code>d</code></p>"
    )


def test_a_part_of_an_evaluation_is_told_and_what_it_left_out_is_still_offered(
    tmp_path: Path,
) -> None:
    exact = {"mean": -204.5, "stderr": 7.2, "images": 50, "estimator": "quadrature"}
    some = {"settings": {"parts": ["exact"]}, "estimates": {}, "exact": exact}
    metrics = {"test": {}, "analyses": {"evaluate_parts-exact": some}}
    looks, commands = looks_of(metrics), Commands(tmp_path)
    tiles = str(numbers.tiles(metrics, looks, commands))
    assert "−204.5" in tiles
    assert tiles.count("not computed") == 1  # the gap
    gap = str(numbers.gap(looks, Pictures(tmp_path, looks), commands).body)
    assert "The gap was not measured" in gap
    assert "<table" not in gap


def test_a_mean_that_was_told_from_a_part_of_the_images_says_so(tmp_path: Path) -> None:
    told = {"mean": -145.4, "stderr": 0.6, "images": 500, "of_images": 10_000, "samples": 1000}
    metrics = {
        "test": {},
        "analyses": {"evaluate": {"estimates": {"IWAE-1000": told}, "gap": {"amortisation": told}}},
    }
    looks, commands = looks_of(metrics), Commands(tmp_path)
    assert "500 of 10,000" in str(numbers.section(metrics, looks, commands).body)
    gap = str(numbers.gap(looks, Pictures(tmp_path, looks), commands).body)
    assert "500 of 10,000" in gap

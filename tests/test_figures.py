"""Figures show what they are given: every pixel, every point, contours at the mass they claim."""

import io
from itertools import combinations, pairwise
from typing import Literal

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from vae_exp import figures
from vae_exp.analysis import contours
from vae_exp.analysis.gap_shown import gap_figure, gap_means
from vae_exp.figures.page import floats

LONG = ("bundled 8×8 digits brought to 28×28 (not MNIST), threshold > 0.5", "x" * 40, "seed 0") * 2


def dots_of(fig: Figure) -> np.ndarray:
    """The figure's PNG, read back: grey in 0..255, [height, width]."""
    return np.rint(255 * matplotlib.image.imread(io.BytesIO(figures.png(fig)))[..., 0])


def texts_of(fig: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is drawn, and the box that it takes, in dots."""
    fig.canvas.draw()
    texts = set(fig.findobj(Text))
    for ax in fig.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            for tick in axis.get_major_ticks():  # those beyond the limits are never drawn
                if not min(limits) <= tick.get_loc() <= max(limits):
                    texts -= {tick.label1, tick.label2}
    drawn = [text for text in texts if text.get_visible() and text.get_text().strip()]
    # An annotation's extent is the union with its arrow's, of which there are none.
    return [(text.get_text(), Text.get_window_extent(text)) for text in drawn]


def assert_no_text_is_cut_or_covered(fig: Figure) -> None:
    texts = texts_of(fig)
    for text, box in texts:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= fig.bbox.x1 and box.y1 <= fig.bbox.y1
        assert inside, f"{text!r} at {box} leaves {fig.bbox}"
    for (one, its), (other, box) in combinations(texts, 2):
        assert not its.overlaps(box), f"{one!r} and {other!r} overlap"


def test_an_image_is_drawn_pixel_by_pixel_as_ink_on_white():
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 28, 28)) / 255
    fig = figures.image_grid(images, row_labels=("a", "b"), title="t", caption=LONG, breaks=(1,))
    sheet, ax = dots_of(fig), fig.axes[0]
    assert len(ax.images) == 6
    for drawn, image in zip(ax.images, images.reshape(6, 28, 28), strict=True):
        left, right, bottom, top = drawn.get_extent()
        (x0, y0), (x1, y1) = np.rint(ax.transData.transform([(left, bottom), (right, top)]))
        assert (x1 - x0, y1 - y0) == (84, 84)
        cell = sheet[len(sheet) - int(y1) : len(sheet) - int(y0), int(x0) : int(x1)]
        inner = cell.reshape(28, 3, 28, 3).transpose(0, 2, 1, 3)[1:-1, 1:-1]
        ink = 255 * (1 - image[1:-1, 1:-1, None, None])
        assert np.abs(inner - ink).max() <= 1


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_figure_that_is_saved_again_is_the_same_file(kind: Literal["png", "svg", "pdf"]) -> None:
    fig = figures.figure(6.0, 3.0)
    for place, ax in enumerate(fig.subplots(1, 2)):
        ax.plot([0, 1], [0, 10**place])
        ax.legend([f"line {place}"], loc="upper center", bbox_to_anchor=(0.5, -0.2))
    fig.suptitle("a title")
    figures.caption(fig, "a caption", "of two parts")
    style = figures.Style(format=kind)
    one, again, third = (style.file(fig) for _ in range(3))
    assert one == again == third


def test_tensors_and_arrays_are_the_same_picture():
    images = torch.rand(2, 2, 28, 28, generator=torch.Generator().manual_seed(0))
    drawn = figures.png(figures.image_grid(images))
    assert drawn == figures.png(figures.image_grid(images.numpy()))


@pytest.mark.parametrize(
    ("shape", "dots"), [((20, 16), 4), ((8, 12), 7), ((10, 10, 3), 8), ((100, 60), 1)]
)
def test_images_of_any_shape_are_drawn_at_whole_dots_a_pixel(
    shape: tuple[int, ...], dots: int
) -> None:
    images = np.random.default_rng(0).random((1, 2, *shape))
    [ax] = figures.image_grid(images).axes
    for drawn, image in zip(ax.images, images[0], strict=True):
        left, right, bottom, top = drawn.get_extent()
        assert (bottom - top, right - left) == (dots * shape[0], dots * shape[1])
        assert np.array_equal(drawn.get_array(), image)


def test_a_mosaic_of_coloured_images_higher_than_wide_keeps_their_pixels_square() -> None:
    images = np.random.default_rng(0).random((2, 3, 20, 10, 3))
    fig = figures.image_mosaic(images, np.arange(3.0), np.arange(2.0))
    [ax] = fig.axes
    assert ax.images[0].get_array().shape == (40, 30, 3)
    assert np.array_equal(ax.images[0].get_array()[:20, :10], images[1, 0])
    assert ax.get_window_extent().height / 40 == pytest.approx(ax.get_window_extent().width / 30)


def test_more_classes_than_ten_have_colours_of_their_own() -> None:
    labels = np.arange(25) * 40
    [ax] = [figures.figure(5, 5).add_subplot()]
    figures.latent_scatter(ax, np.zeros((25, 2)), labels, lambda label: f"kind {label}")
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [f"kind {i}" for i in labels]
    assert len({handle.get_color() for handle in legend.legend_handles}) == 25


def test_grey_values_do_not_depend_on_what_is_drawn_beside_them():
    fig = figures.image_grid(np.full((1, 1, 28, 28), 0.25))
    (drawn,) = fig.axes[0].images
    assert drawn.norm(0.25) == 0.25


def test_a_break_widens_the_gap_before_its_column_alone():
    fig = figures.image_grid(np.zeros((1, 4, 28, 28)), breaks=(2,))
    edges = [image.get_extent()[:2] for image in fig.axes[0].images]
    first, second, third = (after[0] - before[1] for before, after in pairwise(edges))
    assert first == third < second


def test_a_mosaic_has_x_to_the_right_and_y_upwards():
    xs, ys = np.array([-1.0, 0.0, 1.0]), np.array([5.0, 6.0])
    values = ys[:, None] * 10 + xs  # [2, 3]
    images = values[..., None, None] * np.ones((28, 28)) / 100
    fig = figures.image_mosaic(images, xs, ys, title="t", caption=LONG)
    sheet = fig.axes[0].images[0].get_array()
    assert sheet.shape == (56, 84)
    assert np.allclose(sheet[-1, [0, 28, 56]], [0.49, 0.50, 0.51])  # the lowest row is ys[0]
    assert np.allclose(sheet[0, [0, 28, 56]], [0.59, 0.60, 0.61])
    assert [tick.get_text() for tick in fig.axes[0].get_xticklabels()] == ["−1.00", "0.00", "1.00"]
    assert [tick.get_text() for tick in fig.axes[0].get_yticklabels()] == ["5.00", "6.00"]


@pytest.mark.parametrize("columns", [2, 10])
def test_titles_labels_and_captions_keep_clear_of_each_other_and_of_the_images(columns: int):
    labels = [f"{c / 10:.2f}" for c in range(columns)]
    fig = figures.image_grid(
        np.zeros((2, columns, 28, 28)),
        row_labels=("means of p(x | z)", "x ~ p(x | z)"),
        column_labels=labels,
        title="A title",
        caption=LONG,
    )
    assert_no_text_is_cut_or_covered(fig)
    images = fig.axes[0].get_window_extent()
    assert not any(box.overlaps(images) for _, box in texts_of(fig))


def test_a_title_that_is_wider_than_its_images_is_wrapped() -> None:
    title = "The largest amortisation gaps, and what z of each q decodes to on average"
    fig = figures.image_grid(np.zeros((2, 2, 9, 7)), row_labels=("a", "b"), title=title)
    assert_no_text_is_cut_or_covered(fig)
    assert " ".join(fig.get_suptitle().split()) == title


@pytest.mark.parametrize("ink", [0.0, 0.5])
def test_pixels_that_are_chosen_are_tinted_and_no_others(ink: float) -> None:
    def changed(chosen: list[list[bool]]) -> np.ndarray:
        fig = figures.figure(2, 2)
        ax = fig.add_subplot()
        figures.image_rows(ax, np.full((1, 1, 2, 2), ink))
        plain = dots_of(fig)
        figures.tint(ax, np.array(chosen))
        return np.argwhere(dots_of(fig) != plain)[:, :2]

    every, one = changed([[True, True], [True, True]]), changed([[True, False], [False, False]])
    middle = (every.min(0) + every.max(0)) / 2
    assert len(one) == pytest.approx(len(every) / 4, rel=0.05)
    assert (one <= middle + 1).all()
    assert not len(changed([[False, False], [False, False]]))


def test_a_caption_is_wrapped_within_the_figure_and_keeps_every_word():
    fig = figures.figure(5, 4)
    fig.add_subplot().plot([0, 1])
    figures.caption(fig, *LONG)
    ((text, box),) = [(t, box) for t, box in texts_of(fig) if "MNIST" in t]
    assert box.x0 >= 0
    assert box.x1 <= fig.bbox.x1
    assert text.replace("\n", " ").replace(" · ", " ").split() == " ".join(LONG).split()


def test_latent_axes_are_equal_with_circles_at_one_two_and_three_sigma():
    ax = figures.figure(4, 4).add_subplot()
    figures.latent_axes(ax)
    circles = [patch for patch in ax.patches if isinstance(patch, Circle)]
    assert [circle.get_radius() for circle in circles] == [1, 2, 3]
    assert [circle.get_center() for circle in circles] == [(0, 0)] * 3
    assert ax.get_aspect() == 1
    assert ax.get_xlim()[0] < -3
    assert ax.get_xlim()[1] > 3


def test_latent_axes_hold_every_point_they_are_to_cover():
    ax = figures.figure(4, 4).add_subplot()
    points = np.array([[-9.0, 0.5], [1.0, 7.0]])
    figures.latent_axes(ax, cover=points)
    limits = np.array([ax.get_xlim(), ax.get_ylim()])
    assert (limits[:, 0] < points.min(0)).all()
    assert (limits[:, 1] > points.max(0)).all()
    assert limits[1, 0] < -3


def test_each_point_has_the_colour_that_the_legend_gives_its_class():
    ax = figures.figure(5, 4).add_subplot()
    labels = torch.tensor([7, 3, 3, 9])
    points = torch.tensor([[0.0, 1], [2, 3], [4, 5], [6, 7]])
    figures.latent_scatter(ax, points, labels)
    (dots,) = ax.collections
    assert np.allclose(dots.get_offsets(), points)
    legend = {
        text.get_text(): to_hex(handle.get_color())
        for text, handle in zip(
            ax.get_legend().get_texts(), ax.get_legend().legend_handles, strict=True
        )
    }
    assert list(legend) == ["3", "7", "9"]
    assert [to_hex(face) for face in dots.get_facecolors()] == [
        legend[str(int(label))] for label in labels
    ]


def test_names_of_ten_classes_in_one_place_stay_apart():
    fig = figures.figure(7, 6.4)
    ax = fig.add_subplot()
    own = 0.5 * np.random.default_rng(0).standard_normal((200, 2)) - (0, 1)  # where 1σ is written
    points = np.tile(own, (10, 1))
    labels = np.repeat(np.arange(10), 200)
    figures.latent_axes(ax, cover=points)
    figures.latent_scatter(ax, points, labels)
    named = [text for text, _ in texts_of(fig)]
    assert all(named.count(str(name)) >= 2 for name in range(10))  # in the legend and the plane
    assert_no_text_is_cut_or_covered(fig)


def test_a_class_is_named_where_it_outnumbers_the_others():
    ax = figures.figure(5, 5).add_subplot()
    middles = {1: (-2.0, 2.0), 4: (2.0, 2.0), 8: (2.0, -2.0)}
    rng = np.random.default_rng(0)
    points = np.concatenate([m + 0.3 * rng.standard_normal((200, 2)) for m in middles.values()])
    figures.latent_scatter(ax, points, np.repeat(list(middles), 200))
    places = {text.get_text(): text.xy for text in ax.texts}
    assert list(places) == ["1", "4", "8"]
    for name, middle in middles.items():
        assert np.abs(np.subtract(places[str(name)], middle)).max() < 0.6


def test_a_class_without_room_among_its_points_is_named_in_the_legend_alone():
    ax = figures.figure(5, 5).add_subplot()
    points = 0.01 * np.random.default_rng(0).standard_normal((100, 2)) + 1
    figures.latent_axes(ax)
    figures.latent_scatter(ax, points, np.arange(100) % 10)
    in_the_plane = [text for text in ax.texts if "σ" not in text.get_text()]
    assert 1 <= len(in_the_plane) < 10
    assert all(np.abs(np.subtract(text.xy, 1)).max() < 0.15 for text in in_the_plane)
    assert len(ax.get_legend().get_texts()) == 10


def test_one_image_can_be_scattered():
    fig = figures.figure(5, 5)
    ax = fig.add_subplot()
    figures.latent_axes(ax, cover=np.zeros((1, 2)))
    figures.latent_scatter(ax, np.zeros((1, 2)), np.array([3]))
    assert dots_of(fig).min() < 100


def gaussian(scale: tuple[float, float], offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Points along an axis, and the log of a Gaussian on their square, up to `offset`."""
    axis = np.linspace(-6, 6, 241)
    x, y = np.meshgrid(axis, axis)
    return axis, offset - 0.5 * ((x / scale[0]) ** 2 + (y / scale[1]) ** 2)


@pytest.mark.parametrize("offset", [0.0, -115.0, -1e4, 900.0])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.3, 1.2)])
def test_contours_enclose_the_mass_they_claim_of_a_gaussian(
    scale: tuple[float, float], offset: float
):
    axis, log_density = gaussian(scale, offset)
    masses = (0.5, 0.8, 0.95)
    ax = figures.figure(4, 4).add_subplot()
    levels = figures.isocontours(ax, axis, axis, log_density, masses, color="k", label="p")
    # In the plane the mass within the level ρ of a Gaussian with maximum m is 1 − ρ / m.
    assert np.allclose(1 - np.exp(levels - offset), masses, atol=0.01)
    assert all(dashes is None for _, dashes in ax.collections[0].get_linestyles())
    drawn = ax.collections[0].get_paths()
    for path, mass in zip(drawn[::-1], masses, strict=True):
        radii = np.sqrt(np.square(path.vertices / scale).sum(1))
        assert np.allclose(1 - np.exp(-0.5 * np.square(radii)), mass, atol=0.01)


def test_contours_show_every_mode():
    axis, _ = gaussian((1, 1), 0)
    x, y = np.meshgrid(axis, axis)
    modes = [-0.5 * ((x - a) ** 2 + y**2) / 0.2**2 for a in (-3, 3)]
    ax = figures.figure(4, 4).add_subplot()
    figures.isocontours(ax, axis, axis, np.logaddexp(*modes), color="k", label="p")
    contours = ax.collections[0].get_paths()
    assert contours
    for path in contours:
        assert {np.sign(x) for x in path.vertices[:, 0]} == {-1, 1}


def test_a_density_with_x_along_its_columns_is_not_transposed():
    xs, ys = np.linspace(-6, 6, 121), np.linspace(0, 3, 61)
    x, y = np.meshgrid(xs, ys)
    ax = figures.figure(4, 4).add_subplot()
    density = -0.5 * (((x + 2) / 0.5) ** 2 + ((y - 1) / 0.2) ** 2)
    figures.isocontours(ax, xs, ys, density, (0.5,), color="k", label="p")
    assert np.allclose(ax.collections[0].get_paths()[0].vertices.mean(0), [-2, 1], atol=0.1)


def test_contours_have_one_entry_in_the_legend():
    axis, log_density = gaussian((1, 1), 0)
    ax = figures.figure(4, 4).add_subplot()
    figures.isocontours(ax, axis, axis, log_density, (0.9, 0.5), color="r", label="q(z)")
    handles, labels = ax.get_legend_handles_labels()
    assert labels == ["q(z)"]
    assert handles[0].get_color() == "r"
    assert to_hex(ax.collections[0].get_edgecolor()[0]) == "#ff0000"


def test_a_filled_density_holds_the_mass_that_its_bands_claim():
    axis, log_density = gaussian((0.5, 1.0), -115.0)
    ax = figures.figure(4, 4).add_subplot()
    figures.isocontours(ax, axis, axis, log_density, color="#7fb5e6", label="p", filled=True)
    (handle,), labels = ax.get_legend_handles_labels()
    assert labels == ["p"]
    assert to_hex(handle.get_facecolor()) == "#7fb5e6"
    bands = ax.collections[0]
    lightness = [sum(color[:3]) for color in bands.get_facecolors()]
    assert lightness == sorted(lightness, reverse=True)  # the likelier, the darker
    outer = np.sqrt(np.square(bands.get_paths()[0].vertices / (0.5, 1.0)).sum(1)).max()
    assert 1 - np.exp(-0.5 * outer**2) == pytest.approx(0.95, abs=0.01)


def test_the_lines_of_densities_are_told_apart_without_their_colours():
    lines = [contours.FULL, contours.DIAGONAL, contours.ENCODER]
    assert len({str(line["linestyle"]) for line in lines}) == 3
    grey = [np.dot(to_rgb(line["color"]), (0.299, 0.587, 0.114)) for line in lines]
    assert min(abs(a - b) for a, b in combinations(grey, 2)) > 0.15
    assert contours.TRUE["filled"]


@pytest.mark.parametrize("shape", [0.001, 0.5])
def test_the_legend_of_the_gap_names_what_can_be_seen_and_the_caption_the_rest(shape: float):
    labels = torch.arange(100) % 10
    parts = {
        "not Gaussian": torch.full((100,), shape),
        "no covariance": torch.full((100,), 0.5),
        "amortisation": torch.full((100,), 7.0) + labels,
    }
    means = gap_means(parts, {str(d): labels == d for d in range(10)})
    fig = gap_figure(means, "exact", ("MNIST",))
    (ax,) = fig.axes
    named = {text.get_text() for text in ax.get_legend().get_texts()}
    seen = {"no covariance", "amortisation"}
    assert named == (seen if shape < 0.01 else {*seen, "not Gaussian"})
    assert ("not Gaussian: at most 0.001 nats" in fig.get_supxlabel()) == (shape < 0.01)
    assert_no_text_is_cut_or_covered(fig)


# Machado, Oliveira, Fernandes 2009, at full severity, in linear RGB.
VISION = {
    "full": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize("vision", VISION)
def test_the_colours_of_ten_classes_are_distinct_to(vision: str):
    rgb = np.array([to_rgb(color) for color in figures.CLASS_COLORS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(VISION[vision]).T, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = np.cbrt(np.clip(seen @ to_xyz.T / to_xyz.sum(1), 0.008856, None)).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
    assert len(lab) == 10
    assert min(np.linalg.norm(a - b) for a, b in combinations(lab, 2)) > 15  # ΔE; 2 is just seen


def test_tensors_that_carry_gradients_can_be_drawn():
    assert floats(torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]

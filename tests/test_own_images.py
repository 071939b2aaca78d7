"""A data set of one's own, of any size, with or without labels or colour, goes all the way."""

import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import refusal

from vae_exp import folders, parts
from vae_exp.analysis.gap_shown import by_class
from vae_exp.analysis.scatter import Scatter
from vae_exp.cli import main as cli
from vae_exp.config.composing import composed, parse, plain_config
from vae_exp.data import ImageData, Images, Source, Splits, from_arrays, load_splits
from vae_exp.data.idx import read_idx
from vae_exp.errors import UserError
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.runs import loading, plain
from vae_exp.runs.metrics import read_metrics
from vae_exp.training.running import with_shape
from vae_exp.training.tasks import execute

NAMES = ("ring", "bar", "step", "dot")
SIZES = ("data.train_size=90", "data.validation_size=30", "data.test_size=40")
LOOKS = {
    "complete": ("task.steps=5", "task.restarts=2", "task.score_samples=20", "mask=right"),
    "samples": ("task.columns=3",),
    "evaluate": (
        *("task.images=12", "task.iwae=[1,4]", "task.long_iwae=4", "task.gap_images=12"),
        *("task.ais_images=2", "task.sandwich_images=2", "task.elbo_samples=2"),
    ),
}


def drawn(count: int, height: int, width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Pictures of four kinds."""
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 4, count)
    y, x = np.mgrid[:height, :width]
    images = np.zeros((count, height, width), np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = (draws.integers(side // 4, side - side // 4) for side in (height, width))
        away = np.hypot(y - top, x - left)
        shown = (abs(away - 3) < 1, abs(x - left) < 2, (y > top) & (x > left), away < 2)[label]
        image[shown] = draws.integers(128, 256)
    return images, labels.astype(np.uint8)


def write_idx(path: Path, values: npt.NDArray[np.uint8]) -> None:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(head + values.tobytes())


class Runes(Source):
    """Idx files of images that are higher than wide, in four classes with names."""

    name = "runes"
    caption = "runes"
    classes = NAMES

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def training(self) -> Images:
        return Images(
            read_idx(self.folder / "images", (3,)), read_idx(self.folder / "labels", (1,))
        )


class Pictures(Source):
    """A folder of small grey pictures, of which nobody knows what they show."""

    name = "pictures"
    caption = "found pictures"

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def training(self) -> Images:
        files = sorted(self.folder.glob("*.png"))
        shown = [matplotlib.image.imread(file)[..., 0] for file in files]
        return Images((255 * np.stack(shown)).round().astype(np.uint8))


def make(kind: type[Runes | Pictures], folder: Path) -> None:
    folder.mkdir()
    if kind is Runes:
        images, labels = drawn(170, 20, 16)
        write_idx(folder / "images", images)
        write_idx(folder / "labels", labels)
        return
    for index, image in enumerate(drawn(170, 12, 12)[0]):
        matplotlib.image.imsave(folder / f"{index:03}.png", image, cmap="gray", vmin=0, vmax=255)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def configured(*words: str) -> dict[str, Any]:
    return plain_config(composed(parse(words)))


@pytest.mark.thinned(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "shape"), [(Runes, (20, 16)), (Pictures, (12, 12))], ids=["runes", "pictures"]
)
def test_a_source_in_a_module_of_ones_own_goes_from_training_to_every_figure(
    kind: type[Runes | Pictures],
    shape: tuple[int, int],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = f"{kind.__module__}.{kind.__name__}"
    of = parts.of
    monkeypatch.setattr(parts, "of", lambda group: of(group) | {target})
    make(kind, folder / "mine")
    before = contents(folder / "mine")
    small = ("epochs=1", "batch_size=30", "model.encoder.hidden=[9]", "model.decoder.hidden=[9]")
    quick = ("task.analyses.top_half.steps=5",)
    source = f"data.source={{_target_:{target},folder:{folder / 'mine'}}}"
    (folder / "run").mkdir()
    execute(configured(source, *SIZES, *small, *quick), folder / "run")
    assert contents(folder / "mine") == before
    figures = {path.stem for path in (folder / "run" / "figures").iterdir()}
    assert figures >= {"samples", "scatter", "interpolation", "manifold", "top_half_steps5"}
    data = read_metrics(folder / "run")["data"]
    assert (data["name"], data["origin"]) == (kind.name, "images 90-129")

    for task, words in LOOKS.items():
        execute(configured(f"task={task}", "run=run", *words), None, seed_is_given=False)
    found = {path.stem for path in (folder / "run" / "figures").iterdir()} - figures
    assert len(found) == 5  # two of completion, two of the evaluation, one of samples

    shutil.rmtree(folder / "mine")  # a run is loaded, and sampled, without its images
    assert loading.load("run").model.shape == shape
    execute(configured("task=samples", "run=run", "seed=5"), None)
    assert (folder / "run" / "figures" / "samples_seed5.png").exists()


def run_command(*words: str) -> None:
    assert not cli._main(list(words)), words


def clothes(folder: Path) -> list[str]:
    """Idx files as Fashion-MNIST has them: grey, 28 × 28, with labels, and others for tests."""
    words = ["data=idx", "data.protocol=standard"]
    for prefix, count in (("", 130), ("test_", 40)):
        images, labels = drawn(count, 28, 28)
        grey = 0.5 * images + 0.25 * np.roll(images, 1, 1) + 0.25 * np.roll(images, 1, 2)
        write_idx(folder / f"{prefix}images", grey.round().astype(np.uint8))
        write_idx(folder / f"{prefix}labels", labels)
        words += [
            f"data.source.{prefix}{kind}=mine/{prefix}{kind}" for kind in ("images", "labels")
        ]
    return [*words, "data.source.classes=[ring,bar,step,dot]", "likelihood=continuous_bernoulli"]


def colours(folder: Path) -> list[str]:
    """Pictures of 32 × 32 pixels in colour, a folder a kind."""
    images, labels = drawn(170, 32, 32)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / NAMES[label]).mkdir(exist_ok=True)
        sky = np.linspace(40, 200, 32)[:, None].repeat(32, 1)
        picture = np.stack([image, sky, 255 - image], -1).astype(np.uint8)
        matplotlib.image.imsave(folder / NAMES[label] / f"{index:03}.png", picture)
    return ["data=images", "data.source.folder=mine", "likelihood=gaussian"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "shape", "origin"),
    [
        pytest.param(clothes, [28, 28], "test images 0-39", marks=pytest.mark.exhaustive),
        (colours, [32, 32, 3], "training images 90-129"),
    ],
)
def test_grey_and_coloured_images_go_from_training_to_every_figure(
    made: Callable[[Path], list[str]], shape: list[int], origin: str, folder: Path
) -> None:
    (folder / "mine").mkdir()
    words = [*made(folder / "mine"), *SIZES, "data.binarization=none", "epochs=2"]
    before = {path: path.read_bytes() for path in (folder / "mine").rglob("*") if path.is_file()}
    small = ("model.encoder.hidden=[9]", "model.decoder.hidden=[9]", "hydra.run.dir=run")
    run_command(*words, *small, "task.analyses.top_half.steps=5")
    for task, about in LOOKS.items():
        run_command(f"task={task}", "run=run", *about)
    assert all(path.read_bytes() == bytes_ for path, bytes_ in before.items())
    figures = {path.stem for path in (folder / "run" / "figures").iterdir()}
    assert figures >= {"samples", "scatter", "interpolation", "manifold", "top_half_steps5"}
    assert len(figures) >= 10
    metrics = read_metrics(folder / "run")
    assert metrics["data"]["origin"] == origin
    assert metrics["data"]["binarization"] == "none"
    assert metrics["run"]["skipped"].keys() == {"questions"}  # which are about binary pixels
    assert plain.read(folder / "run" / folders.CONFIG, dict)["model"].get("shape", shape) == shape
    drawn_by_it = loading.load("run").model.pictures(torch.zeros(1, np.prod(shape)))
    assert list(drawn_by_it.shape[1:]) == shape


@pytest.fixture(scope="module")
def runes() -> Splits:
    source = from_arrays(*drawn(120, 20, 16), name="runes", classes=NAMES)
    return load_splits(source=source, train_size=60, validation_size=20, test_size=40)


def test_classes_go_by_the_names_that_the_source_gives_them(runes: Splits) -> None:
    model = VAE(2, shape=runes.shape).eval()
    [ax] = Scatter()(model, runes, 0).figures["scatter"].axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(NAMES)
    assert set(by_class(runes, 40)) == set(NAMES)
    assert runes.source.some(1) == "images of class bar"


def test_images_without_labels_are_drawn_alike_and_it_is_said_so() -> None:
    source = from_arrays(drawn(60, 9, 9)[0])
    splits = load_splits(source=source, train_size=30, validation_size=10, test_size=20)
    assert splits.test.labels is None
    assert splits.test.classes == []
    figure = Scatter()(VAE(1, shape=(9, 9)).eval(), splits, 0).figures["scatter"]
    assert figure.axes[0].get_legend() is None
    assert "the images have no labels" in figure.get_supxlabel()
    assert by_class(splits, 20) == {}


def test_coloured_images_keep_their_colours_through_flat_pixels_and_back() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)
    splits = load_splits(source=from_arrays(images), train_size=6, validation_size=2, test_size=4)
    model = VAE(2, shape=splits.shape)
    assert torch.equal(model.pictures(splits.train.pixels), torch.from_numpy(images[:6]))
    assert torch.equal(splits.train.values, torch.from_numpy(images[:6] > 127).flatten(1).byte())


def test_what_a_source_cannot_fill_is_cut_in_proportion_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    images, labels = drawn(50, 8, 8)
    splits = load_splits(
        source=from_arrays(images, labels, test_images=images[:7], test_labels=labels[:7]),
        protocol="standard",
        train_size=80,
        validation_size=20,
        test_size=10,
    )
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [40, 10, 7]
    assert splits.notice == (
        "110 images were asked for and there are 57: sizes cut to train 40, validation 10, test 7"
    )
    assert torch.equal(splits.validation.pixels, torch.from_numpy(images[40:]).flatten(1))
    assert [record.getMessage() for record in caplog.records] == [splits.notice]


def test_without_test_images_the_standard_protocol_says_which_are_taken() -> None:
    sizes = {"train_size": 20, "validation_size": 10, "test_size": 10}
    splits = load_splits(source=from_arrays(drawn(50, 8, 8)[0]), protocol="standard", **sizes)
    assert splits.test.origin == "images 20-29"
    assert splits.notice is not None
    assert "no test images are set apart" in splits.notice


GREY = np.zeros((6, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (GREY / 2, None, "must be uint8, grey in 0..255, got float64"),
        (GREY[0], None, "must be [N, H, W], or [N, H, W, 3] in colour, got [4, 4]"),
        (GREY[:0], None, "there are none, got [0, 4, 4]"),
        (GREY[..., None], None, "got [6, 4, 4, 1]"),
        (GREY, np.arange(5), "a label an image is expected, [6], got [5]"),
        (GREY, np.arange(6) - 1, "labels must be integers from 0"),
        (GREY, np.ones(6) / 2, "labels must be integers from 0"),
    ],
)
def test_images_that_are_none_are_refused_in_one_line(
    images: npt.NDArray[Any], labels: npt.NDArray[Any] | None, told: str
) -> None:
    with pytest.raises(UserError) as refused:
        from_arrays(images, labels)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_test_images_of_another_shape_and_too_few_images_are_refused() -> None:
    with pytest.raises(UserError, match="test images must have the shape of images, 4 × 4, got 4"):
        load_splits(source=from_arrays(GREY, test_images=GREY[..., :3]), protocol="standard")
    with pytest.raises(UserError, match="images: 2 are too few for three splits"):
        load_splits(source=from_arrays(GREY[:2]))


@pytest.mark.parametrize("name", ["", "two\nlines", "$x$", "x" * 81])
def test_a_data_set_calls_itself_by_a_plain_line(name: str) -> None:
    with pytest.raises(UserError, match=r"data\.source: name must be a line of at most 80"):
        load_splits(source=from_arrays(GREY, name=name))


def broken_files(folder: Path) -> dict[str, str]:
    """Files of arrays that are none, and what is said of each."""
    pickled, short, many = folder / "pickled.npy", folder / "short.npy", folder / "many.npy"
    np.save(pickled, np.array([print], dtype=object), allow_pickle=True)
    np.save(short, GREY)
    short.write_bytes(short.read_bytes()[:-1])
    np.save(many, GREY)
    many.write_bytes(many.read_bytes().replace(b"(6, 4, 4), }", b"(6, 4, 99999999999), }"))
    np.savez(folder / "others.npz", x=GREY)
    np.savez(folder / "floats.npz", images=GREY / 2)
    (folder / "text.npy").write_text("not arrays")
    (folder / "zip.npz").write_bytes(b"PK\3\4 not a zip")
    return {
        "pickled.npy": "not numbers",
        "short.npy": "96 bytes are announced",
        "many.npy": "bytes",
        "others.npz": "holds no array called images",
        "floats.npz": "must be uint8",
        "text.npy": "is not an array of NumPy's",
        "zip.npz": "is damaged",
        "gone.npy": "cannot be read: No such file",
    }


def test_a_file_of_arrays_that_is_none_is_refused_by_its_name_in_one_line(folder: Path) -> None:
    for name, told in broken_files(folder).items():
        line = refusal("data=arrays", f"data.source.file={name}", "hydra.run.dir=run")
        assert name in line, line
        assert told in line, line
    assert not (folder / "run").exists()


def test_idx_files_that_do_not_fit_each_other_or_memory_are_refused(folder: Path) -> None:
    images, labels = drawn(9, 6, 5)
    write_idx(folder / "images", images)
    write_idx(folder / "labels", labels[:-1])
    (folder / "huge").write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**31, 2**31, 28))
    words = ("data=idx", "hydra.run.dir=run")
    told = refusal(*words, "data.source.images=images", "data.source.labels=labels")
    assert "labels holds 8 labels and images 9 images" in told
    assert "at most 4,294,967,296 bytes" in refusal(*words, "data.source.images=huge")
    assert "3 or 4-dimensional" in refusal(*words, "data.source.images=labels")
    assert "needs data.source.test_images" in refusal(
        *words, "data.source.images=images", "data.source.test_labels=labels"
    )
    assert "data.source.images" in refusal(*words)
    assert not (folder / "run").exists()


def test_files_are_found_below_the_root_that_is_given(folder: Path) -> None:
    images, labels = drawn(30, 6, 5)
    (folder / "moved").mkdir()
    np.savez(folder / "moved" / "mine.npz", images=images, labels=labels)
    config = configured("data=arrays", "data.source.file=mine.npz", "data.root=moved")
    data: ImageData = build(config["data"], "data", ImageData)
    assert torch.equal(data.splits.train.pixels[0], torch.from_numpy(images[0]).flatten())


def test_a_models_shape_is_that_of_its_images_and_no_other() -> None:
    config = {"model": {"latent_dim": 2}, "seed": 0}
    assert with_shape(config, (28, 28)) is config  # as runs on MNIST always were
    assert with_shape(config, (20, 16))["model"]["shape"] == [20, 16]
    with pytest.raises(UserError, match=r"model\.shape is that of the images, \[20, 16\], got"):
        with_shape({"model": {"shape": [28, 28]}}, (20, 16))


def test_the_examples_of_the_documents_run_as_they_stand() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    notebook, module = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    exec(notebook, {})
    names: dict[str, Any] = {}
    exec(module, names)
    splits = load_splits(source=names["Rings"](60))
    assert splits.shape == (24, 20)
    assert set(by_class(splits, len(splits.test))) == {"small", "large"}

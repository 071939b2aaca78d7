"""Each look at a run has a name of its own, for its numbers and its pictures together."""

import json
import os
import shutil
from pathlib import Path

import pytest
from kill_and_resume import new_run, small_config, train
from omegaconf import OmegaConf

from vae_exp import folders
from vae_exp.analysis.base import Analysis, Findings, Look, Origin, look_at
from vae_exp.analysis.completion import Completion
from vae_exp.analysis.evaluate import Evaluate
from vae_exp.analysis.interpolation import Interpolation
from vae_exp.analysis.samples import Samples
from vae_exp.cli.main import _main
from vae_exp.config import composing
from vae_exp.data.sources.mnist import Mnist
from vae_exp.data.splits import About
from vae_exp.errors import UserError
from vae_exp.figures import figure
from vae_exp.knobs import GROUPS, KNOBS
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.runs import asking
from vae_exp.runs.metrics import read_metrics, write_metrics

ABOUT = About(Mnist(), "threshold>0.5", "trained on 3 images")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of seed 3 with its name, its config and its samples."""
    folder = tmp_path_factory.mktemp("trained")
    words = ("seed=3", "name=a first try")
    train(folder, *words)
    kept = OmegaConf.masked_copy(small_config(*words), [*KNOBS, *GROUPS, "schema"])
    OmegaConf.save(kept, folder / folders.CONFIG)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> tuple[dict[str, object], dict[str, bytes]]:
    """The numbers of every look, and every picture."""
    pictures = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    return json.loads((folder / "metrics.json").read_text())["analyses"], pictures


def looked(analysis: Analysis, seed: int = 0, origin: Origin = Origin(0)) -> Look:  # noqa: B008
    model = VAE(2, Encoder((4,)), Decoder((4,)))
    return look_at(analysis, model, ABOUT, seed, origin)


def test_a_look_never_replaces_another_one(run: Path) -> None:
    numbers, pictures = contents(run)
    assert list(pictures) == ["samples.png"]
    looks = {
        "samples_seed0": ["seed=0"],
        "samples_columns5": ["task.columns=5"],
        "samples_columns5_seed7": ["task.columns=5", "seed=7"],
        "samples_checkpoint-best": [],
    }
    for name, words in looks.items():
        weights = run / "checkpoints" / "best.ckpt" if "best" in name else run
        _main(["task=samples", f"run={weights}", *words])
        after, drawn = contents(run)
        assert after.keys() - numbers.keys() == {name}
        assert drawn.keys() - pictures.keys() == {f"{name}.png"}
        assert after[name]["figures"] == [f"figures/{name}.png"]
        assert {key: after[key] for key in numbers} == numbers
        assert {key: drawn[key] for key in pictures} == pictures
        numbers, pictures = after, drawn
    assert len(set(pictures.values())) >= 4  # the best checkpoint may be the last one


def test_a_look_without_a_seed_takes_the_runs_and_gives_its_picture_again(run: Path) -> None:
    before = contents(run)
    assert before[0]["samples"]["seed"] == 3
    _main(["task=samples", f"run={run}"])
    assert contents(run) == before


@pytest.mark.parametrize("task", asking.names())
def test_a_task_as_it_is_shipped_has_its_own_name_alone(task: str) -> None:
    cfg = composing.composed(composing.parse([f"task={task}"]))
    analysis = build(composing.resolved(cfg, "task"), "task", Analysis)
    assert analysis.name == task
    assert looked(_Silent(analysis)).name == task


def _Silent(analysis: Analysis) -> Analysis:
    """The same analysis, which finds nothing."""
    kind = type(analysis)
    quiet = type(kind.__name__, (kind,), {"__call__": lambda *_: Findings()})
    analysis.__class__ = quiet
    return analysis


@pytest.mark.parametrize(
    ("analysis", "name"),
    [
        (Completion(name="top_half", digit=3), "top_half_digit3"),
        (Completion(mask="left", index=12, split="test"), "complete_mask-left_index12_split-test"),
        (Completion(mask="random:0.5"), "complete_mask-random-0.5"),
        (Interpolation(digits=[3, 8], points=4), "interpolation_points4_digits3-8"),
        (Evaluate(iwae=[1, 5], images=9), "evaluate_images9_iwae1-5"),
        (Samples(columns=10), "samples"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_asked_for_names_the_look(analysis: Analysis, name: str) -> None:
    assert looked(_Silent(analysis)).name == name
    assert looked(_Silent(analysis), seed=2).name == f"{name}_seed2"
    assert looked(_Silent(analysis), seed=2, origin=Origin(2)).name == name


def test_masks_of_one_name_and_long_lists_have_names_of_their_own(tmp_path: Path) -> None:
    names = {looked(_Silent(_masked(f"{folder}/hole.png"))).name for folder in ("a", "b")}
    assert len(names) == 2
    assert all("/" not in name and "hole" in name for name in names)
    long = [looked(_Silent(Interpolation(digits=[d, 1] * 99))).name for d in (3, 4)]
    assert long[0] != long[1]
    assert max(map(len, long)) < 100


def _masked(path: str) -> Completion:
    """A completion whose mask is a file that is not there."""
    completion = Completion()
    completion.mask = path
    return completion


def test_every_figure_of_a_look_begins_with_its_name() -> None:
    class Drawing(Samples):
        def __call__(self, *_: object) -> Findings:  # type: ignore[override]
            return Findings({name: figure(1, 1) for name in ("samples", "samples_more", "other")})

    assert list(looked(Drawing(columns=5)).findings.figures) == [
        "samples_columns5",
        "samples_columns5_more",
        "samples_columns5_other",
    ]


@pytest.mark.parametrize("task", ["samples", "manifold"])
def test_what_needs_no_images_runs_without_any(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAE_EXP_DATA", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    train(tmp_path / "run", "data.source=digits", f"~task.analyses.{'samples'}")
    cfg = small_config("data.source=mnist")
    cfg.data.root = "${oc.env:VAE_EXP_DATA,data}"
    kept = OmegaConf.masked_copy(cfg, [*KNOBS, *GROUPS, "schema"])
    OmegaConf.save(kept, tmp_path / "run" / folders.CONFIG)
    metrics = read_metrics(tmp_path / "run")
    metrics["data"]["name"] = "mnist"
    write_metrics(tmp_path / "run", metrics)
    _main([f"task={task}", "run=run"])
    assert (tmp_path / "run" / "figures" / f"{task}.png").stat().st_size > 1000


def test_a_name_is_told_in_the_metrics_the_caption_and_the_row(run: Path) -> None:
    assert read_metrics(run)["run"]["name"] == "a first try"
    found = looked(Samples(), origin=Origin(0, "a first try")).findings
    assert found.figures["samples"].get_supxlabel().startswith("a first try · MNIST")
    from vae_exp.training import board

    cfg = OmegaConf.load(run / folders.CONFIG)
    assert board.settings(cfg, run)["name"] == "a first try"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["$x$", "[red]", "a|b", "", "x" * 61, "a:b", "a\\b", "`", "*"])
def test_a_name_that_is_markup_is_refused_in_one_line(name: str, run: Path) -> None:
    cfg = composing.composed(composing.parse([f"name={composing.quoted(name)}"]))
    with pytest.raises(UserError, match=r"^name must be 1 to 60 letters"):
        composing.check(cfg, [])
    metrics = read_metrics(run)
    metrics["run"]["name"] = name
    write_metrics(run, metrics)
    with pytest.raises(UserError, match="name must be 1 to 60 letters"):
        _main(["task=samples", f"run={run}"])


@pytest.mark.slow
def test_figures_can_be_pdf_or_svg_beside_what_is_there(run: Path) -> None:
    for kind, start in (("pdf", b"%PDF"), ("svg", b"<?xml")):
        for _ in range(2):  # the same bytes again
            _main(["task=samples", f"run={run}", f"figures.format={kind}"])
        numbers, pictures = contents(run)
        assert pictures[f"samples.{kind}"].startswith(start)
        assert numbers["samples"]["figures"] == [f"figures/samples.{kind}"]
    assert "samples.png" in pictures


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("figures.format=jpg", "figures.format must be one of png, pdf, svg, got 'jpg'"),
        ("figures.dpi=9", "figures.dpi must be"),
        (
            "figures.cmap=virdis",
            "figures.cmap must be a colour map of matplotlib, got 'virdis'; did",
        ),
    ],
)
def test_a_wrong_way_to_save_figures_is_refused_in_one_line(
    word: str, told: str, run: Path
) -> None:
    before = contents(run)
    with pytest.raises(UserError, match=told):
        _main(["task=samples", f"run={run}", word])
    assert contents(run) == before


@pytest.mark.slow
def test_a_colour_map_that_there_is_not_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"figures\.cmap must be a colour map of matplotlib"):
        _main(new_run("figures.cmap=virdis"))
    assert not list(tmp_path.iterdir())


def test_an_older_run_that_says_nothing_of_figures_is_resumed(run: Path) -> None:
    kept = OmegaConf.load(run / folders.CONFIG)
    del kept["figures"], kept["name"], kept.task["name"]
    OmegaConf.save(kept, run / folders.CONFIG)
    (run / folders.STARTED).touch()
    os.remove(run / folders.WEIGHTS)
    _main([f"resume={run}"])
    assert (run / "figures" / "samples.png").exists()

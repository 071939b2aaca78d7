"""Named recipes: each is what its words would be, and words given by hand win and are told."""

import json
from pathlib import Path

import pytest
import warm
from conftest import refusal
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from vae_exp.config import composing, experiments
from vae_exp.parts import CONF

pytestmark = pytest.mark.thinned(4)

NAMES = composing.choices("experiment")


def accepted(*words: str) -> tuple[DictConfig, list[Override]]:
    """A config that passes every check, and the words that it is made of."""
    overrides = composing.parse(words)
    cfg = composing.composed(overrides)
    composing.check(cfg, overrides)
    return cfg, overrides


def told(*words: str) -> list[str]:
    """What is told about words beside an experiment."""
    return list(experiments.told(*accepted(*words)))


def spelled(name: str) -> list[str]:
    """The words that set what an experiment sets."""
    sets = experiments.settings(name, [CONF])
    return [f"{key}={json.dumps(value).strip(chr(34))}" for key, value in sets.items()]


def test_the_recipes_are_there() -> None:
    assert {"assignment", "nagano2019", "burda2016_vae", "burda2016_iwae50"} <= {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_begins_with_its_command_its_source_and_the_figure_to_expect(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8")
    head = text.partition("defaults:")[0].splitlines()
    assert head[:2] == ["# @package _global_", f"# python -m vae_exp experiment={name}"]
    assert all(line.startswith("#") for line in head)
    assert "arXiv:" in "".join(head)
    assert any(line.startswith(("# Expect: ", "# Published: ")) for line in head)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_the_command_that_spells_it_out_so_all_that_it_sets_is_read(name: str) -> None:
    recipe, _ = accepted(f"experiment={name}")
    words, _ = accepted(*spelled(name))
    assert composing.plain_config(recipe) == composing.plain_config(words)


def test_the_recipes_are_the_published_ones() -> None:
    cfg, _ = accepted("experiment=assignment")
    assert cfg.optimizer._target_.endswith(".Adam")
    assert (cfg.optimizer.lr, cfg.data.train_size, cfg.model.encoder.hidden) == (1e-3, 10000, [500])
    cfg, _ = accepted("experiment=nagano2019")
    sizes = (cfg.data.train_size, cfg.data.validation_size, cfg.data.test_size)
    assert sizes == (50_000, 10_000, 10_000)
    assert (cfg.data.protocol, cfg.data.binarization) == ("standard", "threshold")
    assert (cfg.batch_size, cfg.epochs, cfg.latent_dim) == (100, 300, 2)
    for name, objective, samples in (("vae", "ELBO", 1), ("iwae50", "IWAE", 50)):
        cfg, _ = accepted(f"experiment=burda2016_{name}")
        assert cfg.objective._target_.endswith(f".{objective}")
        assert cfg.objective.samples == samples
        assert (cfg.model.latent_dim, cfg.model.encoder.hidden) == (50, [200, 200])
        assert (cfg.data.binarization, cfg.batch_size) == ("dynamic", 20)


TOLD = [
    ("experiment=burda2016_vae seed=3 name=mine", []),
    ("latent_dim=3", []),
    ("experiment=burda2016_vae latent_dim=50 batch_size=20", []),
    ("experiment=burda2016_vae latent_dim=10", ["latent_dim=10 in place of the experiment's 50"]),
    (
        "latent_dim=10 experiment=burda2016_iwae50",  # which builds upon the other
        ["latent_dim=10 in place of the experiment's 50"],
    ),
    (
        "experiment=assignment optimizer=adam_one_cycle lr=1e-2",
        [
            "optimizer=adam_one_cycle in place of the experiment's adam",
            "lr=1e-2 in place of the experiment's 0.001",
        ],
    ),
    (
        "experiment=burda2016_vae data=debug",
        [
            "data=debug in place of the experiment's mnist60k; "
            "the experiment's data.binarization=dynamic still holds"
        ],
    ),
    (
        "experiment=burda2016_vae data=debug data.binarization=threshold",
        [
            "data=debug in place of the experiment's mnist60k",
            "data.binarization=threshold in place of the experiment's dynamic",
        ],
    ),
    (
        "experiment=burda2016_vae model.encoder.hidden=[9]",
        ["model.encoder.hidden=[9] in place of the experiment's [200, 200]"],
    ),
]


@pytest.mark.parametrize(("words", "lines"), TOLD)
def test_what_takes_the_place_of_an_experiments_own_is_told(words: str, lines: list[str]) -> None:
    assert told(*words.split()) == lines


@pytest.mark.parametrize("words", [words for words, lines in TOLD if lines])
def test_words_given_by_hand_win(words: str) -> None:
    cfg, overrides = accepted(*words.split())
    for override in overrides:
        key, value = override.key_or_group, override.value()
        chosen = cfg.hydra.runtime.choices.get(key)
        assert value in (chosen, composing.resolved(cfg, key))


def test_an_experiment_of_ones_own_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    mine = tmp_path / "experiment" / "mine.yaml"
    mine.write_text("# @package _global_\ndefaults:\n  - burda2016_vae\nlatent_dim: 7\n")
    words = (f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine", "latent_dim=3")
    assert told(*words, "epochs=2") == [
        "latent_dim=3 in place of the experiment's 7",
        "epochs=2 in place of the experiment's 40",
    ]


def test_a_sweep_over_experiments_tells_whose_setting_was_replaced() -> None:
    overrides = composing.parse(["experiment=nagano2019,burda2016_vae", "latent_dim=2,5"])
    cfg = composing.composed([])
    assert list(experiments.told(cfg, overrides)) == [
        "latent_dim=2,5 in place of nagano2019's 2",
        "latent_dim=2,5 in place of burda2016_vae's 50",
    ]


def test_a_wrong_name_lists_the_recipes() -> None:
    listed = f"experiment must be one of {', '.join(NAMES)}, got 'asignment'"
    assert refusal("experiment=asignment") == f"{listed}; did you mean assignment?"
    assert "experiment is not read by task=samples" in refusal(
        "task=samples", "run=latest", "experiment=assignment"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains(name: str, folder: Path) -> None:
    small = ("data=debug", "data.source=digits", "epochs=1", "task=fit", "hydra.run.dir=run")
    process = warm.start(folder, f"experiment={name}", *small)
    out, err = process.communicate()
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("data=debug in place of the experiment's ")
    assert lines[1].startswith("epochs=1 in place of the experiment's ")
    assert (folder / "run" / "model.safetensors").is_file()

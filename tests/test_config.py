"""The config: every file in conf/ binds, every knob is checked, and nothing else is let through."""

import inspect
import types
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt
from hydra.utils import get_object
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from vae_exp import knobs, parts
from vae_exp.config import composing, reading
from vae_exp.errors import UserError

CHOICES = [(group, name) for group in composing.all_groups() for name in composing.choices(group)]


def accepted(*words: str) -> DictConfig:
    """A config that passes every check."""
    overrides = composing.parse(words)
    cfg = composing.composed(overrides)
    composing.check(cfg, overrides)
    return cfg


def refusal(*words: str) -> str:
    """The message with which a config is refused."""
    with pytest.raises(UserError) as caught:
        accepted(*words)
    return str(caught.value)


def targets(node: Any) -> list[dict[str, Any]]:
    """Every `_target_` node of a config."""
    if isinstance(node, list):
        return [found for item in node for found in targets(item)]
    if not isinstance(node, dict):
        return []
    below = [found for item in node.values() for found in targets(item)]
    return [node, *below] if "_target_" in node else below


@pytest.mark.thinned(3)
@pytest.mark.sampled(3)
@pytest.mark.parametrize(("group", "name"), CHOICES, ids=lambda value: str(value))
def test_every_file_in_conf_composes_and_binds_to_its_constructors(group: str, name: str) -> None:
    words = [f"{group}={name}"]
    if group == "data":
        files = {
            "idx": ["data.source.images=a"],
            "arrays": ["data.source.file=a.npz"],
            "images": ["data.source.folder=a"],
        }
        words += files.get(name, [])
    if group == "likelihood":
        words += [] if name == "bernoulli" else ["data.binarization=none"]
    if group == "task" and not composing.trains(composing.composed(composing.parse(words))):
        given = {
            "ceiling": "runs=[latest,latest]",
            "compare": "runs=[latest,latest]",
            "summarise": "sweep=latest",
        }
        words.append(given.get(name, "run=latest"))
    cfg = accepted(*words)
    for each in knobs.GROUPS:
        parts.check(composing.resolved(cfg, each), each, reading.kind_of(each))
    for node in targets(OmegaConf.to_container(cfg, resolve=False)):
        if node["_target_"].startswith(("hydra.", "hydra_plugins.", "optuna.")):
            continue
        target = get_object(node["_target_"])
        given = {key: None for key in node if not key.startswith("_")}
        real = inspect.signature(target)
        late = node["_target_"].startswith("torch.optim.")  # the weights come when a run begins
        bind = real.bind_partial if late else real.bind
        bind(**given)


def test_the_defaults_are_the_documented_ones() -> None:
    cfg = accepted()
    given = {name: cfg[name] for name in ("seed", "epochs", "batch_size", "latent_dim")}
    assert given == {"seed": 0, "epochs": 100, "batch_size": 200, "latent_dim": 2}
    assert composing.trains(cfg)
    assert cfg.hydra.runtime.choices.data == "full"


def test_seed_zero_is_a_seed() -> None:
    assert accepted("seed=0").seed == 0


def test_the_groups_read_the_knobs() -> None:
    cfg = accepted("latent_dim=7", "epochs=3", "batch_size=11", "lr=0.5", "seed=13")
    for knob in ("latent_dim", "epochs", "batch_size", "lr", "seed"):
        names = reading.interpolated([cfg[group] for group in knobs.GROUPS])
        assert knob in names or knob == "seed"
    assert cfg.model.latent_dim == 7
    assert cfg.data.batch_size == 11


@pytest.mark.parametrize("name", knobs.KNOBS)
def test_a_knob_is_refused_just_outside_its_range_and_accepted_at_its_edge(name: str) -> None:
    kind = knobs.kind(name)
    several = get_origin(kind) in (Union, types.UnionType)
    branches = get_args(kind) if several else (kind,)
    ranges = [get_args(each)[1:] for each in branches if get_origin(each) is Annotated]
    bounds = [bound for each in ranges for bound in each]
    for bound in bounds:
        edge, outside = {
            Ge: lambda bound: (bound.ge, bound.ge - 1),
            Le: lambda bound: (bound.le, bound.le + 1),
            Gt: lambda bound: (bound.gt + 1e-9, bound.gt),
            Lt: lambda bound: (bound.lt / 2, bound.lt),
        }[type(bound)](bound)
        knobs.check_knob(name, type(knobs.KNOBS[name].default or 0)(edge))
        with pytest.raises(UserError, match=f"^{name} must be .* got "):
            knobs.check_knob(name, outside)
    for value in (float("nan"), float("inf"), False):
        with pytest.raises(UserError, match=f"^{name} must be"):
            knobs.check_knob(name, value)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "each"),
    [
        ("digits", [3, 8], (["x", 8], [3.5], [True], [-1], 38), "an integer >= 0"),
        ("indices", [12, 345], (["x"], [None], [-1], 12), "an integer >= 0"),
        ("runs", ["a", "b"], ([3, "b"], [None], "a"), "text"),
    ],
)
def test_the_items_of_a_list_are_what_its_knob_says(
    name: str, right: list[Any], wrong: tuple[Any, ...], each: str
) -> None:
    knobs.check_knob(name, right)
    for value in wrong:
        with pytest.raises(UserError, match=f"^{name} must be a list, each {each}, got "):
            knobs.check_knob(name, value)


def test_the_ends_of_an_interpolation_can_be_given() -> None:
    task = ("task=interpolation", "run=latest")
    assert accepted(*task, "digits=[3,8]").task.digits == [3, 8]
    assert accepted(*task, "indices=[12,345]").task.indices == [12, 345]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", knobs.KNOBS)
def test_a_knob_of_the_wrong_type_is_refused_by_name(name: str) -> None:
    message = refusal(f"{name}={{a: 1}}")
    assert message.startswith(f"{name} must be {knobs.expected(name)}, got")


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cc", "Cs")), max_size=12))
def test_quoted_text_comes_back_as_it_was(text: str) -> None:
    if "${" not in text:
        [override] = composing.parse([f"run={composing.quoted(text)}"])
        assert override.value() == text


@pytest.mark.parametrize(
    "path", ["/tmp/my runs/1", "übung/läufe", "実験/1", "a(b)", "it's", 'say "x"', "{a", "a\\'b\\"]
)
def test_a_path_is_taken_as_it_stands(path: str) -> None:
    [override] = composing.parse([f"run={path}"])
    assert override.value() == path


@pytest.mark.slow
def test_a_typo_is_told_the_nearest_key() -> None:
    assert "did you mean latent_dim?" in refusal("latentdim=3")
    assert "did you mean data.train_size?" in refusal("data.trainsize=3")
    assert "did you mean data.train_size?" in refusal("+data.trainsize=3")
    assert "did you mean data.train_size?" in refusal("train_size=3")
    assert "did you mean debug?" in refusal("data=debgu")


def test_a_key_that_the_task_does_not_read_is_refused() -> None:
    task = next(
        name
        for name in composing.choices("task")
        if name not in ("train", "ceiling", "compare", "report", "summarise")
    )
    assert refusal(f"task={task}", "run=latest", "latent_dim=5").startswith(
        "latent_dim is not read"
    )
    assert refusal(f"task={task}", "run=latest", "model=mlp").startswith("model is not read")
    assert refusal(f"task={task}", "run=latest", "data.train_size=3").startswith("data.train_size")
    assert refusal("run=latest").startswith("run is not read by task=train")
    accepted(f"task={task}", "run=latest", "seed=4", "data.root=elsewhere")


def test_a_task_on_a_finished_run_asks_for_the_run() -> None:
    task = next(
        name
        for name in composing.choices("task")
        if name not in ("train", "ceiling", "compare", "report", "summarise")
    )
    assert "run=latest" in refusal(f"task={task}")
    assert "nowhere" in refusal(f"task={task}", "run=nowhere")


def test_a_target_that_does_not_exist_is_refused() -> None:
    assert refusal("model._target_=vae_exp.models.vae.Nope").startswith("model._target_ must be")
    assert refusal("model._target_=os.getcwd").startswith("model._target_ must be")
    assert refusal("model._target_=3").startswith("model._target_ must be")

"""The config: every file in conf/ binds, every knob is checked, and nothing else is let through."""

import inspect
from typing import Any

import pytest
from hydra.utils import get_object
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from vae_exp import knobs, signatures, source
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


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=lambda value: str(value))
def test_every_file_in_conf_composes_and_binds_to_its_constructors(group: str, name: str) -> None:
    words = [f"{group}={name}"]
    if group == "task" and not composing.trains(composing.composed(composing.parse(words))):
        given = {"compare": "runs=[latest,latest]", "summarise": "sweep=latest"}
        words.append(given.get(name, "run=latest"))
    cfg = accepted(*words)
    for node in targets(OmegaConf.to_container(cfg, resolve=False)):
        if node["_target_"].startswith(("hydra.", "hydra_plugins.", "optuna.")):
            continue
        target = get_object(node["_target_"])
        given = {key: None for key in node if not key.startswith("_")}
        real = inspect.signature(target)
        bind = real.bind_partial if node.get("_partial_") else real.bind
        bind(**given)
        read = signatures.read(node["_target_"])
        if read is not None and not read.open:
            assert list(read.parameters) == list(real.parameters), node["_target_"]
            for key, parameter in real.parameters.items():
                required = parameter.default is inspect.Parameter.empty
                assert read.parameters[key].required == required, (node["_target_"], key)


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
    limits = knobs.KNOBS[name].metadata["range"]
    for edge, outside in ((limits.minimum, -1), (limits.maximum, 1)):
        if edge is not None:
            knobs.check_knob(name, edge)
            with pytest.raises(UserError, match=f"^{name} must be .*{edge}.* got {edge + outside}"):
                knobs.check_knob(name, edge + outside)
    if limits.above is not None:
        with pytest.raises(UserError, match=name):
            knobs.check_knob(name, limits.above)
    for value in (float("nan"), float("inf")):
        with pytest.raises(UserError, match=name):
            knobs.check_knob(name, value)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "each"),
    [
        ("digits", [3, 8], (["x", 8], [3.5], [True], [[3]], 38), "an integer"),
        ("indices", [12, 345], (["x"], [None], 12), "an integer"),
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


def test_a_typo_is_told_the_nearest_key() -> None:
    assert "did you mean latent_dim?" in refusal("latentdim=3")
    assert "did you mean data.train_size?" in refusal("data.trainsize=3")
    assert "did you mean data.train_size?" in refusal("+data.trainsize=3")
    assert "did you mean data.train_size?" in refusal("train_size=3")
    assert "did you mean debug?" in refusal("data=debgu")


def test_a_key_that_the_task_does_not_read_is_refused() -> None:
    task = next(
        name for name in composing.choices("task") if name not in ("train", "compare", "summarise")
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
        name for name in composing.choices("task") if name not in ("train", "compare", "summarise")
    )
    assert "run=latest" in refusal(f"task={task}")
    assert "nowhere" in refusal(f"task={task}", "run=nowhere")


BUILT = {"_target_": "constructors.Component"}
# Constructors as people write them, read here as text: nothing of this module is imported.
CONSTRUCTORS = {
    "int": ([0, -3], [True, 1.5, "a", None, [1]]),
    "float": ([0, 1.5], [True, "a", None]),
    "bool": ([True], [1, "true", None]),
    "str": (["a"], [1, None]),
    "str | Path | None": (["a", None], [1, [1]]),
    "int | None": ([1, None], ["a", 1.5]),
    "Positive": ([1, 7], [0, -1, 1.5, True]),
    "Sequence[Positive]": ([[], [1, 7]], [[1, 0], 3]),
    "Annotated[float, Range(above=0, below=1)]": ([0.5], [0, 1, "a", float("nan")]),
    "list[int]": ([[], [1, 2]], [1, ["a"], None]),
    "tuple[int, ...]": ([[1, 2]], [[1, "a"], 1]),
    "tuple[int, float]": ([[1, 2.5]], [[1], [1, 2, 3]]),
    "Sequence[float]": ([[1, 2.5]], ["ab"]),
    "Literal['a', 'b']": (["a"], ["c", 1]),
    "dict[str, int]": ([{}, {"a": 1}], [1, {"a": "b"}]),
    "Mapping[str, Component]": ([{"a": BUILT}], [1, {"a": None}, {"a": 1}]),
    "'int | None'": ([1, None], ["a"]),
    "Any": ([1, "a", None], []),
    "Alias": (["a", None], ["c", 1]),
    "Component": ([BUILT], [1, "a", None, {"y": 1}]),
    "outside.Component": ([BUILT], [1, "a", None]),
    "Callable[..., int]": ([BUILT], [1, "a"]),
    "Unheard": ([1, "a", None], []),
}


@pytest.mark.parametrize("annotation", CONSTRUCTORS)
def test_a_value_is_held_against_its_annotation(
    annotation: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "constructors"
    source.parse.cache_clear()
    source.locate.cache_clear()
    body = f"class Base:\n    def __init__(self, x: {annotation}, y: int = 0): ...\n"
    preamble = (
        "from typing import Any\nfrom vae_exp.ranges import Positive, Range\n"
        "Alias = Literal['a'] | None\nclass Component: ...\n"
    )
    (tmp_path / f"{name}.py").write_text(preamble + body + "class Child(Base): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    fits, misfits = CONSTRUCTORS[annotation]
    allowed = [f"{name}.{part}" for part in ("Base", "Child", "Component")]
    for target in allowed[:2]:
        for value in fits:
            signatures.check({"_target_": target, "x": value}, "model", allowed)
        for value in misfits:
            with pytest.raises(UserError, match=r"^model\.x(\.a)? must be "):
                signatures.check({"_target_": target, "x": value}, "model", allowed)
        with pytest.raises(UserError, match=r"^model\.x is missing"):
            signatures.check({"_target_": target}, "model", allowed)
        with pytest.raises(UserError, match=r"model\.z"):
            signatures.check(
                {"_target_": target, "x": (fits or misfits)[0], "z": 1}, "model", allowed
            )


def test_a_dataclass_is_read_with_its_parents_fields(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dataclass_fields.py").write_text(
        "from dataclasses import dataclass, field\nfrom typing import ClassVar\n"
        "@dataclass\nclass A:\n    a: int\n    k: ClassVar[int] = 1\n"
        "@dataclass(frozen=True)\nclass B(A):\n    b: float = 1.0\n"
        "    c: list[int] = field(default_factory=list)\n    d: int = field(init=False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    read = signatures.read("dataclass_fields.B")
    assert read is not None
    assert {key: p.required for key, p in read.parameters.items()} == {
        "a": True,
        "b": False,
        "c": False,
    }


def test_a_target_that_does_not_exist_is_refused() -> None:
    assert refusal("model._target_=vae_exp.models.vae.Nope").startswith("model._target_ must be")
    assert refusal("model._target_=os.getcwd").startswith("model._target_ must be")
    assert refusal("model._target_=3").startswith("model._target_ must be")

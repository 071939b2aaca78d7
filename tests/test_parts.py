"""Parts: a config is held against the constructors it names, and builds nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vae_exp import parts
from vae_exp.errors import UserError
from vae_exp.models.contracts import Prior
from vae_exp.models.vae import VAE

MODULE = """
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Lt
from vae_exp.ranges import Positive

class Component: ...
class Other: ...
Alias = Literal["a"] | None

@dataclass
class Parent:
    a: int

@dataclass
class Child(Parent):
    b: float = 1.0

class Base:
    def __init__(self, x: ANNOTATION, y: int = 0):
        self.x, self.y = x, y

class Derived(Base): ...
"""
BUILT = {"_target_": "parts_of_a_test.Component"}
OTHER = {"_target_": "parts_of_a_test.Other"}
CONSTRUCTORS: dict[str, tuple[list[Any], list[Any]]] = {
    "int": ([0, -3], [True, 1.5, "a", None, [1]]),
    "float": ([0, 1.5], [True, "a", None, float("nan"), float("inf")]),
    "bool": ([True], [1, "true", None]),
    "str": (["a"], [1, None]),
    "str | Path | None": (["a", None], [1, [1]]),
    "int | None": ([1, None], ["a", 1.5]),
    "Positive": ([1, 7], [0, -1, 1.5, True, 2**70]),
    "Sequence[Positive]": ([[], [1, 7], 3], [[1, 0], 0, "a"]),
    "Annotated[float, Gt(0), Lt(1)]": ([0.5], [0, 1, "a", float("nan")]),
    "list[int]": ([[], [1, 2], 1], [["a"], None]),
    "tuple[int, ...]": ([[1, 2]], [[1, "a"]]),
    "tuple[int, float]": ([[1, 2.5]], [["a", 2.5], [1, "a"]]),
    "Literal['a', 'b']": (["a"], ["c", 1]),
    "dict[str, int]": ([{}, {"a": 1}], [1, {"a": "b"}]),
    "Mapping[str, Component]": ([{"a": BUILT}, {}], [1, {"a": 1}, {"a": OTHER}]),
    "Sequence[Component]": ([[BUILT]], [[1], [OTHER]]),
    "'int | None'": ([1, None], ["a"]),
    "Any": ([1, "a", None], []),
    "Alias": (["a", None], ["c", 1]),
    "Component": ([BUILT], [1, "a", None, OTHER]),
    "Component | None": ([BUILT, None], [1, OTHER]),
}


@pytest.fixture
def plugin(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A person's own module, whose ``Base`` takes an x of the annotation asked for."""
    name = "parts_of_a_test"
    annotation = getattr(request, "param", "int")
    (tmp_path / f"{name}.py").write_text(MODULE.replace("ANNOTATION", annotation))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(parts, "_plugins", set())
    sys.modules.pop(name, None)
    parts.add_plugins([name])
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("plugin", CONSTRUCTORS, indirect=True)
def test_a_value_is_held_against_its_annotation(
    plugin: str, request: pytest.FixtureRequest
) -> None:
    fits, misfits = CONSTRUCTORS[request.node.callspec.params["plugin"]]
    for target in (f"{plugin}.Base", f"{plugin}.Derived"):
        for value in fits:
            node = {"_target_": target, "x": value}
            assert parts.problems(node, "model") == []
            assert type(parts.build(node)).__name__ == target.rpartition(".")[2]
        for value in misfits:
            [line] = parts.problems({"_target_": target, "x": value}, "model")
            assert line.startswith("model.x")
            assert "must be" in line
        assert parts.problems({"_target_": target}, "model") == [
            f"model.x is missing: {target} needs it"
        ]


def test_all_problems_are_told_at_once(plugin: str) -> None:
    node = {"_target_": f"{plugin}.Base", "x": "a", "y": 1.5, "z": 1, "_partial_": True}
    told = parts.problems(node, "model")
    assert len(told) == 4
    assert any("model.x must be an integer, got 'a'" in line for line in told)
    assert any("unknown key 'model.z'" in line for line in told)
    with pytest.raises(UserError, match=r"model\.x.*model\.y"):
        parts.build(node, "model")


def test_a_dataclass_is_read_with_its_parents_fields(plugin: str) -> None:
    node = {"_target_": f"{plugin}.Child"}
    assert parts.problems(node, "k") == [f"k.a is missing: {plugin}.Child needs it"]
    assert parts.build(node | {"a": 3}).b == 1.0


@pytest.mark.parametrize(
    "target",
    ["os.system", "joblib.load", "vae_exp.distributed.Helper", "vae_exp.parts.build", "x", "", 3],
)
def test_only_parts_are_named_and_nothing_else_is_imported(target: Any) -> None:
    before = set(sys.modules)
    [line] = parts.problems({"_target_": target}, "task")
    assert line.startswith("task._target_ must name a part")
    with pytest.raises(UserError, match="must name a part"):
        parts.build({"_target_": target}, "task")
    assert set(sys.modules) == before


def test_a_class_of_a_module_that_is_no_plugin_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "not_a_plugin.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    [line] = parts.problems({"_target_": "not_a_plugin.Thing"}, "model")
    assert "plugins=[...]" in line


def test_text_that_looks_like_an_interpolation_is_text(plugin: str) -> None:
    text = "${oc.create:{_target_:joblib.load}}"
    node = {"_target_": "vae_exp.analysis.completion.Completion", "name": text}
    assert parts.build(node).name == text


def test_a_part_of_another_kind_is_refused() -> None:
    node = {
        "_target_": "vae_exp.models.vae.VAE",
        "prior": {"_target_": "vae_exp.models.likelihoods.BernoulliLikelihood"},
    }
    [line] = parts.problems(node, "model", VAE)
    assert line.startswith("model.prior must be a Prior, got vae_exp.models.likelihoods")
    assert parts.problems(node["prior"], "prior", Prior)


def test_further_keywords_are_given_to_the_constructor() -> None:
    model = parts.build({"_target_": "vae_exp.models.vae.VAE"}, shape=(8, 8), latent_dim=3)
    assert (model.pixels, model.latent_dim) == (64, 3)


def test_a_plugin_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"plugins must name modules .* got 'no_such_module'"):
        parts.add_plugins(["no_such_module"])

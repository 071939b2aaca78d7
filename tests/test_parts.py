"""Parts: a config is held against the constructors it names, and builds nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vae_exp import parts
from vae_exp.config import composing
from vae_exp.errors import UserError
from vae_exp.models.contracts import Prior
from vae_exp.models.vae import VAE

NAME = "parts_of_a_test"
MODULE = """
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Annotated, Any, ClassVar, Literal, Protocol

from annotated_types import Gt, Lt
from vae_exp.ranges import Positive

class Component: ...
class Other: ...
Alias = Literal["a"] | None

class Answers(Protocol):
    def answer(self): ...

class Answering:
    def answer(self): ...

@dataclass
class Parent:
    a: int
    k: ClassVar[int] = 1

@dataclass(frozen=True)
class Child:
    a: int
    b: float = 1.0
    c: list[int] = field(default_factory=list)
    d: int = field(init=False)

class Made:
    def __init__(self, x, y=0):
        self.x, self.y = x, y

class Base:
    def __init__(self, x: ANNOTATION, y: int = 0):
        self.x, self.y = x, y

class Derived(Base): ...

class Open:
    def __init__(self, **rest): ...
"""
BUILT = {"_target_": f"{NAME}.Component"}
OTHER = {"_target_": f"{NAME}.Other"}
ANSWERING = {"_target_": f"{NAME}.Answering"}
CONSTRUCTORS: dict[str, tuple[list[Any], list[Any]]] = {
    "int": ([0, -3], [True, 1.5, "a", "3", None, [1]]),
    "float": ([0, 1.5], [True, "a", "3", None, float("nan"), float("inf")]),
    "bool": ([True], [1, "true", None]),
    "str": (["a"], [1, None]),
    "str | Path | None": (["a", None], [1, [1]]),
    "int | None": ([1, None], ["a", 1.5]),
    "Positive": ([1, 7], [0, -1, 1.5, True, 2**70]),
    "Sequence[Positive]": ([[], [1, 7]], [[1, 0], 3, "a"]),
    "Annotated[float, Gt(0), Lt(1)]": ([0.5], [0, 1, "a", float("nan")]),
    "list[int]": ([[], [1, 2]], [1, ["a"], None]),
    "tuple[int, ...]": ([[1, 2]], [[1, "a"], 1]),
    "tuple[int, float]": ([[1, 2.5]], [[1], [1, 2, 3], 1.5]),
    "Sequence[float]": ([[1, 2.5]], ["ab"]),
    "Literal['a', 'b']": (["a"], ["c", 1]),
    "dict[str, int]": ([{}, {"a": 1}], [1, {"a": "b"}]),
    "Mapping[str, Component]": ([{"a": BUILT}, {}], [1, {"a": 1}, {"a": None}, {"a": OTHER}]),
    "Sequence[Component]": ([[BUILT]], [[1], [OTHER]]),
    "'int | None'": ([1, None], ["a"]),
    "Any": ([1, "a", None, BUILT], []),
    "Alias": (["a", None], ["c", 1]),
    "Component": ([BUILT], [1, "a", None, {"y": 1}, OTHER]),
    "Component | None": ([BUILT, None], [1, OTHER]),
    "Callable[..., Component]": ([BUILT], [1, "a", OTHER]),
    "Answers": ([ANSWERING], [1, OTHER]),
    "'Unheard'": ([1, "a", None], []),
}


@pytest.fixture
def plugin(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A person's own module, whose ``Base`` takes an x of the annotation asked for."""
    annotation = getattr(request, "param", "int")
    (tmp_path / f"{NAME}.py").write_text(MODULE.replace("ANNOTATION", annotation))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(parts, "_trusted", set())
    sys.modules.pop(NAME, None)
    parts.trust([NAME])
    yield NAME
    sys.modules.pop(NAME, None)


def told(node: Any, key: str, kind: Any = Any) -> list[str]:
    """All that is wrong with a node, a line each."""
    return [str(error) for error in parts.problems(node, key, kind)]


@pytest.mark.parametrize("plugin", CONSTRUCTORS, indirect=True)
def test_a_value_is_held_against_its_annotation(
    plugin: str, request: pytest.FixtureRequest
) -> None:
    fits, misfits = CONSTRUCTORS[request.node.callspec.params["plugin"]]
    for target in (f"{plugin}.Base", f"{plugin}.Derived"):
        for value in fits:
            node = {"_target_": target, "x": value}
            assert told(node, "model") == []
            assert type(parts.build(node, "model", Any)).__name__ == target.rpartition(".")[2]
        for value in misfits:
            [line] = told({"_target_": target, "x": value}, "model")
            assert line.startswith("model.x")
            assert "must be" in line
        assert told({"_target_": target}, "model") == [f"model.x is missing: {target} needs it"]
        assert "unknown key 'model.z'" in told({"_target_": target, "z": 1}, "model")[0]


def test_all_problems_are_told_at_once(plugin: str) -> None:
    node = {"_target_": f"{plugin}.Base", "x": "a", "y": 1.5, "z": 1, "_partial_": True}
    lines = told(node, "model")
    assert [line.split(";")[0] for line in lines] == [
        "model.x must be an integer, got 'a'",
        "model.y must be an integer, got 1.5",
        "unknown key 'model.z'",
        "unknown key 'model._partial_'",
    ]
    with pytest.raises(UserError) as caught:
        parts.build(node, "model", Any)
    assert str(caught.value).splitlines() == lines


def test_a_dataclass_is_read_by_its_fields(plugin: str) -> None:
    node = {"_target_": f"{plugin}.Child"}
    assert told(node, "model") == [f"model.a is missing: {plugin}.Child needs it"]
    assert parts.build(node | {"a": 3}, "model", Any).b == 1.0
    assert told(node | {"a": 3, "d": 1}, "model")[0].startswith("unknown key 'model.d'")


def test_a_constructor_that_takes_every_keyword_is_given_it(plugin: str) -> None:
    assert told({"_target_": f"{plugin}.Open", "anything": 1}, "model") == []


@pytest.mark.parametrize("plugin", ["Callable[..., Made]"], indirect=True)
def test_what_a_part_makes_later_is_given_its_other_keywords_later(plugin: str) -> None:
    late = {"_target_": f"{plugin}.Made", "y": 3}
    made = parts.build({"_target_": f"{plugin}.Base", "x": late}, "model", Any).x(x=1)
    assert (type(made).__name__, made.x, made.y) == ("Made", 1, 3)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "joblib.load",
        "vae_exp.training.distributed.Helper",
        "vae_exp.parts.build",
        "torch.optim.SGD",
        f"{NAME}.subprocess.Popen",
        f"{NAME}.Popen",
        f"{NAME}.subprocess",
        "x",
        "",
        3,
        {"a": 1},
    ],
)
def test_only_parts_are_named_and_nothing_else_is_imported(plugin: str, target: Any) -> None:
    before = set(sys.modules)
    [line] = told({"_target_": target}, "task")
    assert line.startswith("task._target_ must be a class")
    with pytest.raises(UserError, match="must be a class"):
        parts.build({"_target_": target}, "task", Any)
    assert set(sys.modules) == before


@pytest.mark.parametrize("plugin", ["Any"], indirect=True)
@pytest.mark.parametrize("deep", [[], [[]], [{"a": []}], {"a": [{"b": {}}]}])
def test_a_class_is_refused_however_deep_it_lies(plugin: str, deep: Any) -> None:
    """Also if an annotation says nothing of what lies there."""
    evil = {"_target_": "os.system", "command": "touch executed"}
    place = deep
    while place:
        place = next(iter(place.values())) if isinstance(place, dict) else place[0]
    place.update(evil) if isinstance(place, dict) else place.append(evil)
    line = told({"_target_": f"{plugin}.Base", "x": deep}, "model")[0]
    assert "_target_ must be a class that conf/model names, got 'os.system'" in line


def test_a_class_of_a_module_that_is_no_plugin_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "not_a_plugin.py").write_text("raise SystemExit('executed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    [line] = told({"_target_": "not_a_plugin.Thing"}, "model")
    assert "plugins=[not_a_plugin]" in line


def test_a_class_that_a_plugin_has_not_is_told_the_nearest(plugin: str) -> None:
    [line] = told({"_target_": f"{plugin}.Compnent"}, "model")
    assert line.endswith(f"did you mean {plugin}.Component?")


def test_a_part_of_another_kind_is_refused() -> None:
    node = {
        "_target_": "vae_exp.models.vae.VAE",
        "prior": {"_target_": "vae_exp.models.likelihoods.BernoulliLikelihood"},
    }
    [line] = told(node, "model", VAE)
    assert line.startswith("model.prior must be of kind Prior, got BernoulliLikelihood")
    assert told({"_target_": "vae_exp.models.likelihoods.BernoulliLikelihood"}, "model", Prior)


def test_a_plugin_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^plugins: 'no_such_module' cannot be imported"):
        parts.trust(["no_such_module"])


@pytest.mark.parametrize("name", composing.choices("callbacks"))
def test_a_file_of_conf_is_read_as_hydra_composes_it(name: str) -> None:
    overrides = composing.parse([f"callbacks={name}"])
    composed = composing.plain_config(composing.composed(overrides))["callbacks"]
    assert parts.choice("callbacks", name) == composed

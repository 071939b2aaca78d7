"""Parts: the classes that a config names by `_target_`, held against their constructors and built.

A constructor's keyword signature is its schema: each plain value is validated by its annotation,
each part below it by the class that the annotation asks for. Nodes are plain containers, of which
nothing is resolved. What a node may name:

- a class that a file of this package's ``conf/GROUP`` names, whoever wrote the config;
- a class of a module that the command line named, by ``plugins=[MODULE]`` (see ``trust``);
- in a group of ``LIBRARIES``, the library's own classes: in a config that a person composes, and
  if they are harmless also in one that lies in a run's folder.

So a config that comes from elsewhere runs nothing but this package and what a person has named.
"""

import difflib
import importlib
import inspect
import os
import reprlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vae_exp import annotations
from vae_exp.errors import Mistyped, UserError, all_of, first_line

PACKAGE = Path(__file__).resolve().parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
TARGET = "_target_"
HOLDS = {"model": ("prior", "likelihood", "posterior")}  # groups whose parts lie in another's


@dataclass(frozen=True)
class Library:
    """Classes of a library that a group takes as they are."""

    module: str
    harmless: bool = False  # whatever its arguments are: it touches neither files nor a network
    within: str | None = None  # the part of ours whose first keyword makes it one of this group


LIBRARIES = {
    "optimizer": Library("torch.optim", True, "vae_exp.training.optimizers.Scheduled"),
    "callbacks": Library("pytorch_lightning.callbacks"),
    "logger": Library("pytorch_lightning.loggers"),
}
_trusted: set[str] = set()  # modules that the command line, or a notebook, has named


def trust(plugins: Iterable[str]) -> None:
    """Let parts be classes of these modules, of the working folder too; raises UserError."""
    plugins = [name for name in plugins if name not in _trusted]
    here = os.getcwd()
    if plugins and here not in sys.path:
        sys.path.append(here)
    for name in plugins:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise UserError(
                f"plugins: {name!r} cannot be imported from {here} or the packages installed: "
                f"{type(error).__name__}: {first_line(error)}"
            ) from error
        _trusted.add(name)


def trust_libraries() -> None:
    """Let every group of LIBRARIES hold its library's classes: if a person composes its config."""
    _trusted.update(library.module for library in LIBRARIES.values())


def trusted() -> list[str]:
    """The modules whose classes may be named, to be handed to a process that helps."""
    return sorted(_trusted)


def refuse_unnamed(where: object, plugins: object) -> None:
    """Raise UserError if what lies somewhere asks for plugins that nobody has named here."""
    names = [str(name) for name in plugins] if isinstance(plugins, list) else []
    unnamed = [name for name in names if name not in _trusted]
    if unnamed:
        raise UserError(
            f"plugins: {where} was made with classes of {', '.join(unnamed)}, a module that runs "
            f"only if you name it: add plugins=[{','.join(names)}]"
        )


@cache
def of(group: str) -> frozenset[str]:
    """The classes that the files of the package's own ``conf/GROUP`` name at any depth."""
    groups = (group, *HOLDS.get(group, ()))
    files = sorted(file for each in groups for file in (CONF / each).glob("*.yaml"))
    nodes = [choice(file.parent.name, file.stem) for file in files]
    return frozenset(target for node in nodes for target in _targets(node))


@cache
def choice(group: str, name: str) -> Any:
    """What the file of a choice in the package's own ``conf/`` holds, with what it inherits."""
    loaded = OmegaConf.load(CONF / group / f"{name}.yaml")  # to which 1e-3 is a number
    node: Any = OmegaConf.to_container(loaded, resolve=False)
    below: dict[str, Any] = {}
    for entry in node.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            below = _over(below, choice(group, entry))
    return _over(below, node)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two nodes as Hydra composes them: the upper one's values, key by key."""
    merged = {
        key: _over(below[key], value)
        if isinstance(value, dict) and isinstance(below.get(key), dict)
        else value
        for key, value in above.items()
    }
    return below | merged


def _targets(node: Any) -> Iterator[str]:
    if is_part(node):
        yield node[TARGET]
    for item in _items(node).values():
        yield from _targets(item)


def is_part(node: Any) -> bool:
    """Whether a node names a class."""
    return isinstance(node, dict) and TARGET in node


def _items(node: Any) -> dict[str, Any]:
    """What lies directly in a mapping or a list, by the words of its dotted keys."""
    if isinstance(node, dict):
        return {str(key): item for key, item in node.items() if key != TARGET}
    return {str(index): item for index, item in enumerate(node if isinstance(node, list) else ())}


def build(node: Any, key: str, kind: Any) -> Any:
    """The object of a ``kind`` that a node describes, with all that lie below it.

    key: its dotted place in the config, whose first word is its group. Nothing is built before all
    of it is checked. Raises UserError naming each key at fault.
    """
    check(node, key, kind)
    return _built(node, key, kind)


def check(node: Any, key: str, kind: Any = Any) -> None:
    """Raise UserError, naming each key, if a node does not fit; nothing is built."""
    all_of(problems(node, key, kind))


def problems(node: Any, key: str, kind: Any = Any) -> Iterator[UserError]:
    """All that is wrong at or below a node, an error for each key."""
    yield from _of_names(node, key)
    yield from _of_value(_kind_of(node, key, kind), node, key)


def _of_names(node: Any, key: str) -> Iterator[UserError]:
    """What no config may hold, at whatever depth: another class, or text that Hydra resolves."""
    if isinstance(node, str) and "${" in node:
        yield UserError(f"{key} must not hold ${{, which a run's config cannot keep, got {node!r}")
    if is_part(node) and (refused := _refused(node[TARGET], key)) is not None:
        yield refused
    for name, item in _items(node).items():
        yield from _of_names(item, f"{key}.{name}")


def _kind_of(node: Any, key: str, kind: Any) -> Any:
    """What a node must be: a library's class need only be what a part of ours makes use of."""
    within = _within(node, key)
    if within is None:
        return kind
    return next(iter(annotations.parameters(within).values())).annotation


def _within(node: Any, key: str) -> Any:
    """The part of ours that a library's class at the root of its group is put into."""
    library = LIBRARIES.get(key)
    if library is None or library.within is None or not is_part(node):
        return None
    return _named(library.within) if _is_in(node[TARGET], library.module) else None


def _is_in(target: Any, module: str) -> bool:
    return isinstance(target, str) and target.startswith(f"{module}.")


def _built(value: Any, key: str, kind: Any) -> Any:
    if not is_part(value):
        inner = annotations.inner(kind)
        items = {name: _built(item, "", inner) for name, item in _items(value).items()}
        return list(items.values()) if isinstance(value, list) else items or value
    part = _named(value[TARGET])
    within = _within(value, key)
    kind = _kind_of(value, key, kind)
    declared = annotations.parameters(part)
    given = {
        name: _built(item, "", declared[name].annotation if name in declared else Any)
        for name, item in _items(value).items()
    }
    made = partial(part, **given) if annotations.is_late(kind) else part(**given)
    return made if within is None else within(made)


def _of_value(kind: Any, value: Any, key: str) -> Iterator[UserError]:
    if is_part(value):
        yield from _of_part(value, key, kind)
    elif _holds_parts(kind, value):
        for name, item in _items(value).items():
            yield from _of_value(annotations.inner(kind), item, f"{key}.{name}")
    elif not annotations.accepts(kind, value):
        got = reprlib.repr(value)
        listed = f": write [{got}]" if annotations.accepts(kind, [value]) else ""
        yield UserError(f"{key} must be {annotations.in_words(kind)}, got {got}{listed}")


def _holds_parts(kind: Any, value: Any) -> bool:
    """Whether what lies in a value is to be held against what its kind says of it, one by one."""
    kinds = {annotations.origin_of(each) for each in annotations.options(kind)}
    if isinstance(value, dict) and kinds & {*annotations.MAPPINGS}:
        return True
    return bool(kinds & {Any, *annotations.LISTS}) and any(True for _ in _targets(value))


def _of_part(node: dict[str, Any], key: str, kind: Any) -> Iterator[UserError]:
    target = node[TARGET]
    if _refused(target, key) is not None:  # which is told already
        return
    part = _named(target)
    kinds = [each for each in annotations.options(kind) if each is not type(None)]
    if not any(annotations.fits(each, part) for each in kinds):
        wanted = " or ".join(getattr(each, "__name__", str(each)) for each in kinds)
        yield UserError(f"{key} must be of kind {wanted}, got {part.__name__}")
        return
    declared = annotations.parameters(part)
    for name, item in _items(node).items():
        if name in declared:
            yield from _of_value(declared[name].annotation, item, f"{key}.{name}")
        elif not annotations.is_open(part):
            takes = f"; {target} takes {', '.join(declared) or 'nothing'}"
            yield Mistyped(f"{key}.{name}", f"unknown key '{key}.{name}'", takes)
    late = annotations.is_late(kind)
    for name, parameter in declared.items():
        if parameter.default is parameter.empty and name not in node and not late:
            yield UserError(f"{key}.{name} is missing: {target} needs it")


def _refused(target: Any, key: str) -> UserError | None:
    """Why a name may not be a part at a key, if it may not; imports only what may be."""
    group = key.partition(".")[0]
    what, known = f"a class that conf/{group} names", of(group)
    name = str(target)
    module = name.rpartition(".")[0]
    modules = {*_trusted, *(each.module for each in LIBRARIES.values() if each.harmless)}
    modules -= {each.module for other, each in LIBRARIES.items() if other != group}
    if name not in known and any(_is_in(name, each) for each in modules):
        what, known = f"a class of {module}", _classes(module, modules)
    if name in known:
        return None
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    if not hint and module.replace(".", "").isidentifier() and not _is_in(name, "vae_exp"):
        hint = f"; a class of your own needs plugins=[{module}]"
    return UserError(f"{key}.{TARGET} must be {what}, got {target!r}{hint}")


def _classes(module: str, modules: Iterable[str]) -> frozenset[str]:
    """The classes that a module holds, by their names there: those that one of ``modules`` made."""
    try:
        found = vars(importlib.import_module(module))
    except ImportError:
        return frozenset()
    return frozenset(
        f"{module}.{name}"
        for name, each in found.items()
        if inspect.isclass(each) and any(_is_in(f"{each.__module__}.", own) for own in modules)
    )


def _named(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def class_of(node: Any, key: str) -> Any:
    """The class that a node names; None if it names none that may be a part at the key."""
    if not is_part(node) or _refused(node[TARGET], key) is not None:
        return None
    return _named(node[TARGET])


def named_parameters(target: Any, key: str) -> list[str]:
    """The keywords that the class named at a key takes; none if it may not be named there."""
    if _refused(target, key) is not None:
        return []
    return list(annotations.parameters(_named(target)))

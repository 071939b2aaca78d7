"""The parts of the package: the classes that its own conf/ names, and no others."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

PACKAGE = Path(__file__).resolve().parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


HOLDS = {"model": ("prior", "likelihood", "posterior")}  # groups whose parts lie in another's


@cache
def of(group: str) -> frozenset[str]:
    """The classes that the files of ``conf/GROUP`` name at any depth: what a config may build."""
    groups = (group, *HOLDS.get(group, ()))
    files = sorted(file for each in groups for file in (CONF / each).glob("*.yaml"))
    return frozenset(
        target
        for file in files
        for target in _targets(yaml.safe_load(file.read_text(encoding="utf-8")))
    )


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    for item in node if isinstance(node, list) else []:
        yield from _targets(item)

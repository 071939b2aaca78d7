"""The house: which package may import which, and what the ground floor knows nothing of."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vae_exp"
# From the ground up: a package imports itself, those before it, and what stands beside them all.
FLOORS = ["probability", "inference", "models", "data", "evaluation", "figures", "analysis"]
BESIDE = {"errors", "ranges", "memory", "files", "atomic", "folders"}
MODULES = [file for floor in FLOORS for file in sorted((PACKAGE / floor).rglob("*.py"))]


def dotted(file: Path) -> str:
    return ".".join(["vae_exp", *file.relative_to(PACKAGE).with_suffix("").parts])


def imported(file: Path) -> Iterator[str]:
    """The dotted names that a module imports anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", MODULES, ids=dotted)
def test_a_package_imports_only_what_stands_before_it(file: Path) -> None:
    floor = FLOORS.index(file.relative_to(PACKAGE).parts[0])
    allowed = {*FLOORS[: floor + 1], *BESIDE}
    for name in imported(file):
        if name.startswith("vae_exp."):
            assert name.split(".")[1] in allowed, f"{dotted(file)} imports {name}"


@pytest.mark.parametrize("file", MODULES, ids=dotted)
def test_up_to_the_analyses_nothing_knows_hydra_or_lightning(file: Path) -> None:
    if dotted(file) == "vae_exp.data.module":  # the LightningDataModule
        return
    libraries = {name.partition(".")[0] for name in imported(file)}
    assert not libraries & {"hydra", "omegaconf", "pytorch_lightning"}


def test_the_floors_are_all_packages_that_there_are() -> None:
    found = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert found == {*FLOORS, "sweeping"}

"""The house: which package may import which, and what the ground floor knows nothing of."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "vae_exp"
# From the ground up: a package imports itself, those before it, and what stands beside them all.
FLOORS = ["probability", "inference", "models", "data", "evaluation", "figures", "analysis"]
FLOORS += ["runs", "report", "training", "config", "sweeping", "cli"]
BESIDE = {file.stem for file in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
HYDRA = {"config", "sweeping", "cli"}
LIGHTNING = {"training"}
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
def test_hydra_and_lightning_are_known_where_they_are_used(file: Path) -> None:
    libraries = {name.partition(".")[0] for name in imported(file)}
    floor = file.relative_to(PACKAGE).parts[0]
    assert "hydra" not in libraries or floor in HYDRA
    with_lightning = floor in LIGHTNING or dotted(file) == "vae_exp.data.module"
    assert "pytorch_lightning" not in libraries or with_lightning


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*.py")), ids=dotted)
def test_what_stands_beside_imports_nothing_of_the_house(file: Path) -> None:
    if file.stem in ("__init__", "__main__"):  # the two doors
        return
    for name in imported(file):
        assert name.split(".")[:2] not in [["vae_exp", floor] for floor in FLOORS], name


def test_no_two_classes_share_a_name() -> None:
    names = Counter(
        node.name
        for file in PACKAGE.rglob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_the_floors_are_all_packages_that_there_are() -> None:
    found = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert found == {*FLOORS}


@pytest.mark.parametrize("file", MODULES, ids=dotted)
def test_hydra_is_used_by_its_public_interface(file: Path) -> None:
    assert not [name for name in imported(file) if name.startswith("hydra._")]
    assigned = [
        ast.unparse(target)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign)
        for target in node.targets
    ]
    assert "sys.argv" not in assigned

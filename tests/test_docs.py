"""What the documents say can be typed: every command composes, every file and link is there."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from vae_exp.config import composing, splitting
from vae_exp.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
KEY = r"[+~]{0,2}[a-z_][a-z_./]*="  # what an override starts with
OURS = ("python -m vae_exp", "vae-exp")
PLACEHOLDER = re.compile(r"\b(NAME|FILE|FOLDER|HOST|A,B)\b")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pages() -> list[tuple[str, str]]:
    """Each document, by its name."""
    return [(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8")) for page in PAGES]


def blocks(text: str) -> Iterator[str]:
    """The commands of a page's blocks, one a line."""
    fenced = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(r"(?:^ {4}.*\n)+", without_fences(text), re.M)
    for block in [*fenced, *(found for found in indented if not is_output(found))]:
        yield from re.sub(r"\\\n", " ", block).splitlines()


def without_fences(text: str) -> str:
    """A page's text between its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def is_output(block: str) -> bool:
    """Whether a block shows what was printed."""
    return block.lstrip().startswith(("best val/elbo", "not finished"))


def spans(text: str) -> Iterator[str]:
    """The commands and the overrides within sentences."""
    starts = (*OURS, "python ", ".venv/bin/", "uv ", "make", "pytest ", "tensorboard ", "pip ")
    for span in re.findall(r"`([^`\n]+)`", without_fences(text)):
        if span.startswith(starts) or all(re.match(f"{KEY}.|-m$", word) for word in span.split()):
            yield span


def found() -> list[tuple[str, str]]:
    """Every command, and the page that it stands in."""
    commands = []
    for name, text in pages():
        commands += [(name, command.strip()) for command in (*blocks(text), *spans(text))]
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        for command in re.findall(r"^#.*?(python -m vae_exp.*)", path.read_text("utf-8"), re.M):
            commands.append((str(path.relative_to(ROOT)), command))
    return [(name, command) for name, command in commands if not PLACEHOLDER.search(command)]


def words_of(command: str, variables: dict[str, str]) -> list[str]:
    """A command's words, without its comment and with its variables."""
    command = command.replace("outputs/DATE/TIME", "latest")
    for name, value in variables.items():
        command = command.replace(f"${name}", value)
    return shlex.split(command, comments=True)


def check(words: list[str]) -> None:
    """Raise UserError or AssertionError if a command is not right."""
    match [re.sub(r"^\.venv/bin/", "", words[0]), *words[1:]]:
        case ["uv", "run", *more]:
            check(more)
        case ["python", "-m", "vae_exp", *ours] | ["vae-exp", *ours]:
            composes(tuple(ours))
        case ["make", *targets]:
            check_make(targets)
        case ["pytest", *rest]:
            check_pytest(rest)
        case ["python", "-m", "pip", "install", *rest]:
            check_pip(rest)
        case ["python", script, *options]:
            text = (ROOT / script).read_text(encoding="utf-8")
            assert all(f'"{word}"' in text for word in options if word.startswith("--"))
        case ["tensorboard", "--logdir", "outputs"] | [".", ".venv/bin/activate"]:
            pass
        case [override] if re.match(KEY, override):  # a part of a command, named in a sentence
            composing.composed(composing.parse([override]))
        case overrides if all("=" in word or word == "-m" for word in overrides):
            composes(tuple(overrides))
        case other:
            raise AssertionError(f"no check knows {shlex.join(other)}")


@cache
def composes(words: tuple[str, ...]) -> None:
    """Hold the words after the program's name against the config; a sweep's jobs one by one."""
    if words == ("--help",):
        return
    overrides = composing.parse([word for word in words if word != "-m"])
    if any(override.key_or_group == "resume" for override in overrides):
        overrides = [override for override in overrides if override.key_or_group != "resume"]
        if any(override.key_or_group.startswith("hydra.sweeper") for override in overrides):
            overrides = [*composing.parse(["+sweep=optuna"]), *overrides]
        composing.composed(overrides)
        return
    jobs = [overrides]
    if "-m" in words:
        fixed = composing.composed([one for one in overrides if not one.is_sweep_override()])
        jobs = splitting.jobs(fixed, overrides)
    for job in jobs:
        composing.check(composing.composed(job), job)


def check_make(words: list[str]) -> None:
    """The target is there, and what is handed on is right."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    target, given = words[0] if words else "run", "".join(words[1:]).partition("=")
    assert re.search(rf"^{target}:", makefile, re.M), target
    assert given[0] in ("", "ARGS")
    if target == "run":
        composes(tuple(given[2].split()))
    elif given[2]:
        benchmarks = (ROOT / "benchmarks" / "__main__.py").read_text(encoding="utf-8")
        assert all(f'"{part}"' in benchmarks for part in given[2].split())


def check_pytest(words: list[str]) -> None:
    """The files are there, and each word of -k is in the name of a test of theirs."""
    words = [word for word in words if word not in ("-n", "2")]
    if words == ["-m", "slow"]:
        return
    files, _, chosen = " ".join(words).partition(" -k ")
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in files.split())
    for word in re.findall(r"\w+", chosen):
        if word not in ("or", "and", "not"):
            assert re.search(rf"def test_\w*{word}|{word}\w*\.py", text + files), word


def check_pip(words: list[str]) -> None:
    """The constraints are there, and the extra too."""
    assert words[:3] == ["-c", "constraints.txt", "-e"]
    extra = re.fullmatch(r"\.\[(\w+)\]", words[-1])
    assert extra
    assert extra[1] in PYPROJECT["project"]["optional-dependencies"]


@pytest.mark.slow
@pytest.mark.imports_torch
def test_every_command_of_the_documents_is_right() -> None:
    commands = found()
    assert len(commands) > 60
    variables: dict[str, str] = {}
    wrong = []
    for page, command in commands:
        assigned = re.fullmatch(r"([A-Z]+)=\"(.*)\"", command)
        if assigned:
            variables[assigned[1]] = assigned[2]
        elif command not in ("", "^C"):
            try:
                check(words_of(command, variables))
            except (UserError, ValueError, AssertionError, OSError) as error:
                wrong.append(f"{page}: {command}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("name", "text"), pages(), ids=[name for name, _ in pages()])
def test_links_lead_to_files_that_are_there(name: str, text: str) -> None:
    folder = (ROOT / name).parent
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, flags=re.M)
    }
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        there = link[1:] in headings if link.startswith("#") else (folder / link).exists()
        assert there, link
    for page in re.findall(r"\bdocs/\w+\.md", text):
        assert (ROOT / page).exists(), page


def test_the_readme_names_the_files_that_are_looked_for() -> None:
    names = re.findall(
        r'"([\w-]+-ubyte)"', (ROOT / "vae_exp/data/sources/mnist.py").read_text("utf-8")
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(names) == 4
    assert all(f"`{name}`" in readme for name in names)


def test_uv_installs_the_versions_that_pip_installs() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert PYPROJECT["tool"]["uv"]["constraint-dependencies"] == pins

"""The looks that a run's metrics.json tells of: which task made each, and with which settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from vae_exp.parts import CONF

UNTOLD = (
    "seed",
    "settings",
    "figures",
)  # of a look in metrics.json: what is not found, but about it


@dataclass(frozen=True)
class PastLook:
    """What one analysis found, under the name that its numbers and figures share."""

    name: str
    task: str
    settings: dict[str, Any]
    figures: list[str]
    numbers: dict[str, Any]

    @property
    def title(self) -> str:
        """The task and what was asked of it."""
        asked = ", ".join(f"{key} {_plain(value)}" for key, value in self.settings.items())
        return self.task.replace("_", " ") + (f" ({asked})" if asked else "")

    @property
    def heading(self) -> str:
        """The title as a heading."""
        return f"{self.title[:1].upper()}{self.title[1:]}"


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def looks_of(metrics: Mapping[str, Any]) -> list[PastLook]:
    """All looks, in the order in which they were first taken."""
    return [_look(name, node) for name, node in metrics.get("analyses", {}).items()]


def _look(name: str, node: dict[str, Any]) -> PastLook:
    settings, figures = node.get("settings"), node.get("figures")
    asked = settings if isinstance(settings, dict) else {}
    return PastLook(
        name,
        task_of(name, asked),
        asked,
        [str(path) for path in figures] if isinstance(figures, list) else [],
        {key: value for key, value in node.items() if key not in UNTOLD},
    )


def task_of(name: str, settings: Mapping[str, Any]) -> str:
    """The task of ``conf/task`` that took a look, whose settings follow in its name.

    The name itself if there is none: training has taken the look.
    """
    fitting = [each for each in tasks() if name.startswith((f"{each}_", f"{each}-"))]
    return max(fitting, key=len, default=name) if settings else name


def named(looks: list[PastLook], task: str) -> list[PastLook]:
    """The looks that a task made, those with fewer settings first."""
    return sorted((look for look in looks if look.task == task), key=lambda x: len(x.settings))


@cache
def tasks() -> tuple[str, ...]:
    """The names of ``conf/task``."""
    return tuple(sorted(file.stem for file in (CONF / "task").glob("*.yaml")))


@cache
def described(task: str) -> str:
    """What ``conf/task/TASK.yaml`` says of its task in its second line; empty if there is none."""
    file = CONF / "task" / f"{task}.yaml"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return lines[1].removeprefix("# ") if len(lines) > 1 and lines[1].startswith("# ") else ""

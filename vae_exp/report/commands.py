"""Commands that made, or would make, what a page shows."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vae_exp import folders
from vae_exp.errors import UserError
from vae_exp.knobs import KNOBS
from vae_exp.report.looks import PastLook
from vae_exp.report.markup import Markup, code, tag
from vae_exp.runs import plain

PROGRAM = ("python", "-m", "vae_exp")


class Commands:
    """The commands of a run in its folder.

    unsuited: tasks that say nothing about the run, and why.
    """

    def __init__(self, folder: Path, unsuited: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.unsuited = unsuited or {}
        self.run = folders.shown(folder)

    def trained(self) -> str | None:
        """The command that trains such a run again; None if its words were not put down."""
        path = self.folder / folders.STARTED
        try:
            return typed(map(str, plain.read(path, list)))
        except UserError:
            return None

    def look(self, task: str, words: Iterable[str] = (), run: str | None = None) -> str:
        """The command that puts a task to the run."""
        return typed([f"task={task}", f"run={run or self.run}", *words])

    def again(self, look: PastLook) -> str:
        """The command that takes a look again, with its settings."""
        settings = dict(look.settings)
        checkpoint, above = settings.pop("checkpoint", None), settings.pop("above", None)
        if above is not None:  # of task=ceiling, which asks two runs
            return typed([f"task={look.task}", f"runs=[{above},{self.run}]", *_words(settings)])
        run = None
        if checkpoint is not None:
            run = folders.shown(self.folder / folders.CHECKPOINTS / f"{checkpoint}.ckpt")
        return self.look(look.task, _words(settings), run)

    def missing(self, task: str, what: str) -> Markup:
        """That something was not computed, and the command that adds it or why there is none."""
        if task in self.unsuited:
            return tag("p", f"{what} It cannot be: {self.unsuited[task]}.", class_="note")
        return tag("p", f"{what} To add it: ", code(self.look(task)), class_="note")


def typed(words: Iterable[str]) -> str:
    """The program with some words, as a shell takes them."""
    return shlex.join([*PROGRAM, *words])


def _words(settings: Mapping[str, Any]) -> Iterable[str]:
    for key, value in settings.items():
        listed = f"[{','.join(map(str, value))}]" if isinstance(value, list) else value
        text = "null" if value is None else str(listed)
        if isinstance(value, bool):
            text = text.lower()
        yield f"{key if key in KNOBS else f'task.{key}'}={text}"

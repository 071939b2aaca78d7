"""The contract of an analysis, what it hands back, and the name under which that is kept."""

import copy
import hashlib
import inspect
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rich.table import Table

from vae_exp.data import Splits
from vae_exp.data.splits import About
from vae_exp.errors import UserError, first_line
from vae_exp.models.vae import VAE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 120  # characters of a look's name, which is part of a file's


@dataclass(frozen=True)
class Findings:
    """What an analysis found.

    ``figures`` are saved as figures/NAME.png and shown in TensorBoard; ``numbers`` are plain
    containers that go into metrics.json; ``tables`` are printed. ``brief`` is what training prints
    of them at its end. A notebook shows the tables and figures of what a cell ends with.
    """

    figures: "dict[str, Figure]" = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    brief: Table | None = None

    def _ipython_display_(self) -> None:
        from IPython.display import display  # only IPython calls this

        display(*self.tables, *self.figures.values())


@runtime_checkable
class Analysis(Protocol):
    """A question put to a trained model; the same object serves the command line and training.

    The model and the images are on the processor, whatever trains the model: see `look_at`.
    Its constructor's keywords are its attributes too: those that differ from their defaults name
    what it finds. With ``needs_images = False`` it is given About if no images are at hand.
    """

    name: str

    def unsuited(self, model: VAE, splits: Splits | About) -> str | None:
        """Why it says nothing about this model or these images, or None; asked before training."""
        ...

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """Answer it; all randomness comes from ``seed``."""
        ...


@dataclass(frozen=True)
class Origin:
    """The run whose model is looked at: its seed, its name, and the checkpoint if one was named."""

    seed: int
    run: str | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class Look:
    """Findings under a name of their own, which numbers and figures share."""

    name: str
    settings: dict[str, Any]
    findings: Findings


def look_at(
    analysis: Analysis, model: VAE, splits: Splits | About, seed: int, origin: Origin
) -> Look:
    """Put an analysis to a model and name what it finds after all that was asked of it.

    The name is the analysis's, then each setting that is not the default, the seed if it is not
    the run's, and the checkpoint: so no look replaces another one. Of a model on a GPU the
    analysis is given a copy on the processor, so it finds there what it finds after training.
    """
    if model.device.type != "cpu":
        model = copy.deepcopy(model).cpu()
    settings = asked(analysis)
    if seed != origin.seed:
        settings["seed"] = seed
    if origin.checkpoint is not None:
        settings["checkpoint"] = origin.checkpoint
    name = "_".join([analysis.name, *(key + in_words(value) for key, value in settings.items())])
    if len(name) > LONGEST:
        name = f"{analysis.name}_{digest(name)}"
    weights = "checkpoint " + in_words(origin.checkpoint)[1:] if origin.checkpoint else None
    shown = ", ".join(filter(None, (origin.run, weights))) or None
    found = analysis(model, replace(splits, run=shown), seed)  # type: ignore[arg-type]
    figures = {}
    for key, figure in found.figures.items():
        rest = key.removeprefix(analysis.name).removeprefix("_")
        figures["_".join(filter(None, (name, rest)))] = figure
    return Look(name, settings, replace(found, figures=figures))


def asked(analysis: Analysis) -> dict[str, Any]:
    """The settings of an analysis that differ from its constructor's defaults, but for its name."""
    settings = {}
    for parameter in inspect.signature(type(analysis)).parameters.values():
        default = plain(parameter.default)
        value = plain(getattr(analysis, parameter.name, default))
        if parameter.name != "name" and value != default:
            settings[parameter.name] = value
    return settings


def plain(value: Any) -> Any:
    """A list for a tuple, as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def in_words(value: Any) -> str:
    """A setting's value in the name of a file: 3 is 3, "left" is -left, a/b.png is -b-1f2e3d4c."""
    if isinstance(value, list):
        return "-".join(in_words(item) for item in value)
    text = f"-{value}" if isinstance(value, str) else str(value)
    if re.search(r"[/\\]|\.[a-zA-Z]+$", text):  # a file: others may have its name
        text = f"-{PurePath(text).stem}-{digest(text)}"
    return re.sub(r"[^\w.-]+", "-", text)


def digest(text: str) -> str:
    """A few characters that stand for a text, as a name must not be too long or hold a slash."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def answer(analysis: Analysis, model: VAE, splits: Splits, seed: int, origin: Origin) -> Look | str:
    """As ``look_at``; if the analysis fails, why, after a line on stderr: no training is lost."""
    try:
        return look_at(analysis, model, splits, seed, origin)
    except Exception as error:  # noqa: BLE001
        return tell_skipped(analysis.name, error)


def tell_skipped(name: str, error: Exception) -> str:
    """Why an analysis is skipped, after a line on stderr."""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    reason = f"{kind}{first_line(error)}"
    print(f"{name} is skipped: {reason}", file=sys.stderr)
    return reason

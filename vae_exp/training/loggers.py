"""Where a run's bounds are logged: event files, or loggers of another library in its folder.

Lightning is imported when a logger is made.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_exp import folders
from vae_exp.errors import UserError
from vae_exp.parts import CONF, build, choice

if TYPE_CHECKING:
    from pytorch_lightning import Callback
    from pytorch_lightning.loggers import Logger

    from vae_exp.training.callbacks import QuietTensorBoard

OLDER = {"tensorboard": {"_target_": "vae_exp.training.loggers.TensorBoard"}}  # runs without one
DATABASE = "sqlite:///"  # how the address of a file begins


class TensorBoard:
    """Event files in the run's folder; a resumed run goes on where they were cut back to."""


@dataclass
class Loggers:
    """What a run logs to; the event files are ours, so that a resumed run can go on in them."""

    events: "QuietTensorBoard | None" = None
    others: "list[Logger]" = field(default_factory=list)

    @property
    def all(self) -> "list[Logger]":
        """All of them, the event files first."""
        return [*([self.events] if self.events else []), *self.others]

    def sizes(self) -> dict[str, int]:
        """The length of each event file."""
        return self.events.sizes() if self.events else {}

    def save(self) -> None:
        """Write out what is pending."""
        for logger in self.all:
            logger.save()

    def start(self, settings: Mapping[str, Any]) -> None:
        """Tell a run's settings."""
        for logger in self.others:
            logger.log_hyperparams(dict(settings))

    def end(self, numbers: Mapping[str, float], step: int) -> None:
        """Tell a run's test numbers, and that it is done."""
        for logger in self.others:
            logger.log_metrics(dict(numbers), step)
            logger.save()
            logger.finalize("success")


def loggers(config: Mapping[str, Any], folder: Path) -> Loggers:
    """The loggers of a run in its folder; raises UserError if a library is missing."""
    from vae_exp.training.callbacks import QuietTensorBoard

    found = Loggers()
    for name, node in _nodes(config, "logger").items():
        part = _built(_inside(node, folder), f"logger.{name}")
        if isinstance(part, TensorBoard):
            found.events = QuietTensorBoard(folder)
        else:
            found.others.append(part)
    return found


def callbacks(config: Mapping[str, Any], metrics: Mapping[str, str]) -> "list[Callback]":
    """The callbacks of a run; raises UserError if one waits for a number that is not logged.

    metrics: the names that are logged, and in which ``mode`` each is better.
    """
    found = {
        name: _built(node, f"callbacks.{name}")
        for name, node in _nodes(config, "callbacks").items()
    }
    for part in found.values():  # what a callback of ours finds, another can wait for
        metrics = {**metrics, **getattr(part, "logs", {})}
    for name, part in found.items():
        monitor = getattr(part, "monitor", None)
        if monitor is None:
            continue
        if monitor not in metrics:
            validated = any(metric.startswith("val/") for metric in metrics)
            why = "" if validated else ": no images validate (data.validation_size=0)"
            allowed = ", ".join(metrics)
            raise UserError(
                f"callbacks.{name}.monitor must be one of {allowed}, got {monitor!r}{why}"
            )
        mode = getattr(part, "mode", metrics[monitor])
        if metrics[monitor] and mode != metrics[monitor]:
            raise UserError(
                f"callbacks.{name}.mode must be {metrics[monitor]} for {monitor}, got {mode!r}"
            )
    return list(found.values())


def _built(node: Any, key: str) -> Any:
    try:
        return build(node, key, object)
    except ModuleNotFoundError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{key} needs a package that is not installed: {reason}") from error


def _nodes(config: Mapping[str, Any], group: str) -> dict[str, Any]:
    """The parts of a group by their names; raises UserError if it has another shape."""
    nodes = config.get(group, OLDER if group == "logger" else {})
    for name, node in nodes.items():
        if not isinstance(node, dict) or "_target_" not in node:
            raise UserError(f"{group}.{name} must be a part with a _target_, got {node!r:.80}")
    return dict(nodes)


def _inside(node: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A logger's node whose relative places lie in the run's folder."""
    node = dict(node)
    for key in ("save_dir", "artifact_location"):
        if isinstance(node.get(key), str) and "://" not in node[key]:
            node[key] = str(folder / node[key])
    uri = node.get("tracking_uri")
    if isinstance(uri, str) and uri.startswith(DATABASE):
        node["tracking_uri"] = DATABASE + str(folder / uri.removeprefix(DATABASE))
    return node


def refuse_elsewhere(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse what lets a config that lies in a folder write, or send, anything out of the folder.

    Of the classes that `conf/callbacks` and `conf/logger` name, such a config may set the keys that
    stand there, no switch otherwise, and no text that is a place elsewhere. Raises UserError.
    """
    for group in ("callbacks", "logger"):
        for name, node in _nodes(config, group).items():
            stated = _stated(group).get(node["_target_"], {})
            for key, value in node.items():
                if key != "_target_":
                    _refuse_elsewhere(f"{group}.{name}.{key}", key, value, stated, folder)
    if _nodes(config, "logger") != OLDER:
        folders.refuse_links(folder)


def _refuse_elsewhere(
    place: str, key: str, value: Any, stated: Mapping[str, Any], folder: Path
) -> None:
    why = None
    if key not in stated:
        why = "a config in a run's folder cannot set it"
    elif isinstance(value, bool) and value != stated[key]:
        why = f"a config in a run's folder cannot set it to {str(value).lower()}"
    elif isinstance(value, dict):
        why = "a config in a run's folder can set it to plain values only"
    elif key == "tracking_uri" and not str(value).startswith(DATABASE):
        why = f"{value!r} is not {DATABASE} and a place in the run's folder"
    elif any(_leads_out(text.removeprefix(DATABASE), folder) for text in _texts(value)):
        why = f"{value!r} is not a place in the run's folder"
    if why is not None:
        raise UserError(f"{place} is refused: {why}; put it right in {folder / folders.CONFIG}")


def _leads_out(text: str, folder: Path) -> bool:
    if re.search(r"[:?\0]|^~", text):
        return True
    real = os.path.realpath(folder / text)
    return not Path(real).is_relative_to(os.path.realpath(folder))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value if isinstance(value, list) else []:
        yield from _texts(item)


@cache
def _stated(group: str) -> dict[str, dict[str, Any]]:
    """What the files of ``conf/GROUP`` say of each class that they name."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted((CONF / group).glob("*.yaml")):
        for node in choice(group, file.stem).values():
            found.setdefault(node["_target_"], {}).update(node)
    return found

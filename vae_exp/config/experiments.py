"""What an experiment of ``conf/experiment`` sets, and which words of a command take its place."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override
from omegaconf import DictConfig, OmegaConf

from vae_exp.config.reading import is_choice, leaves
from vae_exp.parts import CONF

GROUP = "experiment"


def tell(cfg: DictConfig, overrides: Sequence[Override]) -> None:
    """Print which words of a command take the place of what its experiment sets, a line each."""
    for line in told(cfg, overrides):
        print(line, flush=True)


def told(cfg: DictConfig, overrides: Sequence[Override]) -> Iterator[str]:
    """The lines, such as `latent_dim=10 in place of the experiment's 50`.

    If a word chooses a part in which the experiment sets a key, this key keeps the experiment's
    value, and the line says so.
    """
    given = {override.key_or_group for override in overrides}
    names = _names(overrides)
    for name in names:
        whose = f"{name}'s" if len(names) > 1 else "the experiment's"
        sets = settings(name, [CONF, *_searched(cfg)])
        for override in overrides:
            key = override.key_or_group
            kept = [
                f"{below}={value}"
                for below, value in sets.items()
                if is_choice(override) and below.startswith(f"{key}.") and below not in given
            ]
            line = str(override.input_line)
            if key in sets and str(override.value()) != str(sets[key]):
                line += f" in place of {whose} {sets[key]}"
            if kept:
                line += f"; {whose} {' and '.join(kept)} still {'hold' if kept[1:] else 'holds'}"
            if line != override.input_line:
                yield line


def settings(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """The groups and keys that an experiment and those it builds upon set, with their values.

    Empty if none of the folders has it: then it lies in a package.
    """
    files = [folder / GROUP / f"{name}.yaml" for folder in folders]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return {}
    node: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    found: dict[str, Any] = {}
    for entry in node.pop("defaults", []):
        if isinstance(entry, dict):
            [(key, choice)] = entry.items()
            found[key.removeprefix("override ").lstrip("/")] = choice
        elif entry != "_self_":
            found |= settings(entry, folders)
    return found | {key: value for key, value in leaves(node) if not isinstance(value, dict)}


def _names(overrides: Sequence[Override]) -> list[str]:
    """The experiments that a command names: several in a sweep over them."""
    for override in overrides:
        if override.key_or_group == GROUP:
            value = override.value()
            return [
                str(name) for name in (value.list if isinstance(value, ChoiceSweep) else [value])
            ]
    return []


def _searched(cfg: DictConfig) -> list[Path]:
    """The folders that `hydra.searchpath` adds."""
    added = [str(path) for path in cfg.hydra.searchpath or []]
    return [Path(path.removeprefix("file://")) for path in added if not path.startswith("pkg://")]

"""The command line: compose, check, run a task; nothing heavy is imported before it runs."""

import argparse
import itertools
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from vae_exp import config, knobs
from vae_exp.errors import UserError

REFUSED = 2

HELP = """\
Train variational autoencoders on binarised MNIST and look at what they learnt.

  python -m vae_exp data=debug epochs=5              train on a few images
  python -m vae_exp -m latent_dim=2,5,10 seed=0,1    sweep: every combination
  python -m vae_exp task=samples run=latest          look at the last run

Knobs, given as knob=value:
{knobs}

Groups, given as group=choice (the default is marked *):
{groups}

--cfg job shows every key of a command's config; each can be given, as in
data.train_size=500. --hydra-help lists the options of Hydra.\
"""


def main() -> None:
    """Entry point of `vae-exp` and of `python -m vae_exp`; exits with 2 where input is refused."""
    try:
        _main(sys.argv[1:])
    except UserError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(REFUSED)


def _main(argv: list[str]) -> None:
    args = _arguments(argv)
    if args.help:
        print(help_text())
    elif args.hydra_help or args.shell_completion:
        _hydra(argv, _job)
    else:
        overrides = config.parse(args.overrides)
        flags = [word for word in argv if word not in args.overrides]
        words = [*flags, *(str(override.input_line) for override in overrides)]
        _dispatch(args, overrides, words)


def _dispatch(args: argparse.Namespace, overrides: list[Override], words: list[str]) -> None:
    primary = (args.config_name, args.config_path)
    if args.cfg or args.info:
        config.composed(overrides, *primary)
        _hydra(words, _job)
        return
    fixed = [override for override in overrides if not override.is_sweep_override()]
    cfg = config.composed(fixed, *primary)
    if args.multirun or cfg.hydra.mode == RunMode.MULTIRUN:
        for job in _jobs(cfg, overrides):
            config.check(config.composed(job, *primary), job)
        _hydra([*words, *_folder("hydra.sweep.dir", cfg.hydra.sweep.dir, overrides)], _job)
        return
    cfg = config.composed(overrides, *primary)
    config.check(cfg, overrides)
    if config.trains(cfg):
        _run(words, overrides, Path(cfg.hydra.run.dir))
    else:
        _look(cfg)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        args, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; --help shows what there is") from error
    for word in rest:
        if word.startswith("-"):
            raise UserError(f"unknown option {word!r}; --help shows what there is")
    args.overrides += rest
    modes = {"--run": args.run, "--multirun": args.multirun, "--cfg": args.cfg, "--info": args.info}
    given = [name for name, value in modes.items() if value]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} cannot be given together")
    if args.resolve and not args.cfg:
        raise UserError("--resolve belongs to --cfg job")
    if args.config_dir or args.experimental_rerun:
        name = "--config-dir" if args.config_dir else "--experimental-rerun"
        raise UserError(f"{name} is not supported; hydra.searchpath adds a folder of configs")
    return args


def _jobs(cfg: DictConfig, overrides: list[Override]) -> list[list[Override]]:
    """Each job's overrides in a sweep; a search draws its own, so only what is fixed is known."""
    if not str(cfg.hydra.sweeper._target_).endswith(".BasicSweeper"):
        return [[override for override in overrides if not override.is_sweep_override()]]
    params = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.params or {}).items()]
    own = [override for override in overrides if override.is_hydra_override()]
    task = [override for override in overrides if not override.is_hydra_override()]
    [jobs] = BasicSweeper.split_arguments([*config.parse(params), *task], None)
    return [[*own, *config.parse(job)] for job in jobs]


def _hydra(words: list[str], job: Callable[[DictConfig], Any]) -> None:
    sys.argv = [sys.argv[0], *words]
    hydra.main(config_path=str(config.CONF), config_name="config", version_base="1.3")(job)()


def _job(cfg: DictConfig) -> Any:
    """What Hydra runs; in a sweep, whatever it raises fails this job alone."""
    from vae_exp.tasks import execute

    return execute(cfg)


def _run(words: list[str], overrides: list[Override], folder: Path) -> None:
    """A single run: a mistake that only it can find is one line too, and leaves no folder."""
    before = [path for path in (folder, *folder.parents) if path.exists()]
    words = [*words, *_folder("hydra.run.dir", folder, overrides)]
    refused = []

    def job(cfg: DictConfig) -> Any:
        try:
            return _job(cfg)
        except UserError as error:
            refused.append(error)
            _discard(Path(HydraConfig.get().runtime.output_dir), before)
            sys.exit(REFUSED)

    try:
        _hydra(words, job)
    except SystemExit:
        if refused:
            raise refused[0] from None
        raise


def _look(cfg: DictConfig) -> None:
    """A task on a finished run: it writes there, so Hydra makes no folder."""
    HydraConfig.instance().cfg = None
    with flag_override(cfg, ["struct", "readonly"], [False, False]):
        del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    _job(cfg)


def _folder(key: str, folder: Path | str, overrides: list[Override]) -> list[str]:
    """The override that gives a run a folder of its own; none where the person chose one."""
    if any(override.key_or_group == key for override in overrides):
        return []
    return [f"{key}={config.quoted(str(claim(Path(folder))))}"]


def claim(folder: Path) -> Path:
    """Create and return `folder`, or the first of `folder-1`, `folder-2`, ... that is free.

    No two processes are given the same one. Raises UserError where it cannot be created.
    """
    for number in itertools.count():
        mine = folder.with_name(f"{folder.name}-{number}") if number else folder
        try:
            mine.mkdir(parents=True)
        except FileExistsError:
            if not mine.parent.is_dir():
                raise UserError(f"cannot create {folder}: {mine.parent} is not a folder") from None
        except OSError as error:
            raise UserError(f"cannot create {folder}: {error.strerror}") from error
        else:
            break
    return mine


def _discard(folder: Path, before: list[Path]) -> None:
    """Remove a run's folder in which nothing but its config lies, and the parents made for it."""
    if {path.name for path in folder.iterdir()} - {".hydra"} or folder in map(Path.resolve, before):
        return
    shutil.rmtree(folder)
    for parent in folder.parents:
        if parent in map(Path.resolve, before) or any(parent.iterdir()):
            return
        parent.rmdir()


def help_text() -> str:
    """What `--help` prints."""
    return HELP.format(knobs="\n".join(knobs.help_lines()), groups="\n".join(_group_lines()))


def _group_lines() -> list[str]:
    defaults: dict[str, str] = {}
    for entry in OmegaConf.load(config.CONF / "config.yaml").defaults:
        if isinstance(entry, DictConfig):
            defaults.update({str(key): str(value) for key, value in entry.items()})
    lines = []
    for group in config.all_groups():
        default = defaults.get(group)
        names = (f"{name}*" if name == default else name for name in config.choices(group))
        first = f"  {group:<12} "
        lines += textwrap.wrap(
            ", ".join(names), 80, initial_indent=first, subsequent_indent=" " * len(first)
        )
    return lines


if __name__ == "__main__":
    main()

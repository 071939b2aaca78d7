"""The command line: compose, check, run a task; nothing heavy is imported before it runs."""

import argparse
import contextlib
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.utils import configure_log
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from vae_exp import config, folders, knobs, reading
from vae_exp.errors import UserError
from vae_exp.interrupts import Interrupted, Interrupts
from vae_exp.sweeping import sweeps

REFUSED = 2

HELP = """\
Train variational autoencoders on binarised MNIST and look at what they learnt.

  python -m vae_exp data=debug epochs=5              train on a few images
  python -m vae_exp -m latent_dim=2,5,10 seed=0,1    sweep: every combination
  python -m vae_exp +sweep=optuna                    search lr, sizes of layers
  python -m vae_exp task=samples run=latest          look at the last run
  python -m vae_exp resume=latest                    go on with a stopped run

Knobs, given as knob=value:
{knobs}

Groups, given as group=choice (the default is marked *):
{groups}

--cfg job shows every key of a command's config; each can be given, as in
data.train_size=500. --hydra-help lists the options of Hydra.\
"""


def main() -> None:
    """Entry point of `vae-exp` and of `python -m vae_exp`.

    Exits with 2 where input is refused, and with 130 or 143 where SIGINT or SIGTERM stopped it.
    """
    try:
        with Interrupts():
            _main(sys.argv[1:])
    except UserError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        sys.exit(REFUSED)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)


def _main(argv: list[str]) -> None:
    args = _arguments(argv)
    if args.help:
        print(help_text())
    elif args.hydra_help or args.shell_completion:
        installs = any(word.startswith("install=") for word in args.overrides)
        if args.shell_completion and installs and Path(sys.argv[0]).name == Path(__file__).name:
            raise UserError(
                "shells complete the command vae-exp, not python -m vae_exp: "
                'eval "$(vae-exp -sc install=bash)"'
            )
        _hydra(argv, _job)
    else:
        overrides = config.parse(args.overrides)
        flags = [word for word in argv if word not in args.overrides]
        words = [*flags, *(str(override.input_line) for override in overrides)]
        _dispatch(args, overrides, words)


def _dispatch(args: argparse.Namespace, overrides: list[Override], words: list[str]) -> None:
    reading.refuse_repeated(overrides)
    shows = args.cfg or args.info
    if any(override.key_or_group == "resume" for override in overrides):
        if shows:
            raise UserError(
                "resume takes the config that lies in the run's folder, so there is none to show"
            )
        if args.multirun:
            from vae_exp.sweeping import command

            sys.exit(command.resume(overrides))
        _resume(overrides)
        return
    fixed = [override for override in overrides if not override.is_sweep_override()]
    cfg = config.composed(fixed)
    multirun = args.multirun or config.resolved(cfg, "hydra.mode") == RunMode.MULTIRUN
    if multirun and not shows:
        from vae_exp.sweeping import command

        sys.exit(command.start(cfg, overrides))
    cfg = config.composed(overrides)
    config.check(cfg, overrides)
    if not multirun:
        reading.refuse_hydras(overrides, "run" if config.trains(cfg) else "look")
    for spec in config.looked_at(cfg):
        (sweeps.find if reading.asks_for(cfg.task) == "sweep" else folders.find)(spec)
    if shows:
        _hydra(words, _job)
    elif config.trains(cfg):
        _run(words, cfg, overrides)
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
    for name in ("config_dir", "config_path", "config_name", "experimental_rerun"):
        if getattr(args, name):
            option = "--" + name.replace("_", "-")
            raise UserError(f"{option} is not supported; hydra.searchpath adds a folder of configs")
    return args


def _hydra(words: list[str], job: Callable[[DictConfig], Any]) -> None:
    sys.argv = [sys.argv[0], *words]
    hydra.main(config_path=str(knobs.CONF), config_name="config", version_base="1.3")(job)()


def _job(cfg: DictConfig) -> Any:
    """What Hydra runs; in a sweep, whatever it raises fails this job alone."""
    from vae_exp.tasks import execute

    return _unwrapped(execute, cfg)


def _unwrapped(task: Callable[[Any], Any], argument: Any) -> Any:
    """What a task returns; a constructor's refusal without what Hydra wraps it in."""
    try:
        return task(argument)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise


def _resume(overrides: list[Override]) -> None:
    """Go on with a run in its own folder; its own config is the whole config."""
    cfg = config.composed(overrides)
    folder = folders.find_started(config.resumed(cfg, overrides))
    if folder is None:
        print("nothing to resume: every run in outputs and multirun is finished or under way")
    elif folders.is_finished(folder):
        print(f"nothing to resume: {folder} is finished")
    else:
        configure_log(cfg.hydra.job_logging, cfg.hydra.verbose)
        from vae_exp.tasks import resume

        _unwrapped(resume, folder)


def _run(words: list[str], cfg: DictConfig, overrides: list[Override]) -> None:
    """A single run: a mistake that only it can find is one line too, and leaves no folder."""
    place = Path(config.resolved(cfg, "hydra.run.dir"))
    chosen = any(override.key_or_group == "hydra.run.dir" for override in overrides)
    folder = place.resolve()
    if chosen:
        folders.refuse_if_used(folder)
    before = {path for path in (folder, *folder.parents) if os.path.exists(path)}
    if not chosen:
        words = [*words, f"hydra.run.dir={config.quoted(str(folders.claim(place)))}"]
    else:
        folders.make(place, exist_ok=True)
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
    """A task on finished runs: Hydra makes no folder."""
    HydraConfig.instance().cfg = None
    with flag_override(cfg, ["struct", "readonly"], [False, False]):
        del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    _job(cfg)


def _discard(folder: Path, before: set[Path]) -> None:
    """Remove a run's folder in which nothing but its config lies, and the parents made for it."""
    if folder in before or not folder.is_dir():
        return
    if {path.name for path in folder.iterdir()} - {".hydra"}:
        return
    shutil.rmtree(folder)
    for parent in folder.parents:
        if parent in before:
            return
        with contextlib.suppress(OSError):
            parent.rmdir()


def help_text() -> str:
    """What `--help` prints."""
    return HELP.format(knobs="\n".join(knobs.help_lines()), groups="\n".join(_group_lines()))


def _group_lines() -> list[str]:
    defaults: dict[str, str] = {}
    for entry in OmegaConf.load(knobs.CONF / "config.yaml").defaults:
        if isinstance(entry, DictConfig):
            defaults.update({str(key): str(value) for key, value in entry.items()})
    lines = []
    for group in knobs.all_groups():
        default = defaults.get(group)
        names = (f"{name}*" if name == default else name for name in knobs.choices(group))
        first = f"  {group:<12} "
        lines += textwrap.wrap(
            ", ".join(names), 80, initial_indent=first, subsequent_indent=" " * len(first)
        )
    return lines


if __name__ == "__main__":
    main()

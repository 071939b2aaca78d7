"""The command line: compose, check, run a task; nothing heavy is imported before it runs."""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from vae_exp import config
from vae_exp.errors import UserError

REFUSED = 2

HELP = """\
Train variational autoencoders on binarised MNIST and look at what they learnt.

  vae-exp data=debug epochs=5                  train, quickly
  vae-exp -m latent_dim=2,5,10 seed=0,1,2      a sweep
  vae-exp task=samples run=latest              look at the last run

Knobs, as key=value:
{knobs}

Groups, as group=choice; a choice's own keys are group.key=value:
{groups}

--cfg job shows the whole config, --hydra-help Hydra's own options.\
"""


def main() -> None:
    """Entry point of `vae-exp` and of `python -m vae_exp`; exits with 2 where input is refused."""
    try:
        _main(sys.argv[1:])
    except UserError as error:
        _report(error)
        sys.exit(REFUSED)


def _main(argv: list[str]) -> None:
    args = _arguments(argv)
    if args.help:
        print(help_text())
        return
    if args.hydra_help or args.shell_completion or args.experimental_rerun:
        _hydra(argv, _job)
        return
    overrides = config.parse(args.overrides)
    flags = [word for word in argv if word not in args.overrides]
    words = [str(override.input_line) for override in overrides]
    if args.cfg or args.info:
        config.composed(overrides, *_source(args))
        _hydra(flags + words, _job)
        return
    single = [override for override in overrides if not override.is_sweep_override()]
    base = config.composed(single, *_source(args))
    sweeps = args.multirun or base.hydra.mode == RunMode.MULTIRUN
    for job in _jobs(base, overrides) if sweeps else [overrides]:
        cfg = config.composed(job, *_source(args))
        config.check(cfg, job)
    if not sweeps and not config.trains(cfg):
        _look(cfg)
        return
    kind = "sweep" if sweeps else "run"
    claimed = []
    if not any(override.key_or_group == f"hydra.{kind}.dir" for override in overrides):
        claimed = [f"hydra.{kind}.dir='{_claim(Path(cfg.hydra[kind].dir))}'"]
    _hydra(flags + words + claimed, _job if sweeps else _run)


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
    return args


def _source(args: argparse.Namespace) -> tuple[str, Path]:
    folder = Path(args.config_path).resolve() if args.config_path else config.CONF
    return args.config_name or "config", folder


def _jobs(base: DictConfig, overrides: list[Override]) -> list[list[Override]]:
    """Each job's overrides in a sweep; a search draws its own, so only what is fixed is known."""
    if not str(base.hydra.sweeper._target_).endswith(".BasicSweeper"):
        return [[override for override in overrides if not override.is_sweep_override()]]
    params = [f"{key}={value}" for key, value in (base.hydra.sweeper.params or {}).items()]
    task = [override for override in overrides if not override.is_hydra_override()]
    [jobs] = BasicSweeper.split_arguments([*config.parse(params), *task], None)
    return [config.parse(job) for job in jobs]


def _hydra(argv: list[str], job: Any) -> None:
    sys.argv = [sys.argv[0], *argv]
    hydra.main(config_path=str(config.CONF), config_name="config", version_base="1.3")(job)()


def _job(cfg: DictConfig) -> Any:
    """One job of a sweep: what it raises fails this job alone."""
    from vae_exp.tasks import execute

    return execute(cfg)


def _run(cfg: DictConfig) -> Any:
    """A single run: a mistake found late is one line as well, and leaves no empty folder."""
    try:
        return _job(cfg)
    except UserError as error:
        _report(error)
        _discard(Path(HydraConfig.get().runtime.output_dir))
        sys.exit(REFUSED)


def _look(cfg: DictConfig) -> None:
    """A task on a finished run: it writes there, so Hydra makes no folder."""
    with open_dict(cfg):
        del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    _job(cfg)


def _claim(folder: Path) -> Path:
    """Create `folder`, or `folder-1`, `folder-2`, ... where others have it: never one for two."""
    names = (f"{folder.name}-{number}" for number in itertools.count(1))
    for name in itertools.chain([folder.name], names):
        try:
            folder.with_name(name).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot create {folder}: {error.strerror}") from error
        return folder.with_name(name)
    raise AssertionError("count never ends")


def _discard(folder: Path) -> None:
    """Remove a run's folder in which nothing but its config was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if any(path.parent.name != ".hydra" for path in files):
        return
    for path in files:
        path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir()
    folder.rmdir()


def help_text() -> str:
    """What `--help` prints."""
    groups = (f"  {group:<12} {', '.join(config.choices(group))}" for group in config.all_groups())
    return HELP.format(knobs="\n".join(config.help_lines()), groups="\n".join(groups))


def _report(error: UserError) -> None:
    print("error: " + " ".join(str(error).split()), file=sys.stderr)


if __name__ == "__main__":
    main()

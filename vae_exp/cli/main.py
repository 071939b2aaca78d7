"""The command line: compose, check, run a task; nothing heavy is imported before it runs."""

import argparse
import contextlib
import errno
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.core.utils import configure_log, run_job
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from vae_exp import folders, knobs, parts, shell
from vae_exp.cli.options import arguments
from vae_exp.config import composing, experiments, reading, words
from vae_exp.errors import Several, UserError
from vae_exp.surroundings import settle, sparing_searches
from vae_exp.training.interrupts import Interrupted, Interrupts

REFUSED = 2
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}

HELP = """\
Train variational autoencoders on binarised MNIST and look at what they learnt.

{examples}

Knobs, given as knob=value:
{knobs}

Groups, given as group=choice (the default is marked *):
{groups}

--cfg job shows every key of a command's config; each can be given, as in
data.train_size=500. --hydra-help lists the options of Hydra.\
"""

EXAMPLES = {
    "data=debug epochs=5": "train on a few images",
    "-m latent_dim=2,5 seed=0,1": "try every combination",
    "+sweep=optuna": "search for settings",
    "task=samples run=latest": "look at the last run",
    "resume=latest": "go on with a stopped run",
}


def main() -> None:
    """Entry point of `vae-exp` and of `python -m vae_exp`.

    Exits with 2 if input is refused, and with 130 or 143 if SIGINT or SIGTERM stopped it.
    """
    try:
        settle()
        with sparing_searches(), Interrupts():
            _main(sys.argv[1:])
    except UserError as error:
        for each in error.errors if isinstance(error, Several) else [error]:
            print("error: " + " ".join(str(each).split()), file=sys.stderr)
        sys.exit(REFUSED)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        print(f"error: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        sys.exit(REFUSED)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)


def _main(argv: list[str]) -> None:
    args = arguments(argv)
    if args.help:
        print(help_text())
    elif args.hydra_help or args.shell_completion or args.version:
        installs = any(word.startswith("install=") for word in args.overrides)
        if args.shell_completion and installs and Path(sys.argv[0]).name == "__main__.py":
            raise UserError(
                "shells complete the command vae-exp, not python -m vae_exp: "
                'eval "$(vae-exp -sc install=bash)"'
            )
        _hydras_own()
    else:
        _dispatch(args, words.parse(args.overrides))


def _dispatch(args: argparse.Namespace, overrides: list[Override]) -> None:
    parts.trust(words.named_plugins(overrides))
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
    attempt = composing.attempt(overrides)
    if reading.trains(attempt.cfg):  # else the config is that of a run, which may be anybody's
        parts.trust_libraries()
    multirun = args.multirun or attempt.cfg.hydra.mode == RunMode.MULTIRUN
    if multirun and not shows:
        from vae_exp.sweeping import command

        cfg = attempt.config(sweeping=True)
        experiments.tell(cfg, overrides)
        sys.exit(command.start(cfg, overrides, _look))
    cfg = attempt.check(sweeping=multirun)
    find = folders.find_sweep if reading.named_by(cfg) == "sweep" else folders.find
    for spec in reading.looked_at(cfg):
        found = find(spec)
        if spec == "latest" and not shows:
            print(f"latest is {found}", flush=True)
    if args.info:
        _hydras_own()
    elif args.cfg:
        _show(cfg, args)
    elif reading.trains(cfg):
        experiments.tell(cfg, overrides)
        _run(cfg, overrides)
    else:
        _look(cfg, overrides)


def _hydras_own() -> None:
    """What only Hydra's main answers, such as --hydra-help, by the words as they were typed."""
    with composing.initialized():  # so that it finds choices of one's own
        pass
    hydra.main(config_path=str(composing.CONF), config_name="config", version_base="1.3")(_job)()


def _show(cfg: DictConfig, args: argparse.Namespace) -> None:
    """What --cfg asks for, as YAML."""
    with flag_override(cfg, ["struct", "readonly"], [False, False]):
        if args.cfg == "job":
            del cfg["hydra"]
    node = OmegaConf.masked_copy(cfg, "hydra") if args.cfg == "hydra" else cfg
    if args.package not in (None, "_global_"):
        node = OmegaConf.select(node, args.package)
        if not OmegaConf.is_config(node):
            raise UserError(f"--package must be a part of the config, got {args.package!r}")
        print(f"# @package {args.package}")
    if args.resolve:
        OmegaConf.resolve(node)
    print(OmegaConf.to_yaml(node), end="")


def _job(cfg: DictConfig) -> Any:
    """What Hydra runs; in a sweep, whatever it raises fails this job alone."""
    from vae_exp.training.tasks import execute

    return execute(composing.plain_config(cfg), Path(HydraConfig.get().runtime.output_dir))


def _resume(overrides: list[Override]) -> None:
    """Go on with a run in its own folder; its own config is the whole config."""
    cfg = composing.resumed(overrides)
    with folders.hold_unfinished(str(cfg.resume)) as folder:
        if folder is not None:
            configure_log(cfg.hydra.job_logging, cfg.hydra.verbose)
            from vae_exp.training.tasks import resume

            resume(folder)
        elif cfg.resume == "latest":
            print("nothing to resume: every run in outputs and multirun is finished or under way")
        else:
            print(f"nothing to resume: {Path(cfg.resume)} is finished")


def _run(cfg: DictConfig, overrides: list[Override]) -> None:
    """A single run: a mistake that only it can find is one line too, and leaves no folder."""
    place = Path(composing.resolved(cfg, "hydra.run.dir"))
    chosen = any(override.key_or_group == "hydra.run.dir" for override in overrides)
    folder = place.resolve()
    if chosen:
        folders.refuse_if_not_empty("hydra.run.dir", folder)
    before = {path for path in (folder, *folder.parents) if os.path.exists(path)}
    if not chosen:
        place = folders.claim(place)
        with flag_override(cfg.hydra, "readonly", False):
            cfg.hydra.run.dir = str(place)
    folders.make(place / folders.LOCK.parent, exist_ok=True)
    try:
        # Held before Hydra writes what resume=latest looks for.
        with folders.hold(place), _told_as_it_is() as job, composing.initialized():
            run_job(job, cfg, "hydra.run.dir", None, composing.context())
    except (UserError, OSError) as error:
        _discard(place.resolve(), before)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, error.filename or str(place)) from error
        raise


@contextlib.contextmanager
def _told_as_it_is() -> Iterator[Any]:
    """A job that Hydra may run; what stops it is raised at the end, without Hydra's own lines."""
    raised: list[Exception] = []

    def job(cfg: DictConfig) -> None:
        try:
            _job(cfg)
        except Exception as error:
            raised.append(error)
            raise

    yield job
    if raised:
        raise raised[0]


def _look(cfg: DictConfig, overrides: list[Override]) -> None:
    """A task on finished runs: Hydra makes no folder. A seed that is not given is the run's."""
    of_jobs = reading.looks_at_jobs(cfg)
    HydraConfig.instance().cfg = None
    with flag_override(cfg, ["struct", "readonly"], [False, False]):
        del cfg["hydra"]
    OmegaConf.set_struct(cfg, True)
    from vae_exp.training.tasks import execute

    given = any(override.key_or_group == "seed" for override in overrides)
    config = composing.plain_config(cfg)

    def look(config: dict[str, Any]) -> None:
        execute(config, None, seed_is_given=given)

    if of_jobs:
        from vae_exp.sweeping.looks import look_at_jobs

        look_at_jobs(config, look)
    else:
        look(config)


def _discard(folder: Path, before: set[Path]) -> None:
    """Remove a run's config, if it has come no further, and the folders that were made for it."""
    with contextlib.suppress(OSError):  # the folder is gone, or another run lies beside it
        if [path.name for path in folder.iterdir()] != [composing.RECORDS]:
            return
        shutil.rmtree(folder / composing.RECORDS)
        for made in (folder, *folder.parents):
            if made in before:
                return
            made.rmdir()


def help_text() -> str:
    """What `--help` prints."""
    return HELP.format(
        examples="\n".join(_example_lines()),
        knobs="\n".join(knobs.help_lines()),
        groups="\n".join(_group_lines()),
    )


def _example_lines() -> list[str]:
    commands = {shell.command(*words.split()): meaning for words, meaning in EXAMPLES.items()}
    width = max(map(len, commands))
    return [f"  {typed:<{width}}  {meaning}" for typed, meaning in commands.items()]


def _group_lines() -> list[str]:
    defaults: dict[str, str] = {}
    for entry in OmegaConf.load(composing.CONF / "config.yaml").defaults:
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

"""The options of the command line: Hydra's own, less those that this program has no use for."""

import argparse

from vae_exp.errors import UserError

SHOWN = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]
REFUSED = ("config-dir", "config-path", "config-name", "experimental-rerun")


def arguments(argv: list[str]) -> argparse.Namespace:
    """Options, and the words beside them as `overrides`; raises UserError."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    for names in (
        ("--help", "-h"),
        ("--hydra-help",),
        ("--version",),
        ("--resolve",),
        ("--run", "-r"),
        ("--multirun", "-m"),
        ("--shell-completion", "-sc"),
    ):
        parser.add_argument(*names, action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--package", "-p")
    parser.add_argument("--info", "-i", const="all", nargs="?", choices=SHOWN)
    for name in REFUSED:
        short = "-" + "".join(word[0] for word in name.split("-"))
        parser.add_argument(f"--{name}", *([short] if short != "-er" else []))
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
    for option, value in {"--resolve": args.resolve, "--package": args.package}.items():
        if value and not args.cfg:
            raise UserError(f"{option} belongs to --cfg job")
    for name in REFUSED:
        if getattr(args, name.replace("-", "_")):
            raise UserError(
                f"--{name} is not supported; a folder conf in the working folder adds choices, "
                "and so does hydra.searchpath"
            )
    return args

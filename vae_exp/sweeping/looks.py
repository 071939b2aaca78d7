"""A question that is put to each finished run of a sweep, so that its numbers can be compared."""

import sys
from collections.abc import Callable
from typing import Any

from vae_exp import folders
from vae_exp.errors import UserError
from vae_exp.shell import command
from vae_exp.sweeping import sweeps


def look_at_jobs(config: dict[str, Any], look: Callable[[dict[str, Any]], None]) -> None:
    """Call ``look`` with a config for each finished job of the sweep that ``config`` names.

    A job that is refused costs only itself. Raises UserError if one was, or if none is finished.
    """
    folder = folders.find_sweep(config["sweep"])
    jobs = sweeps.jobs(folder)
    finished = [job for job in jobs if job.status == sweeps.FINISHED]
    if not finished:
        raise UserError(f"{folder} has no finished job to look at: go on with -m resume={folder}")
    refused = []
    for place, job in enumerate(finished, 1):
        print(
            f"job {job.number}, {place} of {len(finished)}: {' '.join(job.overrides)}", flush=True
        )
        try:
            look({**config, "run": str(job.folder), "sweep": None})
        except UserError as error:
            refused.append(str(job.number))
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    left = [str(job.number) for job in jobs if job not in finished]
    if left:
        print(f"not finished, so not looked at: {', '.join(left)}")
    print(command("task=summarise", f"sweep={folders.shown(folder)}"))
    if refused:
        raise UserError(f"of {folder} these jobs were refused: {', '.join(refused)}")

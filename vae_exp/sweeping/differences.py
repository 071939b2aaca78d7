"""Differences between the settings of a sweep, paired by seed and by image."""

import math
from collections.abc import Sequence

import torch

from vae_exp.runs.comparison import Contender, contend
from vae_exp.sweeping.replicates import Column, Difference, interval

IMAGES = "sha256 of the test images"


def differences(
    column: Column, seed: int = 0, root: str | None = None
) -> dict[tuple[str, ...], Difference]:
    """Every setting's difference from the best by validation, by its overrides.

    The runs of a seed see the same images and the same noise, drawn from ``seed``. ``root``: the
    folder of the images, if not the runs' own. Raises UserError if a run or its images are not
    at hand.
    """
    best = column.best
    others = [setting for setting in column.settings if setting is not best]
    pairs: dict[tuple[str, ...], list[tuple[Contender, Contender]]] = {}
    for replicate in best.runs:
        having = [setting for setting in others if replicate in setting.runs]
        if having:
            first, *rest = contend(
                [str(setting.runs[replicate].folder) for setting in (best, *having)], seed, root
            )
            for setting, run in zip(having, rest, strict=True):
                pairs.setdefault(setting.overrides, []).append((run, first))
    return {overrides: difference(runs) for overrides, runs in pairs.items()}


def difference(pairs: Sequence[tuple[Contender, Contender]]) -> Difference:
    """The mean over seeds of ELBO differences, each a mean over images.

    If the seeds share their images, their standard error is that of the seeds' mean difference
    image by image; if each has its own, they are independent.
    """
    per_image = [
        run.values["elbo"].double() - other.values["elbo"].double() for run, other in pairs
    ]
    over_seeds = interval([values.mean().item() for values in per_image])
    if len({run.protocol[IMAGES] for run, _ in pairs}) == 1:
        per_image = [torch.stack(per_image).mean(0)]
    variances = [values.var().item() / len(values) for values in per_image]
    return Difference(over_seeds, math.sqrt(math.fsum(variances)) / len(variances))

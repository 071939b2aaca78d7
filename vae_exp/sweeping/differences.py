"""Differences between the settings of a sweep, paired by seed and by image."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from vae_exp.evaluation.intervals import differences_from, studentized_range
from vae_exp.runs.comparison import Contender, contend
from vae_exp.sweeping.replicates import Column, Difference

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
    means: dict[tuple[str, ...], dict[int, float]] = {}
    for replicate in best.runs:
        having = [setting for setting in others if replicate in setting.runs]
        if having:
            settings = (best, *having)
            runs = contend([str(each.runs[replicate].folder) for each in settings], seed, root)
            for setting, run in zip(settings, runs, strict=True):
                mean = run.values["elbo"].double().mean().item()
                means.setdefault(setting.overrides, {})[replicate] = mean
            for setting, run in zip(having, runs[1:], strict=True):
                pairs.setdefault(setting.overrides, []).append((run, runs[0]))
    if not pairs:
        return {}
    chosen_from = len(column.settings)
    over_seeds = differences_from(best.overrides, means, chosen_from=chosen_from)
    found = {}
    for overrides, runs_of_seeds in pairs.items():
        stderr = stderr_over_images(runs_of_seeds)
        # among two it is the normal interval, 1.96 standard errors
        half_width = studentized_range(chosen_from, math.inf) / math.sqrt(2) * stderr
        over = over_seeds[overrides]
        if over.count == 1:
            over = replace(over, over_images=half_width)
        found[overrides] = Difference(over, stderr)
    return found


def stderr_over_images(pairs: Sequence[tuple[Contender, Contender]]) -> float:
    """The standard error over images of the mean over seeds of paired ELBO differences.

    If the seeds share their images, it is that of the seeds' mean difference image by image; if
    each has its own, they are independent.
    """
    per_image = [
        run.values["elbo"].double() - other.values["elbo"].double() for run, other in pairs
    ]
    if len({run.protocol[IMAGES] for run, _ in pairs}) == 1:
        per_image = [torch.stack(per_image).mean(0)]
    variances = [values.var().item() / len(values) for values in per_image]
    return math.sqrt(math.fsum(variances)) / len(variances)

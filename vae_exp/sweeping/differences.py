"""Differences between the settings of a sweep, paired by seed and by image."""

from vae_exp.runs import over_seeds
from vae_exp.runs.contenders import Contender, contend
from vae_exp.runs.over_seeds import Difference
from vae_exp.sweeping.replicates import Column


def differences(
    column: Column, seed: int = 0, root: str | None = None
) -> dict[tuple[str, ...], Difference]:
    """Every setting's difference from the best by validation, by its overrides.

    The runs of a seed see the same images and the same noise, drawn from ``seed``. ``root``: the
    folder of the images, if not the runs' own. Raises UserError if a run or its images are not
    at hand.
    """
    best = column.best
    runs: dict[tuple[str, ...], dict[int, Contender]] = {}
    for replicate in best.runs:
        having = [setting for setting in column.settings if replicate in setting.runs]
        if len(having) > 1:
            folders = [str(setting.runs[replicate].folder) for setting in having]
            for setting, run in zip(having, contend(folders, seed, root), strict=True):
                runs.setdefault(setting.overrides, {})[replicate] = run
    if not runs:
        return {}
    return over_seeds.differences(best.overrides, runs, chosen_from=len(column.settings))

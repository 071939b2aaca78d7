"""The pictures of docs/ that show a run, or sweeps: make them as the text says, and copy them."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from vae_exp.folders import FIGURES
from vae_exp.sweeping.tables import PICTURE
from vae_exp.sweeping.working import INCOMPLETE

SHOWN = {
    "samples.png": "samples.png",
    "scatter.png": "scatter.png",
    "interpolation.png": "interpolation.png",
    "top_half.png": "top_half_digit7.png",
    "gap.png": "evaluate*_gap.png",
    "posterior_atlas.png": "posterior_atlas*.png",
}  # in docs/ -> among the run's figures, the newest of those
ELSEWHERE = ("evidence_by_epoch.png", "report.png")  # of a run of hours, and of a browser's window
LOOKS = {"top_half": ("digit=7",), "posterior_atlas": (), "evaluate": ()}
SMALL = ("task=fit", "data.train_size=1000", "data.test_size=1000", "data.validation_size=500")
FEW = (*SMALL, "epochs=10", "batch_size=50")
HIDDEN = "model.encoder.hidden=[50],[200],[500]"
SWEEPS = {
    "sweep_latent_dim.png": ("-m", *FEW, "latent_dim=1,2,5,10", "seed=0,1,2"),
    "sweep_two_knobs.png": ("-m", *FEW, "latent_dim=2,10", HIDDEN, "seed=0,1"),
    "sweep_resumed.png": (
        *("-m", *SMALL, "epochs=5", "batch_size=50", "optimizer=adam"),
        *("lr=1e-4,1e-3,1e-2,1e10", "seed=0,1"),
    ),
    "sweep_search.png": ("+sweep=optuna", *SMALL, "epochs=5", "hydra.sweeper.n_trials=8"),
    "sweep_parallel.png": (
        *("-m", "hydra/launcher=joblib", *SMALL, "epochs=10"),
        *("batch_size=20,50,100,200", "seed=0,1,2"),
    ),
}  # in docs/ -> the words of docs/sweeps.md
MORE_TRIALS = ("hydra.sweeper.n_trials=4",)  # of the search, when it goes on
NONE: Mapping[str, Sequence[str]] = MappingProxyType({})


def make(
    run: Path,
    docs: Path,
    training: Sequence[str] = (),
    looks: Mapping[str, Sequence[str]] = NONE,
) -> None:
    """Train a run if there is none in its folder, look at it, and copy its pictures to docs.

    ``training`` and ``looks``, by task, hold more words for the commands. Raises
    CalledProcessError if one of them fails.
    """
    if not run.exists():
        vae_exp(f"hydra.run.dir={run}", *training)
    for task, words in LOOKS.items():
        vae_exp(f"task={task}", f"run={run}", *words, *looks.get(task, ()))
    for name, figure in SHOWN.items():
        newest = max((run / FIGURES).glob(figure), key=lambda path: path.stat().st_mtime_ns)
        copy(newest, docs / name)


def make_sweeps(
    folder: Path, docs: Path, sweeps: Mapping[str, Sequence[str]] = MappingProxyType(SWEEPS)
) -> None:
    """Run those of the sweeps that are not in the folder, and copy their pictures to docs.

    Raises CalledProcessError if one of them ends otherwise than with jobs that failed.
    """
    for name, words in sweeps.items():
        sweep = folder / Path(name).stem
        if not sweep.exists():
            vae_exp(*words, f"hydra.sweep.dir={sweep}", codes=(0, INCOMPLETE))
            if "+sweep=optuna" in words:
                vae_exp("-m", f"resume={sweep}", *MORE_TRIALS)
        copy(sweep / PICTURE, docs / name)


def copy(picture: Path, to: Path) -> None:
    """Copy a picture in 256 colours: a third of the size."""
    with Image.open(picture) as full:
        full.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(to, optimize=True)


def vae_exp(*words: str, codes: Sequence[int] = (0,)) -> None:
    """Run a command as a person types it; raises CalledProcessError if it exits otherwise."""
    print("python -m vae_exp", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "vae_exp", *words], check=False)
    if done.returncode not in codes:
        done.check_returncode()

"""How time and memory grow with images, batch, latent_dim, hidden units and IWAE samples.

Each point is a process of its own, so that its peak memory is its own.
"""

import dataclasses
import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from rich.progress import track

from vae_exp import figures
from vae_exp.data import ImageData
from vae_exp.models.objectives import ELBO, IWAE

ROUNDS = 3
GROWN = {
    "images": [1_000, 3_000, 10_000, 30_000, 55_000],
    "batch": [20, 50, 200, 1_000, 5_000],
    "latent_dim": [1, 2, 8, 64],
    "hidden": [100, 500, 1_000, 2_000],
    "samples": [1, 5, 20, 50],
}
LABELS = {
    "images": "training images",
    "batch": "batch size",
    "latent_dim": "latent dimensions",
    "hidden": "hidden units",
    "samples": "IWAE samples",
}


@dataclass(frozen=True)
class Point:
    """A training run; the default's values but for one."""

    images: int = 10_000
    batch: int = 200
    latent_dim: int = 2
    hidden: int = 500
    samples: int = 1


def measure(point: Point) -> dict[str, float]:
    """Seconds of an epoch's steps, of its matrix products alone, and peak memory in MB."""
    from benchmarks.paired import alternate
    from benchmarks.products import LIMIT, TrainingProducts
    from benchmarks.training import STEPS, OurTrainer

    data = ImageData(
        protocol="standard", train_size=point.images, batch_size=point.batch, validation_size=1_000
    )
    images = len(data.splits.train)  # fewer if MNIST is not at hand
    ours = OurTrainer(
        data,
        objective=IWAE(point.samples) if point.samples > 1 else ELBO(),
        latent_dim=point.latent_dim,
        hidden=point.hidden,
    )
    products = TrainingProducts(images, point.batch, hidden=point.hidden, samples=point.samples)
    timings = alternate([ours, products], LIMIT, ROUNDS, "")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": min(timings[STEPS].seconds),
        "limit": min(timings[LIMIT].seconds),
        "megabytes": peak,
    }


def measure_all() -> dict[str, list[dict[str, float]]]:
    """Every point, in a process each."""
    points = [(name, value) for name, values in GROWN.items() for value in values]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in GROWN}
    for name, value in track(points, description=f"{'how cost grows':<24}"):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.growth", json.dumps({name: value})],
            check=True,
            capture_output=True,
            encoding="utf-8",
        )
        found[name].append({"value": value, **json.loads(done.stdout.splitlines()[-1])})
    return found


def draw(found: dict[str, list[dict[str, float]]], caption: str) -> Figure:
    """Seconds an epoch beside the limit, and peak memory, against each knob."""
    fig = figures.figure(11, 4.6)
    axes: Any = fig.subplots(2, len(found), sharex="col", sharey="row")
    for column, (name, points) in enumerate(found.items()):
        values = [point["value"] for point in points]
        top, bottom = axes[:, column]
        top.loglog(values, [p["seconds"] for p in points], "o-", color="#3f90da", label="vae_exp")
        limit = [p["limit"] for p in points]
        top.loglog(values, limit, "s--", color="#bd1f01", label="matrix products")
        bottom.loglog(values, [p["megabytes"] for p in points], "o-", color="#3f90da")
        bottom.axhline(1536, color="0.5", linewidth=0.8, linestyle=":")
        bottom.set_xlabel(LABELS[name])
        bottom.set_xticks(values, [f"{v // 1000}k" if v >= 1000 else f"{v}" for v in values])
        bottom.set_yticks([500, 1000, 2000], ["500", "1,000", "2,000"])
        top.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
        bottom.tick_params(axis="x", labelsize=8)
        for axis in (top.xaxis, bottom.xaxis, bottom.yaxis):
            axis.set_minor_locator(NullLocator())
        top.grid(alpha=0.3)
        bottom.grid(alpha=0.3)
    axes[0, 0].set_ylabel("steps of an epoch [s]")
    axes[1, 0].set_ylabel("peak memory [MB]")
    axes[1, 0].annotate(
        "1.5 GB", (1, 1536), xycoords=("axes fraction", "data"), xytext=(-3, 3),
        textcoords="offset points", ha="right", fontsize=7, color="0.4",
    )  # fmt: skip
    axes[0, 0].legend(fontsize=8)
    about = "MNIST; the default model, 10,000 images and batch 200 but for one setting"
    figures.caption(fig, about, caption)
    return fig


if __name__ == "__main__":
    point = Point(**json.loads(sys.argv[1]))
    print(json.dumps(dataclasses.asdict(point) | measure(point)))

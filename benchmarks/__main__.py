"""`python -m benchmarks`: measure, print ratios of what ran in turns, keep them as JSON."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from benchmarks import gpu, growth, job, peers, pictures, plain, training
from benchmarks.machine import describe, processor
from benchmarks.paired import Contest, alternate, table
from benchmarks.products import LIMIT, WITH_ADAM, TrainingLimit, TrainingProducts
from vae_exp.atomic import write_atomically
from vae_exp.data import ImageData
from vae_exp.figures import png
from vae_exp.files import as_json
from vae_exp.shell import python

PARTS = ("training", "job", "growth", "gpu", "pictures", "tour")
DEFAULT = ("training", "job")


class Report:
    """Tables for the terminal, and the same for the JSON file."""

    def __init__(self) -> None:
        self.console = Console()
        self.results: dict[str, Any] = {}

    def add(
        self,
        title: str,
        contests: list[Contest],
        limit: str,
        rounds: int,
        targets: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Run a comparison, and tell it."""
        timings = alternate(contests, limit, rounds, title)
        self.console.print(table(title, timings, targets))
        self.results[title] = {name: timing.as_dict() for name, timing in timings.items()}


def loaded(batch_size: int) -> ImageData:
    """The default data."""
    return ImageData(batch_size=batch_size)


def measure_training(report: Report, rounds: int) -> None:
    """A training epoch by everyone, at two batch sizes."""
    weights = sum(weight.numel() for weight in training.default_model().parameters())
    for batch in (200, 100):
        data = loaded(batch)
        images = data.splits.train.images
        contests: list[Contest] = [
            TrainingProducts(len(images), batch),
            TrainingLimit(len(images), batch, weights=weights),
            training.OurTrainer(data),
            plain.PlainTorch(images, data.splits.validation.images, batch),
            training.plain_fused(images, batch),
            training.plain_loader(images, batch),
            training.DefaultLightning(images, batch),
        ]
        if batch == 200:
            contests += [make(images, batch) for make in peers.installed().values()]
        title = f"an epoch of {len(images):,} images, batch {batch}"
        report.add(title, contests, WITH_ADAM, rounds)


def measure_job(report: Report, rounds: int) -> None:
    """What is not training."""
    starts: list[Contest] = [job.imports, job.first_step, job.help_screen]
    report.add("starting", starts, job.IMPORTS, min(rounds, 5), {job.FIRST_STEP: 1.1})
    data = loaded(200)
    report.add("evaluation", [job.Evaluation(data)], LIMIT, rounds, {job.ELBO: 1.5})
    report.add("inference", [job.Inference(data)], LIMIT, rounds, {job.SVI: 1.5})


def measure_growth(report: Report, folder: Path) -> None:
    """How cost grows, as numbers and as a picture."""
    report.results["growth"] = found = growth.measure_all()
    picture = folder / "growth.png"
    write_atomically(folder, picture.name, png(growth.draw(found, processor())))
    report.console.print(str(picture), soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> None:
    """The parts that are named; the folder is made before minutes are spent."""
    parser = argparse.ArgumentParser(prog=python("-m", "benchmarks"), description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contestant")
    parser.add_argument("--device", default="cuda", help="of gpu: cpu tries it without one")
    parser.add_argument("--images", type=int, default=10_000, help="of gpu")
    parser.add_argument("--folder", type=Path, default=Path("outputs", "benchmarks"))
    parser.add_argument(
        "--run",
        type=Path,
        default=Path("outputs", "pictures"),
        help="of pictures: the run they show, trained if there is none",
    )
    args = parser.parse_args(argv)
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"a part is one of {', '.join(PARTS)}, got {part}")
    args.folder.mkdir(parents=True, exist_ok=True)
    report = Report()
    for part in args.parts or DEFAULT:
        if part == "training":
            measure_training(report, args.rounds)
        elif part == "job":
            measure_job(report, args.rounds)
        elif part == "growth":
            measure_growth(report, args.folder)
        elif part == "pictures":
            pictures.make(args.run, Path("docs"))
            pictures.make_sweeps(args.run.parent, Path("docs"))
        elif part == "tour":
            from benchmarks import tour  # which needs what notebooks need

            tour.make(Path("docs", "tour.ipynb"), args.folder)
        else:
            gpu.measure(args.folder, device=args.device, images=args.images)
    if not report.results:
        return
    contents = as_json({"machine": describe(), "results": report.results})
    path = args.folder / "results.json"
    write_atomically(args.folder, path.name, contents)
    report.console.print(str(path), soft_wrap=True)


if __name__ == "__main__":
    main()

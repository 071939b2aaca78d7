"""Ours on a GPU: an epoch beside plain loops, evaluation, and whether the numbers are the same.

Every part is told by itself: one that fails leaves its traceback, and the others go on.
"""

import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import training
from benchmarks.machine import describe
from benchmarks.paired import Contest, alternate
from vae_exp.atomic import write_atomically
from vae_exp.data import ImageData
from vae_exp.evaluation import exact
from vae_exp.files import as_json
from vae_exp.inference import bounds, svi
from vae_exp.models.vae import VAE, top_half
from vae_exp.probability.gaussians import DiagonalGaussian
from vae_exp.probability.streams import generator
from vae_exp.training.fitting import fit
from vae_exp.training.hardware import Hardware

FILE, TABLE = "gpu.json", "gpu.md"
BATCHES = (200, 2_000)
PROCESSOR = "vae_exp on the processor"
GRAPH = "plain loop, each step one CUDA graph"
COMPILED = "vae_exp, trainer.compile=true"
ELBO_TOLERANCE = 2e-3  # nats of an image, between two devices in single precision
EXACT_TOLERANCE = 2 * exact.TOLERANCE + ELBO_TOLERANCE
SVI_STEPS = 300

Found = dict[str, Any]


class Measurements:
    """The parts of a run on a device, written to a file after each of them."""

    def __init__(
        self,
        folder: Path,
        device: str,
        *,
        images: int,
        rounds: int,
        seconds: float,
        hidden: int = 500,
    ):
        self.folder = folder
        self.device = torch.device(device)
        self.images = images
        self.rounds = rounds
        self.ends = time.monotonic() + seconds
        self.found: Found = {}
        data = self.data(200)
        self.test = data.splits.test.images[:images]
        self.train = data.splits.train.images
        self.hidden = hidden
        self.model = training.default_model(hidden=hidden)
        fit(self.model, self.train, epochs=3, batch_size=200)
        self.model.eval().requires_grad_(False)

    def data(self, batch: int) -> ImageData:
        """The default images, in batches."""
        return ImageData(
            train_size=self.images, test_size=self.images, batch_size=min(batch, self.images)
        )

    @property
    def hardware(self) -> Hardware:
        """As the command line names it."""
        return Hardware("gpu" if self.device.type == "cuda" else "cpu")

    def part(self, name: str, measure: Callable[[], Found]) -> None:
        """Measure one thing, if time is left, and keep what it came to or how it failed."""
        begun = time.monotonic()
        if begun > self.ends:
            self.found[name] = {"left out": "no time was left"}
        else:
            try:
                self.found[name] = measure()
            except Exception:  # noqa: BLE001
                self.found[name] = {"failed": traceback.format_exc()}
            self.found[name]["took"] = round(time.monotonic() - begun, 2)
        state = "failed" if "failed" in self.found[name] else "done"
        print(f"{name}: {state}, {time.monotonic() - begun:.1f} s", flush=True)
        contents = as_json({"machine": describe(), "results": self.found})
        write_atomically(self.folder, FILE, contents)

    def agreement(self) -> Found:
        """The ELBO given the noise, and log p(x), of the same weights on both devices."""
        noise = self.model.noise.draw(1, len(self.test), generator=generator(0, "agreement"))
        some = self.test[:300]

        def numbers(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            model = self.moved(device).to(dtype)
            x, epsilon = self.test.to(device, dtype), noise.to(device, dtype)
            elbo = model.elbo_terms(x, epsilon).bound
            found = exact.evidence(model, some.to(device, dtype))
            return elbo.double().cpu(), found.log_p_x.double().cpu()

        double = numbers(torch.device("cpu"), torch.float64)
        single = numbers(torch.device("cpu"), torch.float32)
        there = numbers(self.device, torch.float32)
        elbo = [(a - b).abs().max().item() for a, b in zip(there, double, strict=True)]
        processor = [(a - b).abs().max().item() for a, b in zip(single, double, strict=True)]
        return {
            "images": [len(self.test), len(some)],
            "largest difference of an ELBO": elbo[0],
            "largest difference of a log p(x)": elbo[1],
            "the processor's own, single to double": processor,
            "tolerance": [ELBO_TOLERANCE, EXACT_TOLERANCE],
            "agrees": elbo[0] <= ELBO_TOLERANCE and elbo[1] <= EXACT_TOLERANCE,
            "mean ELBO, log p(x)": [double[0].mean().item(), double[1].mean().item()],
            "matmul precision": torch.get_float32_matmul_precision(),
        }

    def moved(self, device: torch.device) -> VAE:
        """The same model there."""
        model = training.default_model(hidden=self.hidden)
        model.load_state_dict(self.model.state_dict())
        return model.to(device).eval().requires_grad_(False)

    def epochs(self, batch: int) -> Found:
        """Seconds of an epoch by everyone, in turns."""
        data = self.data(batch)
        images, device = data.splits.train.images, self.device.type
        contests: list[Contest] = [
            training.OurTrainer(data, hardware=self.hardware),
            training.plain_fused(images, data.batch_size, device=device),
            training.DefaultLightning(
                images, data.batch_size, "gpu" if device == "cuda" else "cpu"
            ),
        ]
        if device == "cuda":
            contests.append(GraphLoop(images, data.batch_size))
        timings = alternate(contests, training.FUSED, self.rounds, f"batch {batch}")
        found = {name: statistics.median(timing.seconds) for name, timing in timings.items()}
        return {"images": len(images), "seconds": found, "all": _all(timings)}

    def processor(self, batch: int) -> Found:
        """Ours on the processor of the same machine."""
        data = self.data(batch)
        found = training.OurTrainer(data)()
        return {"images": len(data.splits.train), "seconds": {PROCESSOR: found[training.WHOLE]}}

    def compiled(self, batch: int) -> Found:
        """Ours with each step through torch.compile: one CUDA graph on a GPU."""
        data = self.data(batch)
        ours = training.OurTrainer(data, hardware=Hardware(self.hardware.accelerator, compile=True))
        begun = time.perf_counter()
        found = ours()
        whole = time.perf_counter() - begun
        start = whole - training.EPOCHS * found[training.WHOLE]
        return {
            "images": len(data.splits.train),
            "seconds": {
                COMPILED: found[training.WHOLE],
                f"{COMPILED}, steps": found[training.STEPS],
            },
            "to start": start,
        }

    def evidence(self, device: torch.device) -> Found:
        """log p(x) of all images; once before, so that what is loaded first does not count."""
        model, x = self.moved(device), self.test.to(device)
        exact.evidence(model, x[:100])
        seconds = self.seconds(lambda: exact.evidence(model, x))
        return {"images": len(x), "seconds": {f"log p(x), {device.type}": seconds}}

    def svi(self, device: torch.device) -> Found:
        """q(z | top half) of 1,000 images, K = 16."""
        model, top = self.moved(device), top_half(self.test[:1000]).to(device)

        def fitted(steps: int) -> None:
            zeros = torch.zeros(len(top), 2, device=device)
            start = DiagonalGaussian(zeros, zeros)
            draws = generator(0, "benchmark")
            joint = model.joint_log_density_top_half
            svi.fit(lambda z: joint(top, z), start, steps=steps, generator=draws)

        fitted(3)
        steps = SVI_STEPS if device.type == "cuda" else SVI_STEPS // 10
        seconds = self.seconds(lambda: fitted(steps))
        return {"images": len(top), "seconds": {f"a step of SVI, {device.type}": seconds / steps}}

    def seconds(self, work: Callable[[], Any]) -> float:
        """How long it takes, till the device has done it."""
        begun = training.now()
        work()
        return training.now() - begun


class GraphLoop:
    """The plain loop, of which each step is recorded once and played again."""

    def __init__(self, images: Tensor, batch: int):
        self.images = images.to("cuda")
        self.model = training.default_model().to("cuda")
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=1e-3, fused=True, capturable=True
        )
        self.rows = torch.arange(batch, device="cuda")
        self.noise = torch.zeros(1, batch, self.model.latent_dim, device="cuda")
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step()

    def step(self) -> None:
        """Of the images ``rows``."""
        self.optimizer.zero_grad()
        bound = self.model.elbo_terms(self.images[self.rows], self.noise).bound
        bounds.loss(bound).backward()
        self.optimizer.step()

    def __call__(self) -> Mapping[str, float]:
        """An epoch."""
        begun = training.now()
        for rows in self.order():
            self.rows.copy_(rows)
            self.noise.copy_(torch.randn(self.noise.shape, device="cuda"))
            self.graph.replay()
        return {GRAPH: training.now() - begun}

    def order(self) -> Iterable[Tensor]:
        """Whole batches alone: a graph has one shape."""
        order = torch.randperm(len(self.images), device="cuda")
        return (rows for rows in order.split(len(self.rows)) if len(rows) == len(self.rows))


def _all(timings: Mapping[str, Any]) -> dict[str, list[float]]:
    return {name: timing.seconds for name, timing in timings.items()}


def measure(
    folder: Path,
    *,
    device: str = "cuda",
    images: int = 10_000,
    rounds: int = 5,
    seconds: float = 270.0,
) -> Found:
    """Everything, the most telling first; no part begins after ``seconds``."""
    taking = Measurements(folder, device, images=images, rounds=rounds, seconds=seconds)
    processor = torch.device("cpu")
    taking.part("agreement", taking.agreement)
    for batch in BATCHES:
        taking.part(f"an epoch, batch {batch}", partial(taking.epochs, batch))
    taking.part("log p(x)", partial(taking.evidence, taking.device))
    taking.part("SVI", partial(taking.svi, taking.device))
    for batch in BATCHES if device != "cpu" else ():
        taking.part(f"compiled, batch {batch}", partial(taking.compiled, batch))
    for batch in BATCHES:
        taking.part(f"on the processor, batch {batch}", partial(taking.processor, batch))
    taking.part("log p(x) on the processor", partial(taking.evidence, processor))
    taking.part("SVI on the processor", partial(taking.svi, processor))
    write_atomically(folder, TABLE, markdown(taking.found).encode())
    print(markdown(taking.found))
    return taking.found


def markdown(results: Mapping[str, Found]) -> str:
    """The table of docs/performance.md."""
    lines = ["| | seconds | |", "|---|---:|---|"]
    for part, found in results.items():
        for name, seconds in found.get("seconds", {}).items():
            start = f"; {found['to start']:.0f} s to start" if "to start" in found else ""
            lines.append(f"| {name} | {seconds:.4f} | {part}, {found['images']:,} images{start} |")
        for word in ("failed", "left out"):
            if word in found:
                lines.append(f"| {part} | {word} | {found[word].strip().splitlines()[-1]} |")
    if "agrees" in (same := results.get("agreement", {})):
        differ = [same[f"largest difference of {what}"] for what in ("an ELBO", "a log p(x)")]
        verdict = "agree" if same["agrees"] else "DO NOT agree"
        lines.append("")
        lines.append(
            f"The numbers of both devices {verdict}: of one image the ELBO differs by "
            f"{differ[0]:.1g} nats at most, and log p(x) by {differ[1]:.1g}."
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    kept = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(markdown(kept["results"]))

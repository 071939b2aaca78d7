"""What is hidden, given what is seen? Inference of z from some of an image's pixels."""

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from torch import Tensor

from vae_exp import figures, memory
from vae_exp.analysis.base import Findings
from vae_exp.analysis.choosing import NAMES, best_foretold
from vae_exp.analysis.completion_figure import draw
from vae_exp.analysis.completion_scores import cell, score_numbers, score_table
from vae_exp.data import Split, Splits
from vae_exp.data.splits import SplitName
from vae_exp.errors import UserError, check_positive
from vae_exp.evaluation import completion, masks
from vae_exp.evaluation.completion import Inference, Masked, Score
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator
from vae_exp.ranges import NonNegative, Positive

BLOCK = 20  # images at a time


class Completion:
    """Infers z from the pixels that ``mask`` names, and shows what it says of the hidden ones.

    ``index`` names an image of ``split``; ``digit`` a class, of whose typical images the one is
    taken whose hidden part is best foretold; with neither this is one of any class. The table is
    about this image, or with ``images`` about so many first ones. If no ``split`` is given the
    image drawn is a training image, and many are test images.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        mask: str = "top",
        digit: int | None = None,
        index: NonNegative | None = None,
        split: SplitName | None = None,
        images: Positive | None = None,
        completions: Positive = 8,
        samples: Positive = 16,
        steps: Positive = 300,
        restarts: Positive = 10,
        score_samples: Positive = 2000,
    ) -> None:
        for key, value in (
            ("task.images", 1 if images is None else images),
            ("task.completions", completions),
            ("task.samples", samples),
            ("task.steps", steps),
            ("task.restarts", restarts),
            ("task.score_samples", score_samples),
        ):
            check_positive(key, value)
        if digit is not None and index is not None:
            raise UserError(f"give digit or index, not both: got digit={digit} index={index}")
        masks.check(mask)
        self.name = name or "complete"
        if name is not None and Path(name).name != name:
            raise UserError(f"task.name must be a plain name, of figures, got {name!r}")
        self.mask = mask
        self.digit = digit
        self.index = index
        self.split = split
        self.images = images
        self.completions = completions
        self.samples = samples
        self.steps = steps
        self.restarts = restarts
        self.score_samples = score_samples

    def one_and_many(self, splits: Splits) -> tuple[Split, Split]:
        """The split of the image that is drawn, and that of the first images."""
        return splits.named(self.split or "train"), splits.named(self.split or "test")

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """Only of images that are there; raises UserError if mask or memory do not fit."""
        masks.visible_pixels(self.mask, 0, model.shape)
        self.require_memory(model)
        split, many = self.one_and_many(splits)
        if self.images is not None and self.images > len(many):
            return f"task.images must be at most {len(many)}, got {self.images}"
        if self.index is not None and self.index >= len(split):
            return f"index must be from 0 to {len(split) - 1}, got {self.index}"
        if self.digit is not None and split.labels is None:
            return f"digit={self.digit} names a class, and the images have no labels"
        if self.digit is not None and not split.of(self.digit).any():
            return f"digit={self.digit} is not among the {len(split)} {NAMES[split.name]} images"
        return None

    def require_memory(self, model: VAE) -> None:
        """Raise UserError if what is computed at once takes too much."""
        z = 4 * model.pixels * memory.COPIES  # that of each restart is decoded at once
        memory.require(
            self.restarts * (z + 4 * (self.samples + self.steps)),
            {
                "task.restarts": self.restarts,
                "task.samples": self.samples,
                "task.steps": self.steps,
            },
        )
        memory.require(self.completions * 2 * z, {"task.completions": self.completions})

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """Two figures of one image, and a table of scores: of it, or of many."""
        split, many = self.one_and_many(splits)
        seen = masks.visible_pixels(self.mask, seed, model.shape)
        index, why = self.choose(model, splits, split, seen)
        image = f"{NAMES[split.name]} image {index}"
        masked = Masked(model, split.images[index : index + 1], seen)
        found, scored = self.infer_and_score(masked, self.samples, seed, index)
        pictures = draw(masked, found, scored, count=self.completions, seed=seed)
        label = None if split.labels is None else int(split.labels[index])
        shown = "an image" if label is None else f"a {splits.source.class_name(label)}"
        method, score = next(iter(scored.items()))
        value = cell(score.log_p_hidden, score.error, score.higher, score.lower)
        equals = "" if score.error.isinf().any() else "= "
        foretold = f"log p(hidden | visible) {equals}{value} nats ({method})"
        for fig in pictures:
            title = f"Inferring {shown} from {masks.in_words(self.mask)}"
            fig.suptitle(figures.plain(title), fontsize=11)
            figures.caption(
                fig,
                splits.caption,
                figures.plain(f"mask={self.mask} is visible"),
                f"{image} ({split.origin}){why}",
                f"latent dimension {model.latent_dim}",
                foretold,
                model.likelihood_family.remark.replace("(x)", ""),
            )
        numbers = {
            "mask": self.mask,
            "visible_pixels": int(seen.sum()),
            "split": split.name,
            "index": index,
            "digit": label,
            **self.fit_numbers(found),
            "scores": {name: score_numbers(score) for name, score in scored.items()},
        }
        subject = image
        if self.images is not None:
            subject = f"the first {self.images} {NAMES[many.name]} images"
            scored = self.score_many(model, many.images[: self.images], seen, seed)
            numbers["first_images"] = {
                "split": many.name,
                **{
                    name: {**score_numbers(score), "samples": self.score_samples}
                    for name, score in scored.items()
                },
            }
        table = score_table(scored, escape(f"mask={self.mask}, {subject}"), self.score_samples)
        densities, inference = pictures
        return Findings({self.name: densities, f"{self.name}_svi": inference}, numbers, [table])

    def choose(self, model: VAE, splits: Splits, split: Split, seen: Tensor) -> tuple[int, str]:
        """The image to complete, and why this one, for the caption."""
        if self.index is not None:
            return self.index, ""
        index, among = best_foretold(model, splits, split, seen, self.digit)
        kind = splits.source.some(self.digit)
        return index, f", the best foretold of {among:,} typical {kind}"

    def infer_and_score(
        self, masked: Masked, samples: int, seed: int, first: int
    ) -> tuple[Inference, dict[str, Score]]:
        """Every q of some images and every score; ``first`` is the place of the first of them."""
        found = completion.infer(
            masked,
            restarts=self.restarts,
            steps=self.steps,
            samples=samples,
            generator=generator(seed, "completion", first),
        )
        scored = completion.scores(
            masked, found, samples=self.score_samples, seed=seed, first=first
        )
        return found, scored

    def score_many(self, model: VAE, x: Tensor, seen: Tensor, seed: int) -> dict[str, Score]:
        """The scores of images x [N, D], with a bar on a terminal."""
        samples = max(2, self.samples // 4)  # which finds the same q to 1e-3 nats
        starts, console = range(0, len(x), BLOCK), Console()
        blocks = [
            self.infer_and_score(Masked(model, x[i : i + BLOCK], seen), samples, seed, i)[1]
            for i in track(starts, "images", console=console, disable=not console.is_terminal)
        ]
        return {
            name: Score(*map(torch.cat, zip(*(block[name] for block in blocks), strict=True)))
            for name in blocks[0]
        }

    def fit_numbers(self, found: Inference) -> dict[str, Any]:
        """What SVI found for one image, for metrics.json."""
        reached, errors = found.restarts[:, 0], found.restart_errors[:, 0]
        return {
            "elbo_visible": reached.max().item(),
            "elbo_visible_error": errors[reached.argmax()].item(),
            "restarts": self.restarts,
            "restarts_that_agree": found.agreeing,
            "elbo_of_restarts": reached.tolist(),
            "errors_of_restarts": errors.tolist(),
            "mean": found.diagonal.mean[0].tolist(),
            "log_std": found.diagonal.log_std[0].tolist(),
        }

"""What would a few steps of SVI from the encoder's q add to the ELBO?"""

from collections.abc import Sequence

from rich.table import Table

from vae_exp.analysis.base import Findings
from vae_exp.data import Splits
from vae_exp.errors import check_positive
from vae_exp.evaluation.estimates import estimate, require_memory
from vae_exp.evaluation.refinement import BLOCK, elbo_after_steps
from vae_exp.models.vae import VAE
from vae_exp.ranges import Positive, PositiveNumber


class Refinement:
    """The ELBO of the first ``images`` test images after each number of ``steps`` of SVI.

    The steps are those of `objective=semi_amortised`. All numbers of steps are scored on the same
    noise, so their differences are paired.
    """

    name = "refinement"

    def __init__(
        self,
        *,
        images: Positive = 500,
        steps: Sequence[Positive] = (1, 5, 20),
        lr: PositiveNumber = 0.01,
        samples: Positive = 16,
    ) -> None:
        for key, value in (
            ("images", images),
            ("samples", samples),
            *(("steps", k) for k in steps),
        ):
            check_positive(f"task.{key}", value)
        self.images = images
        self.steps = tuple(steps)
        self.lr = lr
        self.samples = samples

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """None: every model has an encoder's q."""
        return None

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """A table of the ELBO and of what the steps add to it, with standard errors over images."""
        images = splits.test.images[: self.images]
        require_memory(model, min(len(images), BLOCK), self.samples, "task.samples")
        found = elbo_after_steps(
            model, images, (0, *self.steps), lr=self.lr, samples=self.samples, seed=seed
        )
        table = Table(title=f"ELBO in nats per image: first {len(images):,} test images")
        for column in ("steps of SVI", "ELBO", "± s.e.", "more than the encoder's q"):
            table.add_column(column, justify="right")
        numbers = {}
        for steps, elbo in found.items():
            own = estimate(elbo, f"ELBO after {steps} steps", samples=self.samples, seed=seed)
            more = estimate(elbo - found[0], "paired")
            numbers[str(steps)] = {**own.as_dict(), "above_encoder": more.as_dict()}
            gain = f"{more.mean:.3f} ± {more.stderr:.3f}" if steps else ""
            table.add_row(str(steps), f"{own.mean:.2f}", f"{own.stderr:.2f}", gain)
        return Findings(numbers={"elbo_after_steps": numbers}, tables=[table])

"""The exact evidence by epoch beside the bounds: when the gap opens, and which epoch is best."""

from collections.abc import Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from vae_exp.analysis.base import Findings
from vae_exp.data import ImageDataModule, Split, Splits
from vae_exp.errors import UserError, check_positive
from vae_exp.evaluation.estimates import elbo_terms, estimate
from vae_exp.evaluation.exact import MOST_DIMS, evidence, is_exact
from vae_exp.evaluation.importance import iwae
from vae_exp.ranges import NonNegative, Positive
from vae_exp.training.module import VAEModule

LOG_P_X = "val/log_p_x"
SAMPLES = 16  # of the ELBO


class ExactEvidence(pl.Callback):
    """log p(x), IWAE and the ELBO of the same images, every few epochs.

    They are of the weights that count. ``val/log_p_x`` is logged, and how far the bounds are below
    it on the same images: ``val/gap`` and ``val/gap_of_iwae_<samples>``. Callbacks are told the
    newest log p(x) at each epoch, so that another one can wait for it. No random number of training
    is touched: the weights are those of a run without.

    every: epochs; the first and the last count too. images: the first of those that validate.
    train_images: the first of those that train, for the same numbers. iwae: samples. best_by: what
    tells best.ckpt, the bound that is trained or log p(x).
    """

    name = "evidence_by_epoch"

    def __init__(
        self,
        every: Positive = 10,
        images: Positive = 500,
        train_images: NonNegative = 0,
        iwae: Positive = 500,
        best_by: Literal["bound", "log_p_x"] = "bound",
    ):
        check_positive("callbacks.exact_evidence.every", every)
        check_positive("callbacks.exact_evidence.images", images)
        check_positive("callbacks.exact_evidence.iwae", iwae)
        self.every = every
        self.images = images
        self.train_images = train_images
        self.iwae = iwae
        self.best_by = best_by
        self.found: list[dict[str, Any]] = []  # an epoch each

    @property
    def logs(self) -> dict[str, str]:
        """What another callback can wait for, and which way it is better."""
        return {LOG_P_X: "max"}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Say what tells the best weights; raises UserError if there is nothing to be exact on."""
        assert isinstance(pl_module, VAEModule)
        module: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if not len(module.data.splits.validation):
            raise UserError(
                "callbacks=exact_evidence needs images that validate, got data.validation_size=0"
            )
        if not is_exact(pl_module.model):
            raise UserError(
                f"callbacks=exact_evidence needs latent_dim 1 to {MOST_DIMS}, got "
                f"{pl_module.model.latent_dim}"
            )
        self._refuse_impatience(trainer)
        if self.best_by == "log_p_x":
            pl_module.judge = LOG_P_X

    def _refuse_impatience(self, trainer: pl.Trainer) -> None:
        """Raise UserError if a callback would give up before log p(x) is found a second time."""
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            patience = getattr(other, "patience", None)
            waits = getattr(other, "monitor", None) == LOG_P_X
            if waits and patience is not None and patience < self.every:
                raise UserError(
                    f"callbacks.exact_evidence.every={self.every}: log p(x) is found too seldom "
                    f"for a callback that waits {patience} epochs for it; give a smaller every, or "
                    "a larger patience"
                )

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find them if it is this epoch's turn, and log them."""
        assert isinstance(pl_module, VAEModule)
        epoch, last = trainer.current_epoch + 1, trainer.max_epochs
        if epoch == 1 or epoch % self.every == 0 or epoch == last:
            splits = trainer.datamodule.data.splits  # type: ignore[attr-defined]
            found = {"epoch": epoch, **self._numbers(pl_module, splits.validation, self.images)}
            self._publish(pl_module, "val", found)
            if self.train_images:
                found["train"] = self._numbers(pl_module, splits.train, self.train_images)
                self._publish(pl_module, "train", found["train"])
            self.found.append(found)
        else:
            known = torch.tensor(self.found[-1]["log_p_x"]["mean"])
            pl_module.log(LOG_P_X, known, logger=False, on_epoch=True, batch_size=1)

    def _publish(self, pl_module: VAEModule, split: str, found: Mapping[str, Any]) -> None:
        names = ("log_p_x", "gap", f"gap_of_iwae_{self.iwae}")
        means = {name: torch.tensor(found[name]["mean"]) for name in names}
        pl_module.publish(split, means, pl_module.global_step - 1)

    @property
    def told(self) -> str:
        """The newest log p(x) and ELBO, for the line of an epoch."""
        newest = self.found[-1]
        log_p_x, elbo = newest["log_p_x"], newest["elbo"]
        return (
            f"of {log_p_x['images']:,} validation images at epoch {newest['epoch']}: "
            f"log p(x) {log_p_x['mean']:.2f}, ELBO {elbo['mean']:.2f}"
        )

    def _numbers(self, pl_module: VAEModule, part: Split, images: int) -> dict[str, Any]:
        """The three of the first images of a split, and what lies between them image by image."""
        model, seed = pl_module.model, pl_module.seed
        with torch.inference_mode(False), torch.no_grad():
            x = part.some(slice(0, images)).to(model.device)
            exact = evidence(model, x)
            log_p_x = exact.log_p_x
            elbo = elbo_terms(model, x, samples=SAMPLES, seed=seed).bound.to(log_p_x)
            bound = iwae(model, x, self.iwae, seed=seed).to(log_p_x)

        def told(values: Tensor, estimator: str, samples: int | None = None) -> dict[str, Any]:
            number = estimate(values, estimator, samples=samples, seed=seed if samples else None)
            return number.as_dict()

        name = f"iwae_{self.iwae}"
        return {
            "log_p_x": told(log_p_x, "exact"),
            "elbo": told(elbo, "ELBO", SAMPLES),
            name: told(bound, "IWAE", self.iwae),
            "gap": told(log_p_x - elbo, "exact − ELBO, paired", SAMPLES),
            f"gap_of_{name}": told(log_p_x - bound, "exact − IWAE, paired", self.iwae),
            "largest_error": exact.error.max().item(),
        }

    def best(self) -> dict[str, Any]:
        """The epoch of the highest log p(x), and what is known of this number besides."""
        found = max(self.found, key=lambda each: float(each["log_p_x"]["mean"]))
        known = {name: value for name, value in found["log_p_x"].items() if name != "mean"}
        return {"epoch": found["epoch"], **known}

    def findings(self, splits: Splits) -> Findings:
        """The numbers of every epoch that was asked, and a figure of them."""
        from vae_exp.figures.epochs import evidence_by_epoch

        drawn = evidence_by_epoch(self.found, self.iwae, splits.caption)
        return Findings({self.name: drawn}, {"epochs": self.found})

    def state_dict(self) -> dict[str, Any]:
        """What was found, which a run that goes on keeps."""
        return {"found": self.found}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take it up again."""
        self.found = list(state_dict["found"])

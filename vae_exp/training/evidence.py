"""The exact evidence by epoch beside the bounds: when the gap opens, and which epoch is best."""

from collections.abc import Mapping
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from vae_exp.analysis.base import Findings
from vae_exp.data import ImageDataModule, Splits
from vae_exp.errors import UserError, check_positive
from vae_exp.evaluation.estimates import elbo_terms, estimate
from vae_exp.evaluation.exact import MOST_DIMS, evidence, is_exact
from vae_exp.evaluation.importance import iwae
from vae_exp.ranges import Positive
from vae_exp.training.module import VAEModule

LOG_P_X = "val/log_p_x"
SAMPLES = 16  # of the ELBO


class ExactEvidence(pl.Callback):
    """log p(x), IWAE and the ELBO of the same validation images, every few epochs.

    They are of the weights that count, and logged as ``val/log_p_x`` and ``val/iwae_<samples>``.
    log p(x) is logged at each epoch, as it was found last, so that another callback can wait for
    it. No random number of training is touched: the weights are those of a run without.

    every: epochs; the first and the last count too. images: the first of those that validate.
    iwae: samples. best_by: what tells best.ckpt, the bound that is trained or log p(x).
    """

    name = "evidence_by_epoch"

    def __init__(
        self,
        every: Positive = 10,
        images: Positive = 500,
        iwae: Positive = 500,
        best_by: Literal["bound", "log_p_x"] = "bound",
    ):
        check_positive("callbacks.exact_evidence.every", every)
        check_positive("callbacks.exact_evidence.images", images)
        check_positive("callbacks.exact_evidence.iwae", iwae)
        self.every = every
        self.images = images
        self.iwae = iwae
        self.best_by = best_by
        self.found: list[dict[str, Any]] = []  # an epoch each

    @property
    def logs(self) -> dict[str, str]:
        """What is logged, and which way each is better."""
        return {LOG_P_X: "max", f"val/iwae_{self.iwae}": "max"}

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
        if self.best_by == "log_p_x":
            pl_module.judge = LOG_P_X

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find them if it is this epoch's turn, and log them."""
        assert isinstance(pl_module, VAEModule)
        epoch, last = trainer.current_epoch + 1, trainer.max_epochs
        if epoch == 1 or epoch % self.every == 0 or epoch == last:
            self.found.append({"epoch": epoch, **self._numbers(trainer, pl_module)})
            numbers = {name: self.found[-1][name]["mean"] for name in ("log_p_x", self._iwae)}
            means = {name: torch.tensor(number) for name, number in numbers.items()}
            pl_module.publish("val", means, pl_module.global_step - 1)
        else:
            known = torch.tensor(self.found[-1]["log_p_x"]["mean"])
            pl_module.log(LOG_P_X, known, logger=False, on_epoch=True, batch_size=1)

    @property
    def told(self) -> str:
        """The newest log p(x) and ELBO, for the line of an epoch."""
        newest = self.found[-1]
        log_p_x, elbo = newest["log_p_x"], newest["elbo"]
        return (
            f"first {log_p_x['images']:,} at epoch {newest['epoch']}: "
            f"log p(x) {log_p_x['mean']:.2f}, ELBO {elbo['mean']:.2f}"
        )

    @property
    def _iwae(self) -> str:
        return f"iwae_{self.iwae}"

    def _numbers(self, trainer: pl.Trainer, pl_module: VAEModule) -> dict[str, Any]:
        """The three, and what lies between them image by image."""
        module: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        splits, model, seed = module.data.splits, pl_module.model, pl_module.seed
        with torch.inference_mode(False), torch.no_grad():
            x = splits.validation.some(slice(0, self.images)).to(model.device)
            log_p_x = evidence(model, x).log_p_x
            elbo = elbo_terms(model, x, samples=SAMPLES, seed=seed).bound.to(log_p_x)
            bound = iwae(model, x, self.iwae, seed=seed).to(log_p_x)

        def told(values: Tensor, estimator: str, samples: int | None = None) -> dict[str, Any]:
            number = estimate(values, estimator, samples=samples, seed=seed if samples else None)
            return number.as_dict()

        return {
            "log_p_x": told(log_p_x, "exact"),
            "elbo": told(elbo, "ELBO", SAMPLES),
            self._iwae: told(bound, "IWAE", self.iwae),
            "gap": told(log_p_x - elbo, "exact − ELBO, paired", SAMPLES),
            f"gap_of_{self._iwae}": told(log_p_x - bound, "exact − IWAE, paired", self.iwae),
        }

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

"""How likely are the test images? log p(x) beside the ELBO, and nothing that takes longer."""

from rich.table import Table

from vae_exp.analysis.bars import progress_bar
from vae_exp.analysis.base import Findings
from vae_exp.data import Splits
from vae_exp.evaluation.estimates import elbo_terms, estimate, share_of_worst
from vae_exp.evaluation.evidence import AIS, evidence
from vae_exp.models.vae import VAE
from vae_exp.ranges import Positive


class LogEvidence:
    """log p(x) of the first ``images`` test images (null: all), exact if it can be, else by AIS."""

    name = "evidence"

    def __init__(self, *, images: Positive | None = None) -> None:
        self.images = images

    def unsuited(self, model: VAE, splits: Splits) -> str | None:
        """None: every model has an evidence."""
        return None

    def __call__(self, model: VAE, splits: Splits, seed: int) -> Findings:
        """The mean of log p(x), of the ELBO of the same images, and of what lies between them."""
        x = splits.test.images[: self.images]
        with progress_bar() as stage:
            found = evidence(model, x, seed=seed, progress=stage("log p(x)"))
        elbo = elbo_terms(model, x, samples=16, seed=seed).bound.double()
        log_p_x = estimate(found.log_p_x, found.method)
        below = estimate(elbo, "ELBO", samples=16, seed=seed)
        apart = estimate(found.log_p_x - elbo, f"{found.method} log p(x) − ELBO, paired")
        table = Table(title=f"{len(x):,} test images, {splits.caption}")
        table.add_column("nats per image")
        for name in ("mean", "± s.e."):
            table.add_column(name, justify="right")
        for name, number in (
            (f"log p(x), {found.method}", log_p_x),
            ("ELBO", below),
            ("the gap between them", apart),
        ):
            table.add_row(name, f"{number.mean:.2f}", number.error)
        gap = found.log_p_x - elbo
        told_of = [percent for percent in (1, 5) if len(x) * percent >= 100]  # one image or more
        shares = {percent: share_of_worst(gap, percent) for percent in told_of}
        for percent, share in shares.items():
            carried = f"share of it in the worst {percent} % of images"
            table.add_row(carried, f"{100 * share:.0f} %", "")
        missing = int((~found.converged).sum())
        told = [
            f"each log p(x) to {found.error.max():.1g} nats",
            f"{missing:,} not converged" if missing else "",
            "AIS is a bound from below but for its noise" if found.method == AIS else "",
            model.likelihood_family.remark,
        ]
        table.caption = "; ".join(filter(None, told))
        numbers = {
            "log_p_x": log_p_x.as_dict(),
            "elbo": below.as_dict(),
            "gap": apart.as_dict(),
            "gap_in_the_worst": {f"{percent}_percent": share for percent, share in shares.items()},
            "largest_error": found.error.max().item(),
            "not_converged": missing,
        }
        return Findings(numbers=numbers, tables=[table], brief=table)

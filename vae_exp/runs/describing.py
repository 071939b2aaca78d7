"""What a run says of its images, its model and its test: the contents of metrics.json."""

from typing import Any

from vae_exp.data import Split, Splits
from vae_exp.evaluation.estimates import elbo_terms, estimate
from vae_exp.models.vae import VAE


def describe_images(splits: Splits) -> dict[str, Any]:
    """Which images a run trains on, validates on and tests on."""
    parts = (splits.train, splits.validation, splits.test)
    return {"name": splits.source.name, **{part.name: part.sha256 for part in parts}}


def test_numbers(model: VAE, split: Split, seed: int) -> dict[str, Any]:
    """The ELBO and its two terms over a whole split, with standard errors."""
    terms = elbo_terms(model.eval(), split.images, samples=1, seed=seed)
    sampled = {"samples": 1, "seed": seed}
    return {
        "elbo": estimate(terms.bound, "ELBO, KL in closed form", **sampled).as_dict(),
        "kl": estimate(terms.kl, "closed form").as_dict(),
        "log_likelihood": estimate(terms.log_likelihood, "Monte Carlo", **sampled).as_dict(),
    }


def describe_data(splits: Splits, split: Split) -> dict[str, Any]:
    """Which images a number is about."""
    return {
        "name": splits.source.name,
        "split": split.name,
        "images": len(split),
        "origin": split.origin,
        "trained_on": splits.trained_on,
        "binarization": splits.binarization,
        "sha256": split.sha256,
        "notice": splits.notice,
    }


def describe_model(model: VAE) -> dict[str, Any]:
    """What a model is made of."""
    return {
        "latent_dim": model.latent_dim,
        "parameters": sum(p.numel() for p in model.parameters()),
        "scores": model.likelihood_family.scores,
    }

"""Grey images reach the model as they are, and what cannot take them is refused before all else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import refusal

from vae_exp import fit
from vae_exp.data import ImageData, from_arrays, load_splits
from vae_exp.errors import UserError
from vae_exp.models.likelihoods import (
    BernoulliLikelihood,
    CategoricalLikelihood,
    DiscretisedLogisticLikelihood,
    GaussianLikelihood,
)
from vae_exp.models.vae import VAE
from vae_exp.runs.contenders import QUANTITIES, protocol_of, refuse_differences
from vae_exp.training.board import sprite

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
SIZES = {"train_size": 20, "validation_size": 8, "test_size": 12}


def test_without_binarisation_splits_and_batches_hold_the_grey_values() -> None:
    data = ImageData(source=from_arrays(PIXELS), binarization="none", batch_size=8, **SIZES)
    train, test = data.splits.train, data.splits.test
    grey = torch.from_numpy(PIXELS).flatten(1).float() / 255
    assert torch.equal(train.images, grey[:20])
    assert torch.equal(test.some(slice(3)), grey[20:23])
    assert train.values is train.pixels  # which takes no memory twice
    in_order = torch.cat([x for block in data.batches_in_order(test) for x in block])
    assert torch.equal(in_order, test.images)
    shuffled = torch.cat([x for block in data.train_batches() for x in block])
    assert shuffled.dtype == torch.float32
    assert sorted(shuffled.tolist()) == sorted(train.images.tolist())
    binary = load_splits(source=from_arrays(PIXELS), **SIZES)
    assert binary.test.sha256 != test.sha256
    assert (data.splits.caption, binary.caption) == (
        "arrays, not binarised",
        "arrays, threshold > 0.5",
    )


def test_grey_images_are_trained_on_in_a_notebook_but_not_by_a_bernoulli() -> None:
    splits = load_splits(source=from_arrays(PIXELS), binarization="none", **SIZES)
    model = VAE(2, likelihood=GaussianLikelihood(), shape=splits.shape)
    history = fit(model, splits.train.images, epochs=30, batch_size=20)
    assert history[-1] > history[0]
    with pytest.raises(UserError, match="x must hold 0 and 1 alone, got values from"):
        VAE(2, shape=splits.shape).loss(splits.train.images)


def test_a_grey_sprite_is_ink_as_dark_as_the_image() -> None:
    from io import BytesIO

    from PIL import Image

    images = torch.from_numpy(PIXELS[:3])
    drawn = np.array(Image.open(BytesIO(sprite(images, top=255))))
    assert drawn.shape == (12, 10, 2)
    assert np.array_equal(drawn[:6, :5, 1], PIXELS[0])
    coloured = torch.from_numpy(np.stack([PIXELS[:1]] * 3, -1))
    assert np.array_equal(np.array(Image.open(BytesIO(sprite(coloured, top=255)))), coloured[0])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["data.binarization=none"],
            "likelihood=bernoulli takes binary images and data.binarization is none: give "
            "data.binarization=threshold, or likelihood=gaussian",
        ),
        (
            ["likelihood=continuous_bernoulli"],
            "likelihood=continuous_bernoulli is a density of grey images, which is unbounded if "
            "they are binary, and data.binarization is threshold: give data.binarization=none",
        ),
        (["likelihood=gaussian", "data.binarization=dynamic"], "likelihood=bernoulli"),
        (["likelihood=gaussian", "likelihood.std=0"], "likelihood.std must be a number > 0, got 0"),
        (
            ["likelihood=categorical", "likelihood.levels=10"],
            "likelihood.levels must be one of 2, 4, 8, 16, 32, 64, 128, 256, got 10",
        ),
        (
            ["data.validation_size=0", "callbacks=early_stopping", "data.source=digits"],
            "callbacks.early_stopping.monitor must be one of train/elbo, got 'val/elbo': no images "
            "validate (data.validation_size=0)",
        ),
    ],
)
def test_what_cannot_go_together_is_refused_in_one_line_before_a_folder_is_made(
    words: list[str], told: str, folder: Path
) -> None:
    assert told in refusal(*words, "hydra.run.dir=run")
    assert not (folder / "run").exists()


def test_a_sweep_needs_images_that_validate(folder: Path) -> None:
    told = refusal("-m", "seed=0,1", "data.validation_size=0")
    assert "data.validation_size must be at least 1 in a sweep" in told
    assert not any(folder.iterdir())


def test_a_density_and_a_mass_do_not_stand_in_one_column() -> None:
    found = {
        likelihood.scores
        for likelihood in (
            BernoulliLikelihood(),
            GaussianLikelihood(),
            CategoricalLikelihood(),
            DiscretisedLogisticLikelihood(),
        )
    }
    assert found == {"mass", "density", "mass on 16 levels", "mass on 256 levels"}
    tested = {name: {"estimator": "one", "samples": 1} for name in QUANTITIES}
    data = {
        "name": "arrays",
        "split": "test",
        "binarization": "none",
        "images": 3,
        "sha256": "0",
    }
    one, other = (
        protocol_of({"data": data, "test": tested, "model": {"scores": scores}})
        for scores in ("density", "mass on 16 levels")
    )
    with pytest.raises(UserError, match=r"cannot stand in one column: p.* is density in the first"):
        refuse_differences(Path("a"), one, Path("b"), other)

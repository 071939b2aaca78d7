"""What is shown is typical of its class and recognisable, whatever the model likes best."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vae_exp.analysis.choosing import best_foretold, foretold, recognisable
from vae_exp.analysis.completion import Completion
from vae_exp.analysis.interpolation import Interpolation
from vae_exp.data import Split, Splits, load_splits
from vae_exp.evaluation.masks import visible_pixels
from vae_exp.inference import bounds
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.probability.streams import generator


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits(source="digits", train_size=900, validation_size=100, test_size=600)


@pytest.fixture(scope="module")
def model(splits: Splits) -> VAE:
    """A model that has seen the digits for a second or two."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VAE(2, Encoder((64,)), Decoder((64,)))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    draws, x = generator(0, "training"), splits.train.images
    for _ in range(800):
        batch = x[torch.randint(len(x), (100,), generator=draws)]
        optimizer.zero_grad()
        noise = torch.randn(1, 100, 2, generator=draws)
        bounds.loss(model.elbo_terms(batch, noise).bound).backward()
        optimizer.step()
    return model


def in_the_middle(ink: Tensor, index: int) -> bool:
    low, high = ink.double().quantile(torch.tensor([0.25, 0.75], dtype=torch.float64))
    return bool(low <= ink[index] <= high) if index >= 0 else False


def elbo(model: VAE, split: Split) -> Tensor:
    with torch.no_grad():
        return model.elbo_terms(split.images, torch.zeros(1, len(split), 2)).bound


def with_smudges(model: VAE, split: Split) -> Split:
    """The same, but the first image of each class is the one that the model likes best of all."""
    favourite = elbo(model, split).argmax()
    values = split.values.clone()
    for digit in range(10):
        values[(split.labels == digit).nonzero()[0, 0]] = split.values[favourite]
    return replace(split, values=values)


@pytest.mark.parametrize("digit", [*range(10), None])
def test_the_image_completed_has_the_ink_of_its_class(
    model: VAE, splits: Splits, digit: int | None
) -> None:
    smudged = replace(splits, train=with_smudges(model, splits.train))
    seen = visible_pixels("top")
    index, among = best_foretold(model, smudged, smudged.train, seen, digit)
    label = int(smudged.train.labels[index])
    assert digit in (None, label)
    own = smudged.train.labels == label
    ink = smudged.train.values.sum(1)
    assert in_the_middle(ink[own], int(own[:index].sum()))
    assert among > 10


@pytest.mark.slow
def test_the_image_completed_is_a_training_image_if_no_split_is_named(
    model: VAE, splits: Splits
) -> None:
    short = {"restarts": 2, "steps": 20, "samples": 4, "score_samples": 50, "completions": 2}
    for split, used in ((None, splits.train), ("test", splits.test)):
        found = Completion(digit=3, split=split, **short)(model, splits, 0)  # type: ignore[arg-type]
        assert found.numbers["split"] == used.name
        assert used.labels[found.numbers["index"]] == 3
        for fig in found.figures.values():
            footnote = fig.get_supxlabel().replace("\n", " ")
            word = "training" if used is splits.train else "test"
            assert f"{word} image {found.numbers['index']} ({used.origin})" in footnote
            assert "best foretold of" in footnote


def test_foretold_is_the_share_of_the_evidence_that_the_hidden_pixels_add(
    model: VAE, splits: Splits
) -> None:
    seen, binary = visible_pixels("left"), splits.test.some(slice(5))
    z = torch.randn(7, 2, generator=generator(0, "z"))
    with torch.no_grad():
        p = torch.sigmoid(model.decoder(z)).double()  # [G, D]
        each = torch.where(binary[:, None].bool(), p, 1 - p).log()  # [N, G, D]
        expected = each.sum(2).logsumexp(1) - each[..., seen].sum(2).logsumexp(1)
    assert torch.allclose(foretold(model, binary, seen, z).double(), expected, atol=1e-3)


def test_an_image_is_best_foretold_by_what_is_learnt_from_others(
    model: VAE, splits: Splits
) -> None:
    from vae_exp.evaluation.exact import evidence

    seen = visible_pixels("top")
    ink = splits.train.values.sum(1)
    index, _ = best_foretold(model, splits, splits.train, seen, 7)
    pixels = seen.nonzero()[:, 0]
    others = [
        i
        for i in (splits.train.labels == 7).nonzero()[:, 0].tolist()
        if in_the_middle(ink[splits.train.labels == 7], int((splits.train.labels[:i] == 7).sum()))
    ]
    x = splits.train.images[[index, *others]]
    exact = evidence(model, x).log_p_x - evidence(model, x[:, pixels], pixels).log_p_x
    assert exact[0] > exact[1:].quantile(0.8)


def nearest_class(images: Tensor, splits: Splits) -> Tensor:
    """What a plain classifier takes images [N, D] for: the class of most of 7 neighbours."""
    near = torch.cdist(images, splits.train.images).topk(7, largest=False).indices
    return splits.train.labels[near].mode(1).values


@torch.no_grad()
def share_recognised(model: VAE, splits: Splits, index: Tensor) -> float:
    """Of how many images the decoded mean is taken for the image's class."""
    means = model.posterior(splits.test.images[index]).mean
    taken = nearest_class(torch.sigmoid(model.decoder(means)), splits)
    return float((taken == splits.test.labels[index]).double().mean())


def test_the_ends_of_an_interpolation_decode_to_what_they_are_called(
    model: VAE, splits: Splits
) -> None:
    chosen = torch.cat([*recognisable(model, splits, splits.test, range(10)).values()])
    good, usual = (share_recognised(model, splits, index) for index in (chosen, torch.arange(600)))
    assert len(chosen) >= 10
    assert good > 0.85
    assert good > usual + 0.15, usual
    pairs = Interpolation(pairs=5)(model, splits, 0).numbers["pairs"]
    assert {image for pair in pairs for image in pair["images"]} <= set(chosen.tolist())

"""A VAE beside a decoder trained on log p(x): what lies between, and which pairs are refused."""

from pathlib import Path

import pytest
import small_models
import torch
from conftest import refusal
from test_comparison import a_model, make_run, nudged
from torch import Tensor

from vae_exp.cli import main as cli
from vae_exp.evaluation import exact
from vae_exp.evaluation.ceiling import Decomposition, ceiling
from vae_exp.evaluation.gap import inference_gap
from vae_exp.models.posteriors import FullGaussianFamily
from vae_exp.models.vae import VAE
from vae_exp.runs.ceiling import figure_of, numbers_of
from vae_exp.runs.metrics import read_metrics


def small(seed: int) -> VAE:
    return small_models.small(seed=seed, posterior=FullGaussianFamily(2))


@pytest.fixture(scope="module")
def x() -> Tensor:
    return small_models.binary_images(4)


@pytest.fixture(scope="module")
def found(x: Tensor) -> Decomposition:
    return ceiling(small(1), small(0), x)


def test_the_levels_are_the_evidence_of_each_and_the_elbos_of_the_vae(
    x: Tensor, found: Decomposition
) -> None:
    for model, level in ((small(1), found.ceiling), (small(0), found.log_p_x)):
        torch.testing.assert_close(level, exact.evidence(model, x).log_p_x)
    gap = inference_gap(small(0), x)
    assert torch.equal(found.best_q, gap.elbo_full)  # of the encoder's own family
    assert torch.equal(found.elbo, gap.elbo_encoder)
    assert not found.missed


def test_the_parts_sum_to_what_lies_between_ceiling_and_elbo(found: Decomposition) -> None:
    parts = found.parts()
    assert list(parts) == ["decoder", "family", "amortisation"]
    torch.testing.assert_close(sum(parts.values()), found.ceiling - found.elbo)
    assert (parts["family"] > -found.error).all()
    assert (parts["amortisation"] >= 0).all()


def test_the_error_of_a_part_is_that_of_pairs() -> None:
    each = torch.tensor([-100.0, -150.0, -220.0]).double()
    numbers = numbers_of(Decomposition(each + 3, each + 1, each + 1, each, 1e-4, 1))
    assert numbers["ceiling"]["stderr"] > 30
    assert numbers["decoder"]["mean"] == pytest.approx(2)
    assert numbers["decoder"]["stderr"] == pytest.approx(0, abs=1e-9)
    assert numbers["not_converged"] == 1


def test_a_part_too_small_to_be_drawn_is_told(found: Decomposition) -> None:
    each = torch.zeros(3).double()
    thin = Decomposition(each, each - 5, each - 5.01, each - 9, 1e-4, 0)
    fig = figure_of({"train": thin, "test": thin}, ["digits"])
    [ax] = fig.axes
    shown = " ".join(text.get_text() for text in ax.texts)
    assert "5.00 ± 0.00" in shown
    assert "0.01" not in shown
    caption = fig.get_supxlabel().replace("\n", " ")
    assert "the family of q, test: 0.01 ± 0.00" in caption


@pytest.mark.slow
def test_a_command_keeps_the_numbers_in_the_vaes_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    above, vae = make_run(folder / "above", nudged(a_model())), make_run(folder / "vae", a_model())
    cli._main(["task=ceiling", f"runs=[{above},{vae}]", "task.images=3"])
    [(name, numbers)] = read_metrics(vae)["analyses"].items()
    assert name.startswith("ceiling_images3")
    assert numbers["settings"] == {"above": str(above), "images": 3}
    for split in ("train", "test"):
        one = numbers[split]
        whole = one["ceiling"]["mean"] - one["elbo"]["mean"]
        parts = sum(one[part]["mean"] for part in ("decoder", "family", "amortisation"))
        assert parts == pytest.approx(whole, abs=1e-6)
    [figure] = numbers["figures"]
    assert (vae / figure).is_file()
    assert figure in capsys.readouterr().out.replace("\n", "")


def test_runs_that_cannot_be_set_side_by_side_are_refused(folder: Path) -> None:
    one = make_run(folder / "1", a_model())
    other = make_run(folder / "2", a_model(), binarization="stochastic")
    deep = make_run(folder / "3", a_model(5))
    assert "have other train images" in refusal("task=ceiling", f"runs=[{one},{other}]")
    assert "has latent_dim 5" in refusal("task=ceiling", f"runs=[{one},{deep}]")
    assert "runs must name two" in refusal("task=ceiling", f"runs=[{one},{one},{one}]")

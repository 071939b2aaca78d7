"""What would not fit into memory is refused in a line before it begins; what fits is done in parts.

A size is absurd or modest here: how much a machine has must not decide whether a test passes.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import refusal
from torch import Tensor, nn

from vae_exp import memory
from vae_exp.analysis.completion import Completion
from vae_exp.analysis.evaluate import Evaluate
from vae_exp.analysis.interpolation import Interpolation
from vae_exp.analysis.manifold import Manifold
from vae_exp.analysis.posterior_atlas import PosteriorAtlas
from vae_exp.analysis.samples import Samples
from vae_exp.analysis.trust import Trust
from vae_exp.data import ImageData, Splits
from vae_exp.errors import UserError
from vae_exp.evaluation.estimates import elbo_terms
from vae_exp.evaluation.gap import inference_gap
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE


@pytest.mark.parametrize(
    ("latent_dim", "encoder", "decoder", "key"),
    [
        (10**12, (5,), (5,), "latent_dim of 1,000,000,000,000"),
        (2, (500, 10**13), (5,), "hidden of 10,000,000,000,000"),
        (2, (5,), (500, 10**13), "hidden of 10,000,000,000,000"),
    ],
)
def test_networks_beyond_memory_are_refused_when_they_are_made(
    latent_dim: int, encoder: tuple[int, ...], decoder: tuple[int, ...], key: str
) -> None:
    with pytest.raises(UserError, match=rf"^{key} takes .* are free: lower {key.split()[0]}$"):
        VAE(latent_dim, Encoder(encoder), Decoder(decoder))


@pytest.mark.parametrize(
    ("analysis", "sizes"),
    [
        (Samples, {"columns": 100_000}),
        (Manifold, {"size": 100_000}),
        (Interpolation, {"pairs": 100_000}),
        (Interpolation, {"points": 100_000}),
        (PosteriorAtlas, {"each": 100_000}),
    ],
)
def test_an_analysis_beyond_paper_is_refused_when_it_is_made(
    analysis: Any, sizes: dict[str, int]
) -> None:
    [key] = sizes
    with pytest.raises(UserError, match=key):
        analysis(**sizes)


@pytest.mark.parametrize(
    ("analysis", "sizes"),
    [
        (Manifold, {"size": 1_000}),
        (Completion, {"samples": 10**13}),
        (Completion, {"restarts": 10**12}),
        (Completion, {"completions": 10**12}),
        (Completion, {"steps": 10**13}),
        (Trust, {"simulated": 10**12}),
        (Evaluate, {"sandwich_images": 10**12}),
    ],
)
def test_an_analysis_beyond_memory_is_refused_before_it_is_put_to_a_model(
    analysis: Any, sizes: dict[str, int]
) -> None:
    [key] = sizes
    model = VAE(2, Encoder((5,)), Decoder((5,)), shape=(999, 999))
    with pytest.raises(UserError, match=f"{key} of .* takes"):
        analysis(**sizes).unsuited(model, digits_of(9))


def digits_of(count: int) -> Splits:
    sizes = {"train_size": count, "validation_size": count, "test_size": count}
    return ImageData(source="digits", **sizes).splits


def test_an_estimate_beyond_memory_is_refused() -> None:
    model = VAE(2, Encoder((5,)), Decoder((5,)))
    with pytest.raises(UserError, match=r"^samples of 1,000,000,000,000 takes"):
        elbo_terms(model, torch.zeros(3, 784), samples=10**12)


def test_the_rows_of_a_decoder_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 1e6)
    model = VAE(2, Encoder((5,)), Decoder((5,)))
    elbo_terms(model, torch.zeros(3, 784), samples=50)
    with pytest.raises(UserError, match=r"^samples of 200 takes"):  # 784 logits each, three times
        elbo_terms(model, torch.zeros(3, 784), samples=200)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "words",
    [
        ("task=fit", "objective.samples=1000000000000"),
        ("task=fit", "latent_dim=1000000000000"),
        ("task=fit", "model.encoder.hidden=[10000000000000]"),
        ("task.analyses.samples.columns=100000",),
    ],
)
def test_a_run_beyond_memory_leaves_a_line_and_nothing_else(
    words: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["vae_exp"])
    line = refusal("data=debug", "data.source=digits", *words)
    key = words[-1].partition("=")[0].rpartition(".")[2]
    assert re.search(rf"\b{key}\b.*(lower|at most)", line), line
    assert not list(folder.iterdir())


def test_evaluation_names_the_key_of_its_samples() -> None:
    model = VAE(2, Encoder((5,)), Decoder((5,)))
    with pytest.raises(UserError, match=r"^task\.elbo_samples of 1,000,000,000,000 takes"):
        Evaluate(elbo_samples=10**12)(model, digits_of(9), seed=0)


def test_a_few_thousand_z_at_most_are_decoded_at_a_time() -> None:
    torch.manual_seed(0)
    model = VAE(3, Encoder((5,)), Decoder((5,)))
    most = 0

    def count(decoder: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        nonlocal most
        most = max(most, logits[..., 0].numel())

    model.decoder.register_forward_hook(count)
    x = (torch.rand(12, 784) < 0.2).float()
    elbo_terms(model, x, samples=2500)
    inference_gap(model, x, steps=4)
    assert 0 < most <= 5_000


@pytest.mark.parametrize(
    ("files", "left"),
    [
        (
            {"memory.max": "3000", "memory.current": "1000", "memory.stat": "inactive_file 500"},
            2500,
        ),
        ({"memory.max": "3000", "memory.current": "4000", "memory.stat": "inactive_file 0"}, 0),
        ({"memory.max": "max", "memory.current": "4000", "memory.stat": ""}, float("inf")),
    ],
)
@pytest.mark.parametrize("place", ["", "jobs", "jobs/ours"])
def test_the_limit_of_a_control_group_counts_wherever_it_is_set(
    files: dict[str, str], left: float, place: str, tmp_path: Path
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/jobs/ours\n")
    group = tmp_path / "sys/fs/cgroup" / place
    group.mkdir(parents=True)
    for name, text in files.items():
        (group / name).write_text(text + "\n")
    assert min(memory._below_limits(tmp_path)) == left


def test_the_first_version_of_control_groups_counts_too(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("5:cpu:/a\n4:memory:/elsewhere\n0::/\n")
    group = tmp_path / "sys/fs/cgroup/memory"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("9000\n")
    (group / "memory.usage_in_bytes").write_text("5000\n")
    (group / "memory.stat").write_text("cache 7\ntotal_inactive_file 1000\n")
    assert min(memory._below_limits(tmp_path)) == 5000


def test_something_is_left_on_this_machine() -> None:
    assert 1e6 < memory.available() < 1e15

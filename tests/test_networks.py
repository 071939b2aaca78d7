"""Networks: what they make of images and of z, and that they are random in training alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import setuptools  # noqa: F401  torch.compile needs it loaded before another library's distutils
import torch
from kill_and_resume import differences, train, train_with_snapshots
from test_training import digits, fit
from torch import Tensor, nn

from vae_exp import parts
from vae_exp.config import composing
from vae_exp.errors import UserError
from vae_exp.models.contracts import DecoderNetwork, EncoderNetwork, Shape, pixels_of
from vae_exp.models.networks import (
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    Decoder,
    Encoder,
    ResidualDecoder,
    ResidualEncoder,
)
from vae_exp.models.networks.layers import ACTIVATIONS, Dropout, InputNoise, StepNoise
from vae_exp.models.objectives import ELBO, Compiled
from vae_exp.models.vae import VAE
from vae_exp.training.fitting import fit as plain_fit
from vae_exp.training.module import VAEModule
from vae_exp.training.optimizers import Adam

Pair = Callable[[], tuple[EncoderNetwork, DecoderNetwork]]
PAIRS: dict[str, Pair] = {
    "mlp": lambda: (Encoder((9, 7)), Decoder((9, 7))),
    "linear": lambda: (Encoder(()), Decoder(())),
    "residual": lambda: (ResidualEncoder(9), ResidualDecoder(9)),
    "conv": lambda: (ConvolutionalEncoder(3, 9), ConvolutionalDecoder(3, 9)),
}
RANDOM: dict[str, Pair] = {
    "mlp": lambda: (Encoder((20,), "gelu", 0.2, 0.05), Decoder((20,), "gelu", 0.2)),
    "residual": lambda: (
        ResidualEncoder(20, 1, "relu", 0.2, 0.05),
        ResidualDecoder(20, 1, "relu", 0.2),
    ),
    "conv": lambda: (
        ConvolutionalEncoder(2, 20, "relu", 0.2, 0.05),
        ConvolutionalDecoder(2, 20, "relu", 0.2),
    ),
}
SHAPES: list[Shape] = [(8, 8), (9, 11), (10, 8, 3)]

pairs = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
random_pairs = pytest.mark.parametrize("pair", RANDOM.values(), ids=RANDOM)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def model_of(pair: Pair, shape: Shape = (28, 28)) -> VAE:
    torch.manual_seed(0)
    encoder, decoder = pair()
    return VAE(2, encoder, decoder, shape=shape)


def some_images(count: int, pixels: int) -> Tensor:
    return (torch.rand(count, pixels, generator=torch.Generator().manual_seed(1)) < 0.4).float()


@pairs
@shapes
def test_an_encoder_sees_each_flat_image_by_itself(pair: Pair, shape: Shape) -> None:
    encoder, _ = pair()
    encoder.connect(shape, 5)
    encoder.double()
    x = some_images(6, pixels_of(shape)).double()
    found = encoder(x)
    assert found.shape == (6, 5)
    assert found.var(0).min() > 0
    torch.testing.assert_close(encoder(x.view(2, 3, -1)), found.view(2, 3, 5))
    torch.testing.assert_close(encoder(x[4]), found[4])


@pairs
@shapes
@pytest.mark.parametrize("outputs", [1, 2])
def test_a_decoder_tells_some_pixels_as_it_tells_all(
    pair: Pair, shape: Shape, outputs: int
) -> None:
    _, decoder = pair()
    decoder.connect(2, shape, outputs)
    decoder.double()
    z = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found, pixels = decoder(z), pixels_of(shape)
    assert found.shape == (4, 3, outputs * pixels)
    torch.testing.assert_close(decoder(z[1, 2]), found[1, 2])
    some = torch.tensor([0, 7, 8, pixels - 1])
    expected = found.view(4, 3, outputs, pixels)[..., some].flatten(2)
    torch.testing.assert_close(decoder(z, some), expected)


def test_convolutions_read_and_write_colours_last_and_output_by_output() -> None:
    shape = (9, 8, 3)
    encoder, decoder = ConvolutionalEncoder(2), ConvolutionalDecoder(2)
    encoder.connect(shape, 4)
    decoder.connect(2, shape, 2)
    first, last = encoder.convolutions[0], decoder.parameters_of_x[-1]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(last, nn.ConvTranspose2d)
    with torch.no_grad():
        first.weight[:, 1:] = 0  # of the colours it sees red alone
        last.weight.zero_()
        last.bias.copy_(torch.arange(6.0))  # two outputs of three colours each
    x = some_images(1, 9 * 8 * 3)
    others = x.clone().view(-1, 3)
    others[:, 1:] = 1 - others[:, 1:]
    assert torch.equal(encoder(others.view(1, -1)), encoder(x))
    others[:, 0] = 1 - others[:, 0]
    assert not torch.equal(encoder(others.view(1, -1)), encoder(x))
    written = decoder(torch.zeros(2)).view(2, 72, 3)
    assert torch.equal(written, torch.arange(6.0).view(2, 1, 3).expand(2, 72, 3))


def test_neighbouring_pixels_share_a_filter() -> None:
    encoder = ConvolutionalEncoder(2)
    encoder.connect((16, 16), 4)
    images = torch.zeros(2, 16, 16)
    images[0, 4:8, 4:8] = images[1, 4:8, 8:12] = 1  # one step of stride 4 apart
    left, right = encoder.convolutions(images[:, None]).view(2, 4, 4, 4)
    torch.testing.assert_close(left[:, 1:3, 1:2], right[:, 1:3, 2:3])
    assert not torch.allclose(left, right)


@pytest.mark.parametrize("name", sorted(file.stem for file in (parts.CONF / "model").glob("*")))
def test_every_file_of_a_model_makes_networks_whose_weights_all_have_gradients(name: str) -> None:
    words = [f"model={name}", "model.encoder.dropout=0.1", "model.encoder.input_noise=0.1"]
    config = composing.plain_config(composing.composed(composing.parse(words)))
    model: VAE = parts.build(config["model"], "model", VAE)
    with model.training_noise(StepNoise(0, 0)):
        noisy = model.elbo(some_images(4, 784), noise=torch.zeros(4, 2))
    noisy.backward()
    assert noisy != model.elbo(some_images(4, 784), noise=torch.zeros(4, 2))
    for key, weight in model.named_parameters():
        assert weight.grad is not None, key
        assert weight.grad.abs().max() > 0, key


@pytest.mark.parametrize("shape", [(7, 9), (28, 4), (6, 8, 3), (12,)])
def test_images_too_small_for_convolutions_are_refused(shape: Shape) -> None:
    with pytest.raises(UserError, match=r"8 × 8 pixels or more, got .*: take model=mlp"):
        VAE(2, ConvolutionalEncoder(), ConvolutionalDecoder(), shape=shape)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_the_one_that_it_is_called(name: str) -> None:
    of = {
        "tanh": torch.tanh,
        "relu": lambda a: a.clamp(min=0),
        "gelu": lambda a: a * torch.special.ndtr(a),
        "softplus": lambda a: torch.log1p(a.exp()),
    }
    encoder = Encoder((3,), name)  # type: ignore[arg-type]
    encoder.connect((4,), 2)
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    linear = encoder.features[0]
    assert isinstance(linear, nn.Linear)
    expected = encoder.parameters_of_q(of[name](linear(x)))
    torch.testing.assert_close(encoder(x), expected, rtol=1e-5, atol=1e-6)


def test_a_setting_that_makes_no_network_is_refused() -> None:
    with pytest.raises(UserError, match=r"^activation must be one of tanh, relu, gelu, softplus"):
        Encoder(activation="sine")  # type: ignore[arg-type]
    for rate in (-0.1, 1.0):
        with pytest.raises(UserError, match=r"^dropout must be from 0 to below 1"):
            ConvolutionalDecoder(dropout=rate)
        with pytest.raises(UserError, match=r"^input_noise must be from 0 to below 1"):
            ResidualEncoder(input_noise=rate)


def test_dropout_keeps_the_mean_and_input_noise_flips_its_share() -> None:
    dropout, flips = Dropout(0.3), InputNoise(0.1)
    ones, x = torch.ones(400, 500), some_images(400, 500)
    assert torch.equal(dropout(ones), ones)
    assert torch.equal(flips(x), x)
    dropout.noise = flips.noise = StepNoise(seed=0, step=0)
    kept = dropout(ones)
    assert {*kept.unique().tolist()} == {0.0, torch.tensor(1 / 0.7).item()}
    assert (kept == 0).float().mean().item() == pytest.approx(0.3, abs=0.005)
    flipped = flips(x)
    assert {*flipped.unique().tolist()} == {0.0, 1.0}
    assert (flipped != x).float().mean().item() == pytest.approx(0.1, abs=0.005)


@random_pairs
def test_a_network_is_random_in_a_training_step_alone(pair: Pair) -> None:
    model, x = model_of(pair), some_images(6, 784)
    z = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()

    def seen(*stream: int) -> Tensor:
        with model.training_noise(StepNoise(*stream)):
            return torch.cat([model.encoder(x).flatten(), model.decoder(z).flatten()])

    plain = torch.cat([model.encoder(x).flatten(), model.decoder(z).flatten()])
    assert torch.equal(seen(0, 5), seen(0, 5))
    for other in (plain, seen(0, 6), seen(1, 5)):
        assert not torch.equal(seen(0, 5), other)
    again = torch.cat([model.encoder(x).flatten(), model.decoder(z).flatten()])
    assert torch.equal(plain, again)
    assert torch.equal(torch.get_rng_state(), state)


@random_pairs
def test_processes_that_share_a_batch_see_the_noise_of_one(pair: Pair) -> None:
    model, x = model_of(pair), some_images(7, 784)
    noise = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(0))
    with model.training_noise(StepNoise(0, 5)):
        whole = ELBO(3)(model, x, noise).bound
    parts = []
    for rows in (slice(0, 3), slice(3, 7)):
        with model.training_noise(StepNoise(0, 5, 7, rows)):
            parts.append(ELBO(3)(model, x[rows], noise[:, rows]).bound)
    torch.testing.assert_close(torch.cat(parts), whole)


@random_pairs
def test_plain_training_with_random_networks_ends_as_the_trainer_does(
    pair: Pair, tmp_path: Path
) -> None:
    data = digits(seed=3)
    module = VAEModule(model_of(pair), ELBO(), Adam(1e-2), seed=3)
    trainer = fit(module, data, tmp_path)
    model = model_of(pair)
    x = data.splits.train.images
    plain_fit(model, x, optimizer=Adam(1e-2), epochs=2, batch_size=30, seed=3)
    for ours, theirs in zip(model.parameters(), module.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    # Validation sees the networks as they are.
    x = data.splits.validation.images
    noise = torch.cat([module.noise(30, "validation", 0), module.noise(20, "validation", 1)], 1)
    elbo = model.elbo_terms(x, noise).bound.mean().item()
    assert trainer.callback_metrics["val/elbo"].item() == pytest.approx(elbo, rel=1e-5)


@pytest.mark.slow
def test_a_run_with_random_networks_resumes_to_the_last_bit(tmp_path: Path) -> None:
    words = ("model.encoder.dropout=0.2", "model.encoder.input_noise=0.05")
    train_with_snapshots(tmp_path, "task.checkpoint_seconds=0", *words)
    train(tmp_path / "3-after", "task.checkpoint_seconds=1000", *words)
    assert differences(tmp_path / "3-after", tmp_path / "whole") == []
    train(tmp_path / "without")
    assert differences(tmp_path / "without", tmp_path / "whole") != []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_a_compiled_step_draws_anew_in_each_step() -> None:
    model, x = model_of(RANDOM["mlp"]), some_images(6, 784)
    noise = torch.randn(1, 6, 2, generator=torch.Generator().manual_seed(0))
    objective, compiled = ELBO(), Compiled(ELBO())
    plain = []
    for step in range(3):
        with model.training_noise(StepNoise(0, step)):
            plain.append(objective(model, x, noise, step).bound)
    compiled.begin(model, 3)
    for step, expected in enumerate(plain):
        with model.training_noise(StepNoise(0, step)):
            found = compiled(model, x, noise, step).bound
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)

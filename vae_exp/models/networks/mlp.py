"""Fully connected networks, plain and residual, for images of any shape."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from vae_exp.errors import check_positive
from vae_exp.models.contracts import DecoderNetwork, EncoderNetwork, Shape, pixels_of
from vae_exp.models.networks.layers import Activation, InputNoise, units
from vae_exp.ranges import Positive, Rate


class Encoder(EncoderNetwork):
    """x -> the parameters of q(z | x): layers of the widths ``hidden``, then one linear layer.

    dropout: the share of hidden units that a training step sets to 0. input_noise: the share of
    pixels that a training step flips.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (500,),
        activation: Activation = "tanh",
        dropout: Rate = 0.0,
        input_noise: Rate = 0.0,
    ):
        super().__init__()
        for width in hidden:
            check_positive("hidden", width)
        units(activation, dropout)  # raises UserError
        self.hidden = tuple(hidden)
        self.activation: Activation = activation
        self.dropout = dropout
        self.noisy = InputNoise(input_noise)

    @property
    def sizes(self) -> dict[str, int]:
        """The largest width."""
        return {"hidden": max(self.hidden, default=0)}

    def connect(self, shape: Shape, outputs: int) -> None:
        """Make the layers."""
        pixels = pixels_of(shape)
        self.features = self.hidden_layers(pixels)
        self.parameters_of_q = nn.Linear([pixels, *self.hidden][-1], outputs)

    def hidden_layers(self, inputs: int) -> nn.Sequential:
        """x [.., D] -> features [.., last of ``hidden``]."""
        return mlp(inputs, self.hidden, self.activation, self.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x [.., D] -> [.., outputs]."""
        parameters: Tensor = self.parameters_of_q(self.features(self.noisy(x)))
        return parameters


class Decoder(DecoderNetwork):
    """z -> the parameters of every pixel: layers of the widths ``hidden``, then one linear layer.

    dropout: the share of hidden units that a training step sets to 0.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (500,),
        activation: Activation = "tanh",
        dropout: Rate = 0.0,
    ):
        super().__init__()
        for width in hidden:
            check_positive("hidden", width)
        units(activation, dropout)  # raises UserError
        self.hidden = tuple(hidden)
        self.activation: Activation = activation
        self.dropout = dropout

    @property
    def sizes(self) -> dict[str, int]:
        """The largest width."""
        return {"hidden": max(self.hidden, default=0)}

    def connect(self, latent_dim: int, shape: Shape, outputs: int) -> None:
        """Make the layers."""
        self.outputs = outputs
        self.features = self.hidden_layers(latent_dim)
        self.parameters_of_x = nn.Linear([latent_dim, *self.hidden][-1], outputs * pixels_of(shape))

    def hidden_layers(self, inputs: int) -> nn.Sequential:
        """z [.., Z] -> features [.., last of ``hidden``]."""
        return mlp(inputs, self.hidden, self.activation, self.dropout)

    def forward(self, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """z [.., Z] -> [.., outputs · D], or only those of the ``pixels`` [d] asked for."""
        weight: Tensor = self.parameters_of_x.weight
        bias: Tensor = self.parameters_of_x.bias
        if pixels is not None:
            weight = weight.unflatten(0, (self.outputs, -1))[:, pixels].flatten(0, 1)
            bias = bias.unflatten(0, (self.outputs, -1))[:, pixels].flatten()
        return F.linear(self.features(z), weight, bias)


class Residual:
    """The hidden layers that a residual encoder and a residual decoder have in common."""

    hidden: tuple[int, ...]
    activation: Activation
    dropout: float
    blocks: int

    @property
    def sizes(self) -> dict[str, int]:
        """The width, and how often it comes."""
        return {"width": self.hidden[0], "blocks": self.blocks}

    def hidden_layers(self, inputs: int) -> nn.Sequential:
        """[.., inputs] -> features [.., width]."""
        return residual(inputs, self.hidden[0], self.blocks, self.activation, self.dropout)


class ResidualEncoder(Residual, Encoder):
    """x -> the parameters of q(z | x): a linear layer, residual ``blocks``, one linear layer."""

    def __init__(
        self,
        width: Positive = 256,
        blocks: Positive = 2,
        activation: Activation = "relu",
        dropout: Rate = 0.0,
        input_noise: Rate = 0.0,
    ):
        check_positive("width", width)
        check_positive("blocks", blocks)
        super().__init__((width,), activation, dropout, input_noise)
        self.blocks = blocks


class ResidualDecoder(Residual, Decoder):
    """z -> the parameters of every pixel: a linear layer, residual ``blocks``, one linear layer."""

    def __init__(
        self,
        width: Positive = 256,
        blocks: Positive = 2,
        activation: Activation = "relu",
        dropout: Rate = 0.0,
    ):
        check_positive("width", width)
        check_positive("blocks", blocks)
        super().__init__((width,), activation, dropout)
        self.blocks = blocks


class ResidualBlock(nn.Module):
    """h + W₂ f(W₁ f(h)), f the activation (He et al. 2016, arXiv:1603.05027)."""

    def __init__(self, width: int, activation: Activation, dropout: float):
        super().__init__()
        self.change = nn.Sequential(
            units(activation),
            nn.Linear(width, width),
            units(activation, dropout),
            nn.Linear(width, width),
        )

    def forward(self, h: Tensor) -> Tensor:
        """h [.., width] -> [.., width]."""
        changed: Tensor = h + self.change(h)
        return changed


def mlp(
    inputs: int, hidden: Sequence[int], activation: Activation, dropout: float = 0.0
) -> nn.Sequential:
    """Fully connected layers of the given widths."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise([inputs, *hidden]):
        layers += [nn.Linear(fan_in, fan_out), units(activation, dropout)]
    return nn.Sequential(*layers)


def residual(
    inputs: int, width: int, blocks: int, activation: Activation, dropout: float = 0.0
) -> nn.Sequential:
    """A linear layer and residual blocks of one width."""
    return nn.Sequential(
        nn.Linear(inputs, width),
        *(ResidualBlock(width, activation, dropout) for _ in range(blocks)),
        units(activation, dropout),
    )

"""A small convolutional pair, for grey or colour images of 8 × 8 pixels or more."""

import torch
from torch import Tensor, nn

from vae_exp.errors import UserError, check_positive
from vae_exp.models.contracts import DecoderNetwork, EncoderNetwork, Shape, pixels_of
from vae_exp.models.networks.layers import Activation, InputNoise, units
from vae_exp.models.networks.mlp import mlp
from vae_exp.ranges import Positive, Rate

SMALLEST = 8  # pixels of a side
ROWS = 256  # z decoded at a time: what lies between the layers stays in the cache
Size = tuple[int, int]


class Halving(nn.Conv2d):
    """A convolution 3 × 3 with stride 2: [N, C, H, W] -> [N, channels, ⌈H / 2⌉, ⌈W / 2⌉]."""

    def __init__(self, inputs: int, channels: int, size: Size):
        super().__init__(inputs, channels, 3, stride=2, padding=1)
        self.out_features = channels * pixels_of(halved(size))


class Doubling(nn.ConvTranspose2d):
    """The way back to images of a ``size``: [N, C, ⌈H / 2⌉, ⌈W / 2⌉] -> [N, channels, H, W]."""

    def __init__(self, inputs: int, channels: int, size: Size):
        even = 1 - size[0] % 2, 1 - size[1] % 2
        super().__init__(inputs, channels, 3, stride=2, padding=1, output_padding=even)
        self.out_features = channels * pixels_of(size)


class ConvolutionalEncoder(EncoderNetwork):
    """x -> the parameters of q(z | x): two convolutions that halve the image, two linear layers.

    The convolutions have ``channels`` and 2 · ``channels`` channels, the first linear layer has
    ``hidden`` units. dropout: the share of these that a training step sets to 0. input_noise: the
    share of pixels that a training step flips.
    """

    def __init__(
        self,
        channels: Positive = 16,
        hidden: Positive = 256,
        activation: Activation = "relu",
        dropout: Rate = 0.0,
        input_noise: Rate = 0.0,
    ):
        super().__init__()
        check_positive("channels", channels)
        check_positive("hidden", hidden)
        units(activation, dropout)  # raises UserError
        self.channels = channels
        self.hidden = hidden
        self.activation: Activation = activation
        self.dropout = dropout
        self.noisy = InputNoise(input_noise)

    @property
    def sizes(self) -> dict[str, int]:
        """The channels of the first layer, and the hidden units."""
        return {"channels": self.channels, "hidden": self.hidden}

    def connect(self, shape: Shape, outputs: int) -> None:
        """Make the layers; raises UserError if the images are too small."""
        self.size, self.colours = planes_of(shape)
        half = halved(self.size)
        self.convolutions = nn.Sequential(
            Halving(self.colours, self.channels, self.size),
            units(self.activation),
            Halving(self.channels, 2 * self.channels, half),
            units(self.activation),
            nn.Flatten(),
        )
        convolved = 2 * self.channels * pixels_of(halved(half))
        self.features = mlp(convolved, [self.hidden], self.activation, self.dropout)
        self.parameters_of_q = nn.Linear(self.hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """x [.., D] -> [.., outputs]."""
        colours_last = self.noisy(x).reshape(-1, *self.size, self.colours)
        convolved = self.convolutions(colours_last.movedim(-1, 1))
        features = self.features(convolved.reshape(*x.shape[:-1], convolved.shape[-1]))
        parameters: Tensor = self.parameters_of_q(features)
        return parameters


class ConvolutionalDecoder(DecoderNetwork):
    """z -> the parameters of every pixel: two linear layers, two convolutions that double images.

    The encoder's layers the other way round. dropout: the share of the first layer's ``hidden``
    units that a training step sets to 0.
    """

    def __init__(
        self,
        channels: Positive = 16,
        hidden: Positive = 256,
        activation: Activation = "relu",
        dropout: Rate = 0.0,
    ):
        super().__init__()
        check_positive("channels", channels)
        check_positive("hidden", hidden)
        units(activation, dropout)  # raises UserError
        self.channels = channels
        self.hidden = hidden
        self.activation: Activation = activation
        self.dropout = dropout

    @property
    def sizes(self) -> dict[str, int]:
        """The channels of the last but one layer, and the hidden units."""
        return {"channels": self.channels, "hidden": self.hidden}

    def connect(self, latent_dim: int, shape: Shape, outputs: int) -> None:
        """Make the layers; raises UserError if the images are too small."""
        size, self.colours = planes_of(shape)
        half = halved(size)
        self.start = (*halved(half), 2 * self.channels)
        self.outputs = outputs
        self.features = nn.Sequential(
            *mlp(latent_dim, [self.hidden], self.activation, self.dropout),
            *mlp(self.hidden, [pixels_of(self.start)], self.activation),
        )
        self.parameters_of_x = nn.Sequential(
            Doubling(2 * self.channels, self.channels, half),
            units(self.activation),
            Doubling(self.channels, outputs * self.colours, size),
        )

    def forward(self, z: Tensor, pixels: Tensor | None = None) -> Tensor:
        """z [.., Z] -> [.., outputs · D], or only those of the ``pixels`` [d] asked for."""
        # With the channels last in memory the convolutions take half the time on a processor.
        start = self.features(z).reshape(-1, *self.start).movedim(-1, 1)
        planes = torch.cat([self.parameters_of_x(rows) for rows in start.split(ROWS)])
        colours_last = planes.unflatten(1, (self.outputs, self.colours)).movedim(2, -1)
        parameters: Tensor = colours_last.flatten(2)  # [N, outputs, D]
        if pixels is not None:
            parameters = parameters[..., pixels]
        return parameters.reshape(*z.shape[:-1], parameters.shape[1] * parameters.shape[2])


def planes_of(shape: Shape) -> tuple[Size, int]:
    """(height, width) and the number of colours; raises UserError if a side is too short."""
    if len(shape) not in (2, 3) or min(shape[:2]) < SMALLEST:
        got = " × ".join(map(str, shape[:2]))
        raise UserError(
            f"model: convolutions take images of {SMALLEST} × {SMALLEST} pixels or more, got "
            f"{got}: take model=mlp or model=residual"
        )
    return (shape[0], shape[1]), shape[2] if len(shape) == 3 else 1


def halved(size: Size) -> Size:
    """The size of an image after a convolution with stride 2."""
    return -(-size[0] // 2), -(-size[1] // 2)

"""Encoder and decoder networks: tensors to parameters of densities, no probability in here.

`layers` activations and what is random in training · `mlp` fully connected, plain and residual ·
`convolutional` for images.
"""

from vae_exp.models.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from vae_exp.models.networks.layers import Tanh
from vae_exp.models.networks.mlp import Decoder, Encoder, ResidualDecoder, ResidualEncoder

__all__ = [
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "Decoder",
    "Encoder",
    "ResidualDecoder",
    "ResidualEncoder",
    "Tanh",
]

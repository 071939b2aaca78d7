"""MNIST made binary by one fixed draw (Larochelle & Murray 2011), without labels."""

from typing import Any

import numpy as np

from vae_exp.data.contracts import Images
from vae_exp.data.fetched import KnownFiles
from vae_exp.data.known import KnownText

OF = "binarized MNIST"
FILES = {
    "training": (
        KnownText(
            "binarized_mnist_train.amat",
            (50_000, 28, 28),
            "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
            OF,
        ),
        KnownText(
            "binarized_mnist_valid.amat",
            (10_000, 28, 28),
            "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
            OF,
        ),
    ),
    "test": (
        KnownText(
            "binarized_mnist_test.amat",
            (10_000, 28, 28),
            "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
            OF,
        ),
    ),
}


class BinarizedMnist(KnownFiles):
    """50,000 images to train, 10,000 to validate and 10,000 to test [N, 28, 28], of 0 and 255.

    The training images are followed by those that validate, so that data.protocol=standard with
    these sizes is the fixed split. A threshold, or any draw, gives back what the files hold.
    """

    name = "binarized_mnist"
    caption = "MNIST, binary by Larochelle's draw"
    kind = "digits"
    files = FILES
    folder = "binarized_mnist"
    mirrors = ("http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",)

    def _images(self, part: str, arrays: list[Any]) -> Images:
        return Images(np.concatenate(arrays), None, f"{part} images")

"""Kuzushiji-MNIST (Clanuwat et al. 2018, arXiv:1812.01718): old Japanese script, as MNIST is."""

from vae_exp.data.fetched import KnownFiles
from vae_exp.data.known import KnownFile

OF = "Kuzushiji-MNIST"
FILES = {
    "training": (
        KnownFile(
            "train-images-idx3-ubyte",
            (60_000, 28, 28),
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            OF,
            packed=True,
        ),
        KnownFile(
            "train-labels-idx1-ubyte",
            (60_000,),
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            OF,
            packed=True,
        ),
    ),
    "test": (
        KnownFile(
            "t10k-images-idx3-ubyte",
            (10_000, 28, 28),
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            OF,
            packed=True,
        ),
        KnownFile(
            "t10k-labels-idx1-ubyte",
            (10_000,),
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            OF,
            packed=True,
        ),
    ),
}


class Kmnist(KnownFiles):
    """60,000 and 10,000 grey images [N, 28, 28] of ten characters, with labels."""

    name = "kmnist"
    caption = OF
    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    kind = "characters"
    files = FILES
    folder = "kmnist"
    mirrors = ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",)

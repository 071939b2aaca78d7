"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747): clothes, in MNIST's format."""

from vae_exp.data.fetched import KnownFiles
from vae_exp.data.known import KnownFile

OF = "Fashion-MNIST"
FILES = {
    "training": (
        KnownFile(
            "train-images-idx3-ubyte",
            (60_000, 28, 28),
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            OF,
            packed=True,
        ),
        KnownFile(
            "train-labels-idx1-ubyte",
            (60_000,),
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            OF,
            packed=True,
        ),
    ),
    "test": (
        KnownFile(
            "t10k-images-idx3-ubyte",
            (10_000, 28, 28),
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            OF,
            packed=True,
        ),
        KnownFile(
            "t10k-labels-idx1-ubyte",
            (10_000,),
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            OF,
            packed=True,
        ),
    ),
}


class FashionMnist(KnownFiles):
    """60,000 and 10,000 grey images [N, 28, 28] of clothes, with labels."""

    name = "fashion_mnist"
    caption = OF
    classes = (
        *("T-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
    files = FILES
    folder = "fashion_mnist"
    mirrors = (
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    )

"""The data sets that the package brings, one a module; a few may be chosen by a word."""

from importlib import import_module

from vae_exp.data.contracts import Source

WORDS = {
    "auto": "auto.Auto",
    "mnist": "mnist.Mnist",
    "fashion_mnist": "fashion_mnist.FashionMnist",
    "kmnist": "kmnist.Kmnist",
    "binarized_mnist": "binarized_mnist.BinarizedMnist",
    "digits": "digits.Digits",
}


def caption_of_name(name: str) -> str:
    """What a figure calls the images that metrics.json calls by a name, if only that is at hand."""
    return named(name).caption if name in WORDS else name


def named(word: str) -> Source:
    """The source that a word of `data.source` stands for."""
    module, name = WORDS[word].split(".")
    source: Source = getattr(import_module(f"vae_exp.data.sources.{module}"), name)()
    return source

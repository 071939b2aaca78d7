"""MNIST or the bundled digits, binarised, split and served in batches.

`settings` the choices and their checks · `idx` the file format · `mnist` the four files and their
mirrors · `digits` the set that needs no download · `splits` binarisation, train, validation and
test · `batches` views and epochs · `module` the LightningDataModule, alone in importing Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_exp.data.batches import Block, EpochBatches, Share, batch_data, batch_x
    from vae_exp.data.module import DigitsDataModule
    from vae_exp.data.settings import check_data_settings
    from vae_exp.data.splits import Split, Splits, binarize, load_binarized_mnist, load_splits

__all__ = [
    "Block",
    "DigitsDataModule",
    "EpochBatches",
    "Share",
    "Split",
    "Splits",
    "batch_data",
    "batch_x",
    "binarize",
    "check_data_settings",
    "load_binarized_mnist",
    "load_splits",
]

_HOME = {
    "DigitsDataModule": "module",
    "Block": "batches",
    "EpochBatches": "batches",
    "Share": "batches",
    "Split": "splits",
    "Splits": "splits",
    "batch_data": "batches",
    "batch_x": "batches",
    "binarize": "splits",
    "check_data_settings": "settings",
    "load_binarized_mnist": "splits",
    "load_splits": "splits",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: neither torch nor Lightning before that."""
    if name in _HOME:
        return getattr(import_module(f"vae_exp.data.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

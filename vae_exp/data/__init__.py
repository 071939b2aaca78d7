"""A data set, binarised, split and served in batches.

`contracts` what a source gives · `sources` one module a data set · `settings` the choices and their
checks · `cutting` which images train, validate and test · `splits` these, binarised · `batches`
views and epochs · `image_data` what a config builds · `module` the same for Lightning, alone in
importing it · `fetched` known files, on disk or from a mirror · `download` one URL to bytes · `idx`
the file format of MNIST.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae_exp.data.batches import Block, EpochBatches, Share, batch_data, batch_x
    from vae_exp.data.contracts import Images, Source
    from vae_exp.data.image_data import ImageData
    from vae_exp.data.module import ImageDataModule
    from vae_exp.data.settings import check_data_settings
    from vae_exp.data.sources.arrays import from_arrays
    from vae_exp.data.splits import Split, Splits, binarize, load_binarized_mnist, load_splits

_HOMES = {
    "batches": ["Block", "EpochBatches", "Share", "batch_data", "batch_x"],
    "contracts": ["Images", "Source"],
    "image_data": ["ImageData"],
    "module": ["ImageDataModule"],
    "settings": ["check_data_settings"],
    "sources.arrays": ["from_arrays"],
    "splits": ["Split", "Splits", "binarize", "load_binarized_mnist", "load_splits"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Block",
    "EpochBatches",
    "ImageData",
    "ImageDataModule",
    "Images",
    "Share",
    "Source",
    "Split",
    "Splits",
    "batch_data",
    "batch_x",
    "binarize",
    "check_data_settings",
    "from_arrays",
    "load_binarized_mnist",
    "load_splits",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: neither torch nor Lightning before that."""
    if name in _HOME:
        return getattr(import_module(f"vae_exp.data.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

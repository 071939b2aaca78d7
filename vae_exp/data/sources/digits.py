"""The handwritten digits that ship inside scikit-learn, brought to 28×28 as MNIST's were.

1,797 digits by 43 writers (Alpaydin, Kaynak 1998), 8×8 in steps of 1/16. MNIST's own recipe
(LeCun et al. 1998): the ink fits a 20×20 box with its aspect kept, anti-aliased, and the box is
placed so that its centre of mass is the centre of the 28×28 field.
"""

import numpy as np
import numpy.typing as npt

from vae_exp.data.contracts import Images, Source

COUNT = 1_797
_FIELD = 28
_BOX = 20
_FULL_INK = 16.0


class Digits(Source):
    """The bundled digits, in scikit-learn's order."""

    name = "digits"
    caption = "bundled 8×8 digits at 28×28 (not MNIST)"
    kind = "digits"

    def training(self) -> Images:
        """Images [1797, 28, 28] and labels [1797] in 0..9."""
        from sklearn.datasets import load_digits as load_bundled

        bundled = load_bundled()
        fields = np.stack([_to_field(ink) for ink in bundled.images])
        return Images(fields, bundled.target.astype(np.uint8), "bundled digits")


def _to_field(digit: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """One digit [8, 8] in 0..16 as a field [28, 28] in 0..255."""
    from scipy import ndimage

    rows, columns = np.flatnonzero(digit.any(axis=1)), np.flatnonzero(digit.any(axis=0))
    ink = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (round(size * _BOX / max(ink.shape)) for size in ink.shape)
    box = ndimage.zoom(
        ink,
        (height / ink.shape[0], width / ink.shape[1]),
        order=3,
        mode="grid-constant",
        grid_mode=True,
    )
    grey = np.rint(np.clip(box / _FULL_INK, 0.0, 1.0) * 255.0).astype(np.uint8)
    mass_row, mass_column = ndimage.center_of_mass(grey.astype(np.float64))
    centre = (_FIELD - 1) / 2
    top = int(np.clip(round(centre - mass_row), 0, _FIELD - height))
    left = int(np.clip(round(centre - mass_column), 0, _FIELD - width))
    field = np.zeros((_FIELD, _FIELD), dtype=np.uint8)
    field[top : top + height, left : left + width] = grey
    return field

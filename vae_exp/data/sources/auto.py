"""MNIST if it is at hand or can be fetched at once, else the bundled digits, and it is said so."""

from collections.abc import Sequence
from pathlib import Path

from vae_exp.data.contracts import Found, Images, Source
from vae_exp.data.fetched import Unavailable
from vae_exp.data.sources.digits import Digits
from vae_exp.data.sources.mnist import Mnist
from vae_exp.errors import UserError

TIMEOUT = 3.0  # seconds


class Auto(Source):
    """Either of two sources; what it reads tells which."""

    name = "auto"
    caption = "MNIST"

    def __init__(
        self,
        root: Path | None = None,
        *,
        mirrors: Sequence[str] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.mirrors = mirrors
        self.timeout = timeout
        self.mnist = Mnist(root, mirrors=mirrors, timeout=timeout)
        self.counts = self.mnist.counts

    def training(self) -> Images:
        """The training images of the one that is there."""
        return self.read(test=False).training

    def read(self, test: bool) -> Found:
        """MNIST, or the digits with a notice."""
        try:
            return self.mnist.read(test)
        except Unavailable as error:
            notice = f"not MNIST but scikit-learn's bundled digits: {error.reason}"
            return Found(Digits(), Digits().training(), notice=notice)

    def below(self, root: Path) -> "Auto":
        """With MNIST's files in another folder."""
        return Auto(root, mirrors=self.mirrors, timeout=self.timeout)

    def recalled(self, name: str) -> Source:
        """The one of the two that has the name; raises UserError if neither has it."""
        both = {source.name: source for source in (Mnist(self.mnist.root), Digits())}
        if name not in both:
            raise UserError(f"must be one of {', '.join(both)}, got {name!r}")
        return both[name]

"""The limits: the large matrix products of the default model, alone and with an Adam update."""

import time
from collections.abc import Mapping

import torch
import torch.nn.functional as F

LIMIT = "matrix products alone"
WITH_ADAM = "matrix products and one fused Adam update"


class TrainingProducts:
    """The five large products of each step of an epoch: two forward, three backward.

    With ``samples`` z an image those of the decoder have as many rows for each.
    """

    def __init__(
        self, images: int, batch: int, *, pixels: int = 784, hidden: int = 500, samples: int = 1
    ):
        self.steps = max(1, images // batch)
        self.x, self.h = torch.rand(batch, pixels), torch.rand(batch, hidden)
        self.decoder_h = torch.rand(samples * batch, hidden)
        self.encoder, self.decoder = torch.rand(hidden, pixels), torch.rand(pixels, hidden)

    @torch.no_grad()
    def __call__(self) -> Mapping[str, float]:
        """An epoch."""
        start = time.perf_counter()
        for _ in range(self.steps):
            self.products()
        return {LIMIT: time.perf_counter() - start}

    def products(self) -> None:
        """Those of one step."""
        F.linear(self.x, self.encoder)
        logits = F.linear(self.decoder_h, self.decoder)
        logits.T @ self.decoder_h
        logits @ self.decoder
        self.h.T @ self.x


class TrainingLimit(TrainingProducts):
    """The same products, and after those of each step one fused Adam update of all weights.

    Adam reads and writes 22 MB a step, after which little of a product is left in the caches: no
    step that trains with it can do without.
    """

    def __init__(self, images: int, batch: int, *, weights: int):
        super().__init__(images, batch)
        self.weights = torch.nn.Parameter(torch.rand(weights))
        self.weights.grad = torch.rand(weights)
        self.optimizer = torch.optim.Adam([self.weights], fused=True)

    @torch.no_grad()
    def __call__(self) -> Mapping[str, float]:
        """An epoch."""
        start = time.perf_counter()
        for _ in range(self.steps):
            self.products()
            self.optimizer.step()
        return {WITH_ADAM: time.perf_counter() - start}


class EvaluationProducts:
    """The two large products of each batch if nothing is differentiated."""

    def __init__(self, images: int, batch: int, *, pixels: int = 784, hidden: int = 500):
        self.batches = images // batch
        self.x, self.h = torch.rand(batch, pixels), torch.rand(batch, hidden)
        self.encoder, self.decoder = torch.rand(hidden, pixels), torch.rand(pixels, hidden)

    @torch.no_grad()
    def __call__(self) -> Mapping[str, float]:
        """All batches once."""
        start = time.perf_counter()
        for _ in range(self.batches):
            F.linear(self.x, self.encoder)
            F.linear(self.h, self.decoder)
        return {LIMIT: time.perf_counter() - start}


class InferenceProducts:
    """The decoder's product forward and by its input, of every step of SVI."""

    def __init__(self, rows: int, steps: int, *, pixels: int = 392, hidden: int = 500):
        self.steps = steps
        self.h, self.decoder = torch.rand(rows, hidden), torch.rand(pixels, hidden)

    @torch.no_grad()
    def __call__(self) -> Mapping[str, float]:
        """All steps."""
        start = time.perf_counter()
        for _ in range(self.steps):
            F.linear(self.h, self.decoder) @ self.decoder
        return {LIMIT: time.perf_counter() - start}

"""The same model with nothing of vae_exp in it, as one would write it for one use."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers import DIMS, HIDDEN

STEPS = "PyTorch alone, steps"
WHOLE = "PyTorch alone, validated and saved"


class PlainVAE(nn.Module):
    """The default model; its loss is that of torch, and it knows no other."""

    def __init__(self, pixels: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.Tanh(), nn.Linear(hidden, 2 * DIMS)
        )
        self.decoder = nn.Sequential(nn.Linear(DIMS, hidden), nn.Tanh(), nn.Linear(hidden, pixels))

    def loss(self, x: Tensor, noise: Tensor) -> Tensor:
        """Minus the mean ELBO of a batch x [B, D], from noise [B, Z]."""
        mean, log_std = self.encoder(x).chunk(2, -1)
        logits = self.decoder(mean + log_std.exp() * noise)
        kl = 0.5 * (mean.square() + (2 * log_std).exp() - 1) - log_std
        surprise = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        loss: Tensor = (surprise + kl.sum()) / len(x)
        return loss


class PlainTorch:
    """An epoch with a fused Adam; then all validation images, and weights and moments to a file."""

    def __init__(self, images: Tensor, validation: Tensor, batch: int):
        self.images, self.validation, self.batch = images, validation, batch
        self.model = PlainVAE(images.shape[1])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)

    def __call__(self) -> Mapping[str, float]:
        """Seconds of the steps, and of the whole."""
        start = time.perf_counter()
        for rows in torch.randperm(len(self.images)).split(self.batch):
            self.optimizer.zero_grad()
            self.model.loss(self.images[rows], torch.randn(len(rows), DIMS)).backward()
            self.optimizer.step()
        stepped = time.perf_counter()
        with torch.no_grad():
            for x in self.validation.split(self.batch):
                self.model.loss(x, torch.randn(len(x), DIMS)).item()
        with tempfile.TemporaryDirectory() as folder:
            state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
            torch.save(state, Path(folder, "last.pt"))
        return {STEPS: stepped - start, WHOLE: time.perf_counter() - start}

"""A step past Lightning's wrappers is the step through them."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from vae_exp.data import ImageData, ImageDataModule
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.objectives import ELBO
from vae_exp.models.vae import VAE
from vae_exp.training.descent import WITHIN, Descent, QuickDescent
from vae_exp.training.hardware import Hardware
from vae_exp.training.module import VAEModule
from vae_exp.training.optimizers import AdamOneCycle


class Listener(pl.Callback):
    """Hears one thing that happens within a step."""

    def __init__(self) -> None:
        self.heard = 0


def listener(hook: str) -> Listener:
    def hear(self: Listener, *_: Any) -> None:
        self.heard += 1

    kind: type[Listener] = type("Hears", (Listener,), {hook: hear})
    return kind()


def trained(folder: Path, callbacks: list[pl.Callback], **options: Any) -> tuple[VAEModule, int]:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    model = VAE(2, Encoder((6,)), Decoder((6,)))
    data = ImageData(
        source="digits",
        train_size=50,
        validation_size=10,
        test_size=10,
        batch_size=20,
        block_images=40,
    )
    hardware = Hardware(options=options)
    module = hardware.module(model, ELBO(), AdamOneCycle(), seed=0, average_weights=0.5)
    trainer = hardware.trainer(2, folder, [], callbacks)
    trainer.fit(module, datamodule=ImageDataModule(data))
    return module, trainer.global_step


@pytest.mark.parametrize("hook", WITHIN)
def test_steps_are_told_to_whoever_listens_and_are_the_same(hook: str, tmp_path: Path) -> None:
    options: Any = {"gradient_clip_val": 0.5}
    quick, steps = trained(tmp_path / "quick", [], **options)
    ear = listener(hook)
    told, same = trained(tmp_path / "told", [ear], **options)
    assert type(quick.descent) is QuickDescent
    assert type(told.descent) is Descent
    assert steps == same == ear.heard == 6
    for one, other in zip(quick.model.parameters(), told.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_profiler_sees_every_step(tmp_path: Path) -> None:
    module, _ = trained(tmp_path, [], profiler="simple")
    assert type(module.descent) is Descent
    assert "optimizer_step" in (tmp_path / "fit-profile.txt").read_text()

"""Lightning gets the splits, the right epoch's order, and the right batch after a resume."""

from itertools import chain
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from vae_exp.config.composing import composed, parse, plain_config
from vae_exp.data import Block, ImageData, ImageDataModule
from vae_exp.errors import UserError
from vae_exp.parts import build
from vae_exp.runs.upgrade import upgraded_config

EPOCHS = 3


def small(binarization: str = "dynamic") -> ImageData:
    return ImageData(
        source="digits",
        train_size=20,
        validation_size=25,
        test_size=20,
        binarization=binarization,
        batch_size=8,
        block_images=1,
        seed=3,
    )


class Recorder(pl.LightningModule):
    """Learns next to nothing and remembers each training batch with its epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(784))
        self.seen: list[tuple[int, bytes]] = []
        self.validated: list[Tensor] = []

    def training_step(self, block: Block, batch_idx: int) -> Tensor:
        [batch] = block
        self.seen.append((self.current_epoch, batch.to(torch.uint8).numpy().tobytes()))
        return ((batch @ self.weight - 1) ** 2).mean()

    def validation_step(self, block: Block, batch_idx: int) -> None:
        self.validated += list(block)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class SaveAll(pl.Callback):
    """A checkpoint after each batch, each validation and each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved: list[tuple[Path, int]] = []

    def save(self, trainer: pl.Trainer, module: Recorder, when: str) -> None:
        path = self.folder / f"{len(self.saved)}-{when}.ckpt"
        trainer.save_checkpoint(path)
        self.saved.append((path, len(module.seen)))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.save(trainer, module, "batch")

    def on_validation_end(self, trainer, module) -> None:
        if not trainer.sanity_checking:
            self.save(trainer, module, "validation")

    def on_train_epoch_end(self, trainer, module) -> None:
        self.save(trainer, module, "epoch")


def trainer(folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_resumed_from_any_checkpoint_sees_the_batches_it_would_have_seen(tmp_path: Path):
    whole, saver = Recorder(), SaveAll(tmp_path)
    trainer(tmp_path, saver).fit(whole, datamodule=ImageDataModule(small()))
    assert [epoch for epoch, _ in whole.seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len({batch for _, batch in whole.seen}) == 9
    assert len(saver.saved) == EPOCHS * (3 + 1 + 1)
    for path, taken in saver.saved:
        resumed = Recorder()
        trainer(tmp_path).fit(
            resumed, datamodule=ImageDataModule(small()), ckpt_path=path, weights_only=True
        )
        assert resumed.seen == whole.seen[taken:], path.name
        assert torch.equal(resumed.weight, whole.weight), path.name


@pytest.mark.parametrize("binarization", ["threshold", "dynamic"])
def test_validation_and_test_are_served_whole_in_order_and_always_the_same(
    tmp_path: Path, binarization: str
):
    data, model = small(binarization), Recorder()
    trainer(tmp_path).fit(model, datamodule=ImageDataModule(data))
    sanity = sum(len(batch) for batch in model.validated[:2])
    every_time = torch.cat(model.validated)[sanity:].view(EPOCHS, 25, 784)
    assert sanity == 16  # Lightning's check before training takes two batches and leaves
    assert (every_time == data.splits.validation.images).all()
    for _ in range(2):
        assert torch.equal(
            torch.cat(list(chain.from_iterable(ImageDataModule(data).test_dataloader()))),
            data.splits.test.images,
        )


def test_the_epochs_order_is_the_one_asked_of_the_loader_by_hand(tmp_path: Path):
    data, model = small("threshold"), Recorder()
    trainer(tmp_path).fit(model, datamodule=ImageDataModule(data))
    batches = data.train_batches()
    by_hand = []
    for epoch in range(EPOCHS):
        batches.set_epoch(epoch)
        by_hand += [(epoch, batch.to(torch.uint8).numpy().tobytes()) for [batch] in batches]
    assert model.seen == by_hand


def test_the_splits_are_loaded_once_and_not_by_the_constructor():
    data = small()
    assert "splits" not in vars(data)
    assert data.splits is data.splits


def test_a_setting_out_of_range_is_refused_before_any_file_is_looked_for(tmp_path: Path):
    root = tmp_path / "none"
    with pytest.raises(UserError, match=r"data\.train_size must be a positive integer, got 0"):
        ImageData(root=root, train_size=0)
    with pytest.raises(UserError, match=r"data\.source must be one of auto, mnist, fashion_mnist"):
        ImageData(root=root, source="mnits")
    assert not root.exists()


@pytest.mark.parametrize(
    ("name", "protocol", "sizes"),
    [
        ("full", "assignment", (10_000, 2_000, 10_000)),
        ("debug", "assignment", (100, 100, 100)),
        ("mnist60k", "standard", (55_000, 5_000, 10_000)),
    ],
)
def test_each_data_config_builds_the_module_that_it_describes(
    name: str, protocol: str, sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VAE_EXP_DATA", "/some/where")
    words = [f"data={name}", "batch_size=50"]
    config = plain_config(composed(parse(words)))
    data = build(config["data"], "data", ImageData)
    assert (data.train_size, data.validation_size, data.test_size) == sizes
    assert (data.protocol, data.source.name, data.binarization) == (protocol, "auto", "threshold")
    assert (data.seed, data.batch_size) == (0, 50)
    assert data.source.recalled("mnist").root == Path("/some/where")


def test_the_name_that_older_runs_have_for_it_still_means_the_same():
    old = {
        "_target_": "vae_exp.data.DigitsDataModule",
        "source": "auto",
        "root": None,
        "train_size": 30,
        "block_images": 2000,
    }
    data = build(upgraded_config({"data": old})["data"], "data", ImageData)
    assert (data.train_size, data.block_images, data.source.name) == (30, 2000, "auto")


def test_the_images_of_a_run_are_known_by_their_name():
    data = small()
    assert data.recalled("digits").splits.test.sha256 == data.splits.test.sha256
    with pytest.raises(UserError, match="must be digits, got 'mnist'"):
        data.recalled("mnist")
    with pytest.raises(UserError, match="must be one of mnist, digits, got 'auto'"):
        ImageData().recalled("auto")

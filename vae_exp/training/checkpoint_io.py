"""How Lightning writes and reads a checkpoint."""

import io
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from vae_exp.atomic import replacing
from vae_exp.runs.weights import load_checkpoint


class AtomicIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there, and run no code when they are read."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint to the disk, then let it take the place of the old one."""
        contents = io.BytesIO()  # torch hides what the disk says of a file that it writes itself
        torch.save(checkpoint, contents)
        path = Path(path)
        with replacing(path.parents[1], Path(path.parent.name, path.name)) as file:
            file.write(contents.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the processor; raises UserError if it cannot be trusted."""
        return load_checkpoint(Path(path))

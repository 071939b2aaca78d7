"""docs/tour.ipynb: executed from its first cell to its last, with small pictures."""

import base64
import io
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

CELL_SECONDS = 300


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """A notebook with the outputs of its cells, which are run in a folder.

    Raises CellExecutionError if a cell fails.
    """
    notebook: nbformat.NotebookNode = nbformat.read(path, as_version=4)
    metadata = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=CELL_SECONDS, resources=metadata, record_timing=False)
    client.execute()
    notebook.metadata.language_info = {"name": "python"}  # not the version of this machine
    return notebook


def pictures(notebook: nbformat.NotebookNode) -> list[bytes]:
    """The PNG files that a notebook shows."""
    shown = [
        output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    return [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]


def make(path: Path, folder: Path) -> None:
    """Execute a notebook and write it back, its pictures in 256 colours: a third of the size."""
    notebook = executed(path, folder)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _small(output.data["image/png"])
    nbformat.write(notebook, path)


def _small(picture: str) -> str:
    file = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as opened:
        small = opened.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()

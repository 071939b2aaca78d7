"""docs/tour.ipynb runs from its first cell to its last, and a notebook shows every figure."""

import re
from pathlib import Path

import nbformat
import pytest

from benchmarks import tour

TOUR = Path(__file__).resolve().parents[1] / "docs" / "tour.ipynb"
PNG = b"\x89PNG\r\n\x1a\n"
LARGEST = 300_000  # bytes


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: nbformat.NotebookNode) -> set[str]:
    """What a cell gave: text, tables, pictures."""
    return {kind for output in cell.outputs for kind in output.get("data", {"stream": ""})}


def said(cell: nbformat.NotebookNode) -> str:
    """What a cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs)


def test_the_tour_has_twelve_cells_whose_outputs_can_be_read_on_a_page() -> None:
    committed = nbformat.read(TOUR, as_version=4)
    nbformat.validate(committed)
    cells = code_cells(committed)
    assert len(cells) == 12
    assert all(cell.outputs for cell in cells)
    assert [cell.execution_count for cell in cells] == [*range(1, 13)]
    assert len(tour.pictures(committed)) >= 6
    assert TOUR.stat().st_size < LARGEST


def test_the_tour_tells_nothing_of_the_machine_that_ran_it() -> None:
    assert not re.findall(r"/(?:home|root|work|tmp|usr|Users)/[\w/.]*", TOUR.read_text("utf-8"))


@pytest.mark.slow
def test_the_tour_runs_and_shows_what_its_page_shows(folder: Path) -> None:
    committed = nbformat.read(TOUR, as_version=4)
    done = tour.executed(TOUR, folder)  # raises if a cell fails
    for page, cell in zip(code_cells(committed), code_cells(done), strict=True):
        assert kinds(cell) == kinds(page), cell.source
        assert not re.search("warning|error:", said(cell), re.I), said(cell)
    pictures = tour.pictures(done)
    assert len(pictures) == len(tour.pictures(committed))
    assert all(picture.startswith(PNG) and len(picture) > 2_000 for picture in pictures)
    gaps = re.findall(r"log p\(x\) − ([\w-]+): (\S+) ±", "".join(map(said, code_cells(done))))
    elbo, iwae = (float(gap) for _, gap in gaps)
    assert [name for name, _ in gaps] == ["ELBO", "IWAE-1000"]
    assert 0 < iwae < elbo


SHOWING = "from vae_exp.figures import figure\nfig = figure(1, 1)\nfig.add_subplot()\nfig"


@pytest.mark.slow
def test_a_figure_is_shown_once_with_pyplot_and_without(folder: Path) -> None:
    sources = [SHOWING, "import matplotlib.pyplot", SHOWING, "%matplotlib inline", SHOWING]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "shown.ipynb")
    done = tour.executed(folder / "shown.ipynb", folder)
    shown = [
        sum("image/png" in each.get("data", {}) for each in cell.outputs) for cell in done.cells
    ]
    assert shown == [1, 0, 1, 0, 1]

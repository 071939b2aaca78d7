"""The command that writes a page: of a run, of a sweep, or of several runs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vae_exp import folders
from vae_exp.errors import UserError
from vae_exp.report import comparison_page, run_page, sweep_page
from vae_exp.runs import loading
from vae_exp.runs.looking import splits_of


class Report:
    """Writes one HTML file about a ``run``, about a ``sweep``, or about several ``runs``.

    ``output`` names the file of several runs; the others lie in their folders. Called with the
    whole config.
    """

    def __init__(
        self,
        *,
        run: str | None = None,
        sweep: str | None = None,
        runs: Sequence[str] = (),
        output: str = "comparison.html",
    ) -> None:
        given = {"run": run, "sweep": sweep, "runs": runs}
        named = [key for key, value in given.items() if value]
        if len(named) != 1:
            got = " and ".join(named) or "none of them"
            raise UserError(f"task=report needs one of run, sweep and runs, got {got}")
        self.run = run
        self.sweep = sweep
        self.runs = runs
        self.output = output

    def __call__(self, config: dict[str, Any]) -> None:
        """Write the page and print where it is; raises UserError if there is nothing to tell."""
        root = config["data"].get("root")
        if self.run is not None:
            path = run_page.write(_finished(self.run, root))
        elif self.sweep is not None:
            path = sweep_page.write(folders.find_sweep(self.sweep))
        else:
            path = comparison_page.write(self.runs, Path(self.output), config["seed"], root)
        console = Console()
        console.print(folders.shown(path), soft_wrap=True, markup=False, highlight=False)


def _finished(spec: str, root: str | None) -> loading.Run:
    run = loading.load(spec)
    if run.weights != run.folder / folders.WEIGHTS:
        raise UserError(
            f"a page tells of a run at its end, got the checkpoint {run.weights}: run={run.folder}"
        )
    return run if root is None else run.over(splits_of(run, root))

"""Train a model, test it, save it, and put every analysis to it: `running` trains, `results` tells.

Nothing here imports Lightning before a run begins.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vae_exp import folders
from vae_exp.analysis.base import Analysis
from vae_exp.errors import UserError, check_positive
from vae_exp.ranges import NonNegative, NonNegativeNumber, Positive
from vae_exp.surroundings import imported
from vae_exp.training.interrupts import Interrupted, Interrupts

Part = Literal["encoder", "decoder", "prior", "likelihood", "posterior"]


class Train:
    """Train, report the test ELBO, save the weights, and put every analysis to the model.

    An analysis that says nothing about such a model or such images, or that fails, is skipped.
    ``init_from`` is a run with whose weights to begin, ``freeze`` the parts that keep theirs, and
    ``average_weights`` the decay of a moving average over steps, whose weights are then the run's.
    With ``report`` a page that explains the run is written at the end.
    """

    def __init__(
        self,
        epochs: Positive,
        analyses: Mapping[str, Analysis],
        figures_every: NonNegative = 0,
        checkpoint_seconds: NonNegativeNumber = 30.0,
        name: str | None = None,
        init_from: str | None = None,
        freeze: Sequence[Part] = (),
        average_weights: NonNegativeNumber = 0.0,
        report: bool = False,
    ):
        check_positive("epochs", epochs)
        if figures_every < 0:
            raise UserError(f"task.figures_every must be 0 or more, got {figures_every}")
        if not checkpoint_seconds >= 0:
            raise UserError(f"task.checkpoint_seconds must be 0 or more, got {checkpoint_seconds}")
        if not 0 <= average_weights < 1:
            raise UserError(f"task.average_weights must be >= 0 and < 1, got {average_weights}")
        self.epochs = epochs
        self.analyses = analyses
        self.figures_every = figures_every
        self.checkpoint_seconds = checkpoint_seconds
        self.name = name
        self.init_from = init_from
        self.freeze = tuple(freeze)
        self.average_weights = average_weights
        self.report = report

    def __call__(self, config: dict[str, Any], folder: Path) -> float:
        """Run the whole job in a folder, from its newest checkpoint; returns val/elbo at its end.

        It is nan if no images validate.
        The weights are saved last, so that they are the mark of a finished run. Raises Interrupted
        if a signal stopped it, and UserError if the disk or the numbers did. The caller holds
        the folder.
        """
        from vae_exp.training import checkpointing
        from vae_exp.training.distributed import Lost
        from vae_exp.training.watch import Diverged

        with Interrupts() as interrupts:
            try:
                return self._run(config, folder, interrupts)
            except Interrupted as stop:
                raise Interrupted(stop.signum, folder) from None
            except Diverged as error:
                raise UserError(f"{error}; {checkpointing.kept(folder)}") from error
            except Lost as error:
                raise UserError(f"{error}; {checkpointing.way_on(folder)}") from error
            except OSError as error:
                raise UserError(
                    f"{error.filename or folder}: {error.strerror}; {checkpointing.way_on(folder)}"
                ) from error

    def assist(self, config: dict[str, Any], folder: Path, interrupts: Interrupts) -> None:
        """Share the steps of a run whose folder another process holds; writes no files."""
        from vae_exp.training import running

        running.assist(self, config, folder, interrupts)

    def _run(self, config: dict[str, Any], folder: Path, interrupts: Interrupts) -> float:
        from vae_exp.training import results, running

        imported()
        if self.init_from is not None:
            config = self._settled(config)
        trained = running.train(self, config, folder, interrupts)
        metrics = results.numbers(trained, config["seed"])
        results.write(trained, metrics, folder)
        looks = results.answers(trained, config["seed"], folder)
        results.finish(trained, folder)
        results.show(trained, metrics, looks, folder)
        if self.report:
            results.report(trained, folder)
        judged = metrics.get("validation")
        return math.nan if judged is None else float(judged["elbo"]["mean"])

    def _settled(self, config: dict[str, Any]) -> dict[str, Any]:
        """The config with the run that ``latest`` is now, so that a resumed run means the same."""
        assert self.init_from is not None
        try:
            self.init_from = str(folders.find(self.init_from).resolve())
        except UserError as error:
            raise UserError(f"init_from: {error}") from error
        task = {**config["task"], "init_from": self.init_from}
        return {**config, "init_from": self.init_from, "task": task}

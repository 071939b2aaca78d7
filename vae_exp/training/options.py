"""What of Lightning's Trainer a person may set by ``trainer.options``, and why not the rest."""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from vae_exp.errors import UserError
from vae_exp.ranges import Positive, PositiveNumber

PLACE = "trainer.options"
MIXED = ("16-mixed", "bf16-mixed")

Share = Annotated[float, Field(gt=0, le=1)]


class Options(TypedDict, total=False):
    """What may be given; the names and the meanings are those of Lightning's Trainer."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]
    precision: Literal["32-true", "16-mixed", "bf16-mixed"]
    max_time: Annotated[str, Field(pattern=r"^\d+(:\d\d){3}$")]
    min_epochs: Positive
    gradient_clip_val: PositiveNumber
    gradient_clip_algorithm: Literal["norm", "value"]
    limit_train_batches: Positive | Share
    log_every_n_steps: Positive
    profiler: Literal["simple", "advanced"]
    deterministic: bool | Literal["warn"]
    benchmark: bool
    detect_anomaly: bool
    inference_mode: bool


EXPECTED = {
    "precision": "one of 32-true, 16-mixed, bf16-mixed",
    "max_time": "days:hours:minutes:seconds, such as 00:08:00:00",
    "min_epochs": "an integer >= 1",
    "gradient_clip_val": "a number > 0",
    "gradient_clip_algorithm": "one of norm, value",
    "limit_train_batches": "an integer >= 1, or a share of the batches > 0 and <= 1",
    "log_every_n_steps": "an integer >= 1",
    "profiler": "one of simple, advanced",
    "deterministic": "true, false or warn",
    "benchmark": "true or false",
    "detect_anomaly": "true or false",
    "inference_mode": "true or false",
}
DECIDING = ("precision", "gradient_clip_val", "gradient_clip_algorithm", "limit_train_batches")
COUNTING = ("limit_train_batches", "log_every_n_steps")  # minibatches
_EACH_EPOCH = "each epoch ends with a validation, by which the best weights are told"
_ALL_IMAGES = (
    "a number is over all images of its split: give data.validation_size or data.test_size"
)
REFUSED = {
    "accelerator": "give trainer.accelerator",
    "devices": "give trainer.devices",
    "strategy": "give trainer=ddp for several devices",
    "num_nodes": "a run stays on one machine",
    "logger": "choose logger=",
    "callbacks": "choose callbacks=",
    "max_epochs": "give epochs",
    "max_steps": "give epochs",
    "min_steps": f"give {PLACE}.min_epochs",
    "fast_dev_run": "give data=debug epochs=2",
    "overfit_batches": "give data.train_size",
    "limit_val_batches": _ALL_IMAGES,
    "limit_test_batches": _ALL_IMAGES,
    "limit_predict_batches": "a run predicts nothing",
    "val_check_interval": _EACH_EPOCH,
    "check_val_every_n_epoch": _EACH_EPOCH,
    "num_sanity_val_steps": "nothing is validated before the first epoch",
    "accumulate_grad_batches": "each step takes a whole batch: give batch_size",
    "enable_checkpointing": "resume goes on from checkpoints: give task.checkpoint_seconds",
    "enable_progress_bar": "the progress is told by this package",
    "enable_model_summary": "metrics.json tells the number of parameters",
    "enable_autolog_hparams": "loggers are told the settings by this package",
    "use_distributed_sampler": "batches are cut among the processes by this package",
    "sync_batchnorm": "no network here normalises over a batch",
    "reload_dataloaders_every_n_epochs": "the order of images is a function of seed and epoch",
    "plugins": "this package writes and reads the checkpoints, and trusts none",
    "default_root_dir": "give hydra.run.dir",
    "model_registry": "weights stay in the run's folder",
    "barebones": "a run logs its bounds and saves its checkpoints",
}
_OPTIONS = TypeAdapter(Options)


def checked(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options that have a value; raises UserError naming one that cannot be given."""
    found = {str(name): value for name, value in (given or {}).items()}
    for name in found:
        if name in REFUSED:
            raise UserError(f"{PLACE}.{name} cannot be given: {REFUSED[name]}")
        if name not in EXPECTED:
            raise UserError(f"unknown key '{PLACE}.{name}'{_meant(name)}")
    found = {name: value for name, value in found.items() if value is not None}
    try:
        options = dict(_OPTIONS.validate_python(found))
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise UserError(f"{PLACE}.{name} must be {EXPECTED[name]}, got {found[name]!r}") from error
    if "gradient_clip_algorithm" in options and "gradient_clip_val" not in options:
        raise UserError(
            f"{PLACE}.gradient_clip_algorithm is not read without {PLACE}.gradient_clip_val"
        )
    if "gradient_clip_val" in options and options.get("precision") == "16-mixed":
        raise UserError(
            f"{PLACE}.gradient_clip_val would clip the scaled gradients of precision=16-mixed: "
            "give precision=bf16-mixed"
        )
    return options


def _meant(name: str) -> str:
    close = difflib.get_close_matches(name, [*EXPECTED, *REFUSED], n=1)
    if close and close[0] in EXPECTED:
        return f"; did you mean {PLACE}.{close[0]}?"
    return f"; it takes {', '.join(EXPECTED)}"

"""Weights and checkpoints: written whole, and read without running or believing what is in them."""

import json
import zipfile
from pathlib import Path
from typing import Annotated, Any, NotRequired

import safetensors.torch
import torch
from pydantic import ConfigDict, Field, InstanceOf, TypeAdapter
from torch import Tensor
from typing_extensions import TypedDict

from vae_exp import files
from vae_exp.atomic import write_atomically
from vae_exp.errors import Damaged, Torn, UserError, first_line
from vae_exp.models.vae import VAE
from vae_exp.runs.metrics import Count, Name, Words
from vae_exp.runs.upgrade import renamed
from vae_exp.schema import SCHEMA, check_schema

KEY = "vae_exp"  # of what is ours in a checkpoint and in the header of the weights
METADATA = "__metadata__"  # of what is not a tensor in the header
DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}  # as safetensors names them
MAX_HEADER = 16 * files.MIB


class _Images(TypedDict):
    """Which images a run sees, by checksum."""

    name: Name
    train: Words
    validation: Words
    test: Words


class _Ours(TypedDict):
    """What this package adds to a checkpoint."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    best: float
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    images: _Images
    events: dict[str, Count]


class _Weights(TypedDict):
    """A checkpoint whose weights can be taken."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    state_dict: dict[str, InstanceOf[Tensor]]
    vae_exp: NotRequired[_Ours]


class _Place(TypedDict):
    """A checkpoint from which training can go on."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    state_dict: dict[str, InstanceOf[Tensor]]
    global_step: Count
    epoch: Count
    optimizer_states: list[dict[str, Any]]
    lr_schedulers: list[dict[str, Any]]
    loops: dict[str, Any]
    callbacks: dict[str, Any]
    vae_exp: _Ours


_OBJECT = TypeAdapter(dict[str, Any])
_HEADER = TypeAdapter(dict[str, dict[str, Any]])
_WEIGHTS: TypeAdapter[dict[str, Any]] = TypeAdapter(_Weights)
_PLACE: TypeAdapter[dict[str, Any]] = TypeAdapter(_Place)


def save_weights(model: VAE, path: Path) -> None:
    """The weights alone, as safetensors with the schema and latent_dim in the header."""
    # One entry: safetensors writes several in an order that changes from one process to the next.
    metadata = {KEY: json.dumps({"schema": SCHEMA, "latent_dim": model.latent_dim})}
    tensors = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    write_atomically(path.parent, path.name, safetensors.torch.save(tensors, metadata))


def load_weights(model: VAE, path: Path) -> None:
    """Put the weights of a .safetensors file or a checkpoint into a model.

    Raises UserError if the file is damaged or made for another architecture.
    """
    if path.suffix == ".safetensors":
        weights = _read_safetensors(path, model)
    else:
        weights = renamed(
            {
                key.removeprefix("model."): tensor
                for key, tensor in load_checkpoint(path)["state_dict"].items()
                if key.startswith("model.")
            }
        )
    _refuse_differences(model, _shapes(weights), path)
    _refuse_infinite(weights, path)
    model.load_state_dict(weights)


def _refuse_infinite(tensors: dict[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise Damaged(f"{path} is damaged: {name} holds numbers that are not finite")


def _shapes(weights: dict[str, Tensor]) -> dict[str, str]:
    return {
        name: _shape(list(tensor.shape), DTYPES.get(tensor.dtype, str(tensor.dtype)))
        for name, tensor in weights.items()
    }


def _shape(sizes: Any, dtype: Any) -> str:
    return f"{sizes}" if dtype == "F32" else f"{sizes} of {dtype}"


def _refuse_differences(model: VAE, found: dict[str, str], path: Path) -> None:
    """Raise UserError naming the first weight of which a model has another shape or type."""
    expected = _shapes(model.state_dict())
    for name in [*expected, *found]:
        if expected.get(name) != found.get(name):
            raise UserError(
                f"{path} was made for another model: {name} is {found.get(name, 'absent')} in the "
                f"file and {expected.get(name, 'absent')} in the config"
            )


def _read_safetensors(path: Path, model: VAE) -> dict[str, Tensor]:
    """A model's weights: the bytes are read, not mapped, which not every file system can do."""
    with files.opened(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise Damaged(f"{path} is damaged: its header has {length:,} bytes")
        header = files.parsed(file.read(length), _HEADER, path)
    metadata = header.pop(METADATA, {})
    ours = files.parsed(str(metadata.get(KEY, "{}")), _OBJECT, f"{KEY} in the header of {path}")
    check_schema(path, ours.get("schema"))
    shapes = {name: _shape(part.get("shape"), part.get("dtype")) for name, part in header.items()}
    _refuse_differences(model, renamed(shapes), path)
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    contents = files.read(path, 8 + length + size)
    try:
        weights: dict[str, Tensor] = safetensors.torch.load(contents)
    except Exception as error:
        raise Damaged(f"{path} is damaged: {first_line(error)}") from error
    return renamed(weights)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's contents, read without running any code in it.

    Raises Torn if a part is missing, and UserError if it holds code, is of a newer schema or
    has another shape.
    """
    with files.opened(path) as file:
        try:
            with zipfile.ZipFile(file) as records:
                listed = records.infolist()
                # torch packs nothing, and does not look at the checksums
                if any(record.compress_type != zipfile.ZIP_STORED for record in listed):
                    raise zipfile.BadZipFile("its records are packed")
                torn = records.testzip()
        except Exception as error:
            raise Torn(f"{path} is damaged: {first_line(error)}") from error
        if torn is not None:
            raise Torn(f"{path} is damaged: the checksum of {torn} is wrong")
        file.seek(0)
        try:
            contents = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(
                f"{path} is not a checkpoint that can be trusted: {first_line(error)}"
            ) from error
    if not isinstance(contents, dict) or "state_dict" not in contents:
        raise UserError(f"{path} is not a checkpoint: it has no state_dict")
    ours = contents.get(KEY)
    check_schema(path, ours.get("schema") if isinstance(ours, dict) else None)
    return files.shaped(contents, _WEIGHTS, path)


def load_place(path: Path) -> dict[str, Any]:
    """A checkpoint from which training can go on; raises UserError if it is not one."""
    contents = load_checkpoint(path)
    if KEY not in contents:
        raise UserError(f"{path} was not made by this package: nothing tells how to go on")
    place = files.shaped(contents, _PLACE, path)
    _refuse_infinite(place["state_dict"], path)
    return place

"""What TensorBoard shows of a run beside its curves: settings, texts, figures and the projector.

A run's settings are in its own event file and name no columns: TensorBoard takes the columns of its
HPARAMS tab from the first run that names some, and would hide what only other runs have.
"""

import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.projector import ProjectorConfig
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import text

from vae_exp import folders
from vae_exp.analysis.choosing import encoder_means
from vae_exp.atomic import write_atomically
from vae_exp.data import Split
from vae_exp.data.settings import in_words
from vae_exp.knobs import GROUPS, KNOBS, all_groups
from vae_exp.models.vae import VAE
from vae_exp.runs import plain, saving

Setting = bool | int | float | str

SAME = ("task", "figures", "logger", "search")  # groups that make no other model
PROJECTED = 1_000  # images: more hide each other
INK = 180
UNJUDGED = "no images validate: the weights are those of the last epoch, and none is the best"
TEST = "whole_test"  # TensorBoard sorts by name: single dots belong below the curves of val/
PROJECTOR = "projector"
PROJECTOR_CONFIG = "projector_config.pbtxt"  # the name that TensorBoard looks for
TERMS = {"elbo": "ELBO", "log_likelihood": "E[log p(x\\|z)]", "kl": "KL(q(z\\|x) ‖ p(z))"}


def settings(config: Mapping[str, Any], folder: Path) -> dict[str, Setting]:
    """What can tell a run from another: knobs, choices, and what the chosen groups hold.

    A value that a group holds twice under one name, or that is a knob's, is shown once.
    """
    told = [knob for knob in ("seed", "epochs", "name") if config.get(knob) is not None]
    found = {knob: config[knob] for knob in told} | choices(folder)
    for group in GROUPS:
        shown: list[tuple[str, Any]] = []
        for key, value in _leaves(config.get(group, {}), group) if group not in SAME else ():
            name = key.rpartition(".")[2]
            if value is None:
                continue
            if name in KNOBS and name in config and value == config[name]:
                found[name] = value
            elif (name, value) not in shown:
                shown.append((name, value))
                found[key] = value
    found.pop("data.root", None)
    return {key: v if isinstance(v, Setting) else str(v) for key, v in found.items()}


def choices(folder: Path) -> dict[str, str]:
    """The name that each group was given, if Hydra has put them down."""
    path = folder / folders.HYDRA
    node: Any = plain.read(path, dict) if path.exists() else {}
    for key in ("hydra", "runtime", "choices"):
        node = node.get(key) if isinstance(node, dict) else None
    given = node if isinstance(node, dict) else {}
    told = [group for group in all_groups() if group not in SAME]
    return {group: given[group] for group in told if isinstance(given.get(group), str)}


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """The dotted keys of what a group holds, but for classes."""
    if isinstance(node, dict):
        for name, below in node.items():
            if name != "_target_":
                yield from _leaves(below, f"{key}.{name}")
    else:
        yield key, node


def start(writer: SummaryWriter, settings: Mapping[str, Setting], config: dict[str, Any]) -> None:
    """A run's row in the HPARAMS tab, and its config as text."""
    info = plugin_data_pb2.SessionStartInfo()
    for name, value in settings.items():
        kinds = {bool: "bool_value", str: "string_value"}
        setattr(info.hparams[name], kinds.get(type(value), "number_value"), value)
    _add(writer, metadata.SESSION_START_INFO_TAG, session_start_info=info)
    _add_text(writer, "config", f"```yaml\n{saving.config_text(config)}```", 0)


def end(writer: SummaryWriter, metrics: Mapping[str, Any], step: int) -> None:
    """A run's test numbers as scalars, which become columns, and as text; and that it is done."""
    for name in TERMS:
        writer.add_scalar(f"{TEST}/{name}", metrics["test"][name]["mean"], step)
    _add_text(writer, "summary", summary(metrics), step)
    done = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.STATUS_SUCCESS)
    _add(writer, metadata.SESSION_END_INFO_TAG, session_end_info=done)


def _add(writer: SummaryWriter, tag: str, **content: Any) -> None:
    data = plugin_data_pb2.HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    described = metadata.create_summary_metadata(data)
    # A map's order changes from one process to the next.
    described.plugin_data.content = data.SerializeToString(deterministic=True)
    value = Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)
    writer._get_file_writer().add_summary(Summary(value=[value]))


def _add_text(writer: SummaryWriter, tag: str, markdown: str, step: int) -> None:
    written = text(tag, markdown)
    written.value[0].tag = tag  # not tag/text_summary
    writer._get_file_writer().add_summary(written, step)


def summary(metrics: Mapping[str, Any]) -> str:
    """A run's numbers as a table in Markdown."""
    data, model, run = metrics["data"], metrics["model"], metrics["run"]
    best = metrics.get("validation", {}).get("best")
    judged = f"Best epoch by {best['by']}: {best['value']:.2f}" if best else UNJUDGED
    epochs = f"{run['stopped']['epoch']} of {run['epochs']}" if "stopped" in run else run["epochs"]
    rows = [
        f"| {label} | {metrics['test'][name]['mean']:.2f} | {metrics['test'][name]['stderr']:.2f} |"
        for name, label in TERMS.items()
    ]
    return "\n".join(
        [
            *([f"**{run['name']}**\n"] if run.get("name") else []),
            f"Test set: {data['images']:,} images of {data['name']} ({data['origin']}), "
            f"{in_words(data['binarization'])}.",
            *([f"\n**{data['notice']}**"] if data.get("notice") else []),
            "\n| nats per image | mean | ± standard error |\n|---|---:|---:|",
            *rows,
            f"\n{judged}",
            f"\nLatent dimension {model['latent_dim']}, {model['parameters']:,} parameters, "
            f"{epochs} epochs, seed {run['seed']}; code {run['git']}, torch {run['torch']}.",
        ]
    )


def add_figures(writer: SummaryWriter, pictures: Mapping[str, bytes], step: int) -> None:
    """Show figures, which are PNG files; the same name at several steps makes a slider."""
    for name, contents in pictures.items():
        width, height = Image.open(io.BytesIO(contents)).size
        image = Summary.Image(
            encoded_image_string=contents, width=width, height=height, colorspace=4
        )
        shown = Summary(value=[Summary.Value(tag=f"figures/{name}", image=image)])
        writer._get_file_writer().add_summary(shown, step)


@torch.no_grad()
def project(folder: Path, model: VAE, split: Split, limit: int = PROJECTED) -> None:
    """Write what the projector shows: the latent means of a split's first images, with pictures."""
    images, labels = split.values[:limit], split.labels
    means = encoder_means(model, split.some(slice(limit)))
    # The projector's space has three dimensions; it draws nothing if there are fewer.
    means = torch.nn.functional.pad(means, (0, max(0, 3 - model.latent_dim)))
    files = Path(PROJECTOR)
    write_atomically(folder, files / "means.tsv", _tsv(means.tolist()))
    # A single column has no heading.
    rows: list[list[Any]] = [[index] for index in range(len(images))]
    if labels is not None:
        numbered = enumerate(labels[:limit].tolist())
        rows = [["digit", "image"], *([label, index] for index, label in numbered)]
    write_atomically(folder, files / "labels.tsv", _tsv(rows))
    write_atomically(folder, files / "sprite.png", sprite(model.pictures(images), split.top))
    described = ProjectorConfig()
    embedding = described.embeddings.add()
    embedding.tensor_name = f"means of q(z|x), {len(images):,} {split.name} images"
    embedding.tensor_path = f"{PROJECTOR}/means.tsv"
    embedding.metadata_path = f"{PROJECTOR}/labels.tsv"
    embedding.sprite.image_path = f"{PROJECTOR}/sprite.png"
    height, width = model.shape[:2]
    embedding.sprite.single_image_dim.extend([width, height])
    config = text_format.MessageToString(described).encode()
    write_atomically(folder, PROJECTOR_CONFIG, config)


def sprite(images: Tensor, top: int = 1) -> bytes:
    """Images [N, H, W] in 0..top, row by row in the smallest square that holds them, as a PNG.

    Ink is grey, which the projector tints; what is not ink is transparent, so that images that lie
    over each other can all be seen. Coloured ones, [N, H, W, 3], are as they are.
    """
    side = math.ceil(math.sqrt(len(images)))
    height, width, *colours = images.shape[1:]
    square = torch.zeros(side * side, *images.shape[1:], dtype=torch.uint8)
    square[: len(images)] = images
    pixels = square.unflatten(0, (side, side)).transpose(1, 2)  # [side, H, side, W, ..]
    sheet = pixels.reshape(side * height, side * width, *colours).numpy()
    png = io.BytesIO()
    if colours:
        Image.fromarray(255 // top * sheet).save(png, "png", optimize=True)
    elif top > 1:
        ink = Image.new("L", (side * width, side * height), INK)
        Image.merge("LA", (ink, Image.fromarray(sheet))).save(png, "png", optimize=True)
    else:
        picture = Image.fromarray(sheet).convert("P")
        picture.putpalette([INK] * 6)
        picture.save(png, "png", bits=1, transparency=0, optimize=True)
    return png.getvalue()


def _tsv(rows: Iterable[Iterable[Any]]) -> bytes:
    words = ("\t".join(f"{x:.6g}" if isinstance(x, float) else str(x) for x in row) for row in rows)
    return ("\n".join(words) + "\n").encode()

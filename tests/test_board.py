"""What TensorBoard is told about a run, read back as TensorBoard reads it."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
import yaml  # type: ignore[import-untyped]
from google.protobuf import text_format
from kill_and_resume import WEIGHTS, differences, new_run, only_run, small_config, train
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups, metadata
from tensorboard.plugins.projector import ProjectorConfig
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin

from vae_exp import folders
from vae_exp.analysis.scatter import encoder_means
from vae_exp.cli.main import _main
from vae_exp.config.composing import plain_config
from vae_exp.data import ImageData
from vae_exp.knobs import KNOBS
from vae_exp.models.networks import Decoder, Encoder
from vae_exp.models.vae import VAE
from vae_exp.parts import build
from vae_exp.training import board

WORDS = ("epochs=3", "latent_dim=3", "optimizer.warmup=0.25", "task.figures_every=1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that a person started, with pictures of each epoch."""
    cwd = tmp_path_factory.mktemp("board")
    with contextlib.chdir(cwd), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["vae_exp"])
        _main(new_run(*WORDS))
    found = only_run(cwd)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def runs(run: Path) -> Path:
    """A folder of runs side by side: that one, and one of another objective, further down."""
    other = run.parents[2] / "multirun" / "0"
    other.mkdir(parents=True)
    train(other, "objective.samples=7", "seed=5", "epochs=1")
    return run.parents[2]


def provider(logdir: Path) -> TBContext:
    """What TensorBoard's pages are served from."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    data = MultiplexerDataProvider(multiplexer, str(logdir))
    return TBContext(data_provider=data, logdir=str(logdir), multiplexer=multiplexer)


def table(logdir: Path) -> tuple[api_pb2.Experiment, dict[str, tuple[dict[str, Any], dict]]]:
    """The HPARAMS tab: its columns, and the settings and metrics in the row of each run."""
    context = backend_context.Context(provider(logdir))
    request = RequestContext()
    experiment = context.experiment_from_metadata(
        request, "", True, context.hparams_metadata(request, ""), []
    )
    columns = [
        api_pb2.ColParams(hparam=info.name, include_in_result=True)
        for info in experiment.hparam_infos
    ] + [api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos]
    asked = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=10,
        col_params=columns,
        allowed_statuses=list(api_pb2.Status.values()),
    )
    answer = list_session_groups.Handler(request, context, "", asked).run()
    rows = {}
    for group in answer.session_groups:
        [session] = group.sessions
        settings = {
            name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()
        }
        assert session.status == api_pb2.STATUS_SUCCESS
        rows[session.name] = (settings, {m.name.tag: m.value for m in session.metric_values})
    return experiment, rows


def test_hparams_show_every_setting_beside_the_final_numbers(run: Path) -> None:
    [(settings, metrics)] = table(run.parent)[1].values()
    expected = {"seed": 0, "epochs": 3, "batch_size": 10, "latent_dim": 3}
    expected |= {"lr": KNOBS["lr"].default}
    assert expected.items() <= settings.items()
    choices = {"data": "debug", "model": "mlp", "objective": "elbo", "optimizer": "adam_one_cycle"}
    choices |= {"prior": "standard_normal", "likelihood": "bernoulli", "posterior": "diagonal"}
    assert choices.items() <= settings.items()
    swept = {"optimizer.warmup": 0.25, "model.encoder.hidden": "[32]", "data.train_size": 100}
    assert swept.items() <= settings.items()
    reported = json.loads((run / "metrics.json").read_text())["test"]
    for name, number in reported.items():
        assert metrics[f"{board.TEST}/{name}"] == pytest.approx(number["mean"], rel=1e-5)
    assert {"val/elbo", "val/kl", "train/elbo"} <= metrics.keys()


def test_runs_side_by_side_have_all_their_columns_and_no_stray_metric(runs: Path) -> None:
    experiment, rows = table(runs)
    assert len(rows) == 2
    assert {settings["seed"] for settings, _ in rows.values()} == {0, 5}
    assert {settings["objective.samples"] for settings, _ in rows.values()} == {1, 7}
    metrics = {info.name.tag for info in experiment.metric_infos}
    assert metrics == {"train/elbo"} | {
        f"{split}/{term}" for split in ("val", board.TEST) for term in board.TERMS
    }
    assert all(info.name.group == "" for info in experiment.metric_infos)
    differing = {info.name for info in experiment.hparam_infos if info.differs}
    assert {"seed", "epochs", "latent_dim", "objective.samples"} <= differing


def test_figures_are_at_the_steps_of_the_bounds_of_their_epochs(run: Path) -> None:
    events = EventAccumulator(str(run), {"images": 0})
    events.Reload()
    steps = [scalar.step for scalar in events.Scalars("val/elbo")]
    assert len(steps) == 3
    for name in ("samples", "scatter"):
        assert [image.step for image in events.Images(f"figures/{name}")] == steps
    [test] = events.Scalars(f"{board.TEST}/elbo")
    assert test.step == steps[-1]


def test_a_figure_of_the_whole_run_is_the_file_that_lies_in_its_folder(run: Path) -> None:
    events = EventAccumulator(str(run), {"images": 0})
    events.Reload()
    for name in ("samples", "scatter"):
        file = run / "figures" / f"{name}.png"
        last = events.Images(f"figures/{name}")[-1]
        assert last.encoded_image_string == file.read_bytes()
        assert (last.width, last.height) == Image.open(file).size


@pytest.mark.slow
def test_a_board_shows_figures_whose_files_it_could_not_show(tmp_path: Path) -> None:
    words = ("epochs=2", "task.figures_every=1", "figures.format=pdf", "figures.cmap=hot")
    train(tmp_path, *words)
    assert (tmp_path / "figures" / "samples.pdf").is_file()
    events = EventAccumulator(str(tmp_path), {"images": 0})
    events.Reload()
    pictures = events.Images("figures/samples")
    assert len(pictures) == 2
    for each in pictures:
        pixels = np.asarray(Image.open(io.BytesIO(each.encoded_image_string)).convert("RGB"))
        assert (np.ptp(pixels.astype(int), axis=2) > 100).any()  # in colours


def test_curves_stand_above_the_single_dots(run: Path) -> None:
    events = EventAccumulator(str(run))
    events.Reload()
    groups = [tag.partition("/")[0] for tag in sorted(events.Tags()["scalars"])]
    assert list(dict.fromkeys(groups)) == ["train", "val", board.TEST]


def test_config_and_summary_can_be_read(run: Path) -> None:
    events = EventAccumulator(str(run))
    events.Reload()
    [config] = events.Tensors("config")
    [text] = config.tensor_proto.string_val
    shown = yaml.safe_load(text.decode().removeprefix("```yaml\n").removesuffix("```"))
    saved = OmegaConf.load(run / folders.CONFIG)
    saved.data.pop("root")  # of no interest elsewhere
    shown["data"].pop("root", None)
    assert shown == OmegaConf.to_container(saved, resolve=True)
    assert shown["model"]["latent_dim"] == 3
    [summary] = events.Tensors("summary")
    [text] = summary.tensor_proto.string_val
    elbo = json.loads((run / "metrics.json").read_text())["test"]["elbo"]
    assert f"| ELBO | {elbo['mean']:.2f} | {elbo['stderr']:.2f} |" in text.decode()


def test_the_projector_finds_each_run_below_and_all_its_files(runs: Path) -> None:
    plugin = ProjectorPlugin(provider(runs))
    plugin._update_configs()
    assert len(plugin._configs) == 2
    for config in plugin._configs.values():
        [embedding] = config.embeddings
        assert list(embedding.tensor_shape) == [100, 3]


def test_the_projector_shows_each_image_at_its_mean_with_its_digit(run: Path) -> None:
    from vae_exp.runs import loading

    config = text_format.Parse((run / "projector_config.pbtxt").read_text(), ProjectorConfig())
    [embedding] = config.embeddings
    loaded = loading.load(str(run))
    loaded.config["data"]["root"] = small_config().data.root
    data = build(loaded.config["data"], "data", ImageData)
    split = data.splits.test
    points = torch.from_numpy(np.loadtxt(run / embedding.tensor_path, dtype=np.float32))
    torch.testing.assert_close(points, encoder_means(loaded.model, split.images), rtol=1e-4, atol=0)
    header, *rows = (run / embedding.metadata_path).read_text().splitlines()
    assert header == "digit\timage"
    assert rows == [f"{digit}\t{index}" for index, digit in enumerate(split.labels.tolist())]
    assert list(embedding.sprite.single_image_dim) == [28, 28]
    sprite = matplotlib.image.imread(run / embedding.sprite.image_path)
    for index in (0, 9, 10, 99):  # ten a row
        top, left = 28 * (index // 10), 28 * (index % 10)
        ink = sprite[top : top + 28, left : left + 28, 3]  # what is not ink is transparent
        picture = torch.from_numpy(ink.copy())
        assert torch.equal(picture.reshape(784), split.values[index].float())


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_a_line_or_a_plane_is_put_in_the_projectors_space(
    latent_dim: int, run: Path, tmp_path: Path
) -> None:
    data = build(plain_config(small_config())["data"], "data", ImageData)
    model = VAE(latent_dim, Encoder((5,)), Decoder((5,)))
    board.project(tmp_path, model, data.splits.test, limit=30)
    points = np.loadtxt(tmp_path / board.PROJECTOR / "means.tsv")
    assert points.shape == (30, 3)
    assert (points[:, :latent_dim] != 0).all()
    assert (points[:, latent_dim:] == 0).all()


def test_a_run_killed_at_its_end_shows_everything_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = tmp_path / "outputs" / "day" / "time"
    shutil.copytree(run, killed)
    (killed / WEIGHTS).unlink()
    (killed / "projector_config.pbtxt").unlink()
    monkeypatch.chdir(tmp_path)
    _main(["resume=latest"])
    assert differences(killed, run) == []
    events = EventAccumulator(str(killed))
    events.Reload()
    assert len(events.Tensors("summary")) == 1
    for tag in (metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG):
        assert len(events.Tensors(tag)) == 1

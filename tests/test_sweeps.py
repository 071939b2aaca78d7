"""A sweep's folder becomes its answer: how jobs ended, means over seeds, what may be compared."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from test_comparison import a_model, make_run, nudged

from vae_exp import folders
from vae_exp.cli import main as cli
from vae_exp.errors import UserError
from vae_exp.evaluation.intervals import interval
from vae_exp.figures import figure, png
from vae_exp.figures.sweeps import Line, knob_axis, knob_lines
from vae_exp.runs.contenders import contend
from vae_exp.runs.metrics import read_metrics
from vae_exp.runs.over_seeds import Difference
from vae_exp.shell import command
from vae_exp.sweeping import named_numbers, replicates, search, summary, sweeps, tables
from vae_exp.sweeping.differences import differences
from vae_exp.sweeping.figure import draw
from vae_exp.sweeping.replicates import Column, Setting, columns

FIXED = ("data=debug", "epochs=2")


def metrics(
    test: float, validation: float, seed: int = 0, sha: str = "a", binarization: str = "threshold"
) -> dict[str, Any]:
    """What a run of that test and validation ELBO records."""
    protocol = {"estimator": "ELBO", "samples": 1}
    return {
        "schema": 1,
        "run": {"seed": seed, "wall_seconds": 1.5},
        "data": {
            "name": "mnist",
            "split": "test",
            "images": 100,
            "binarization": binarization,
            "sha256": sha,
        },
        "validation": {"best_elbo": validation + 1, "elbo": {"mean": validation, "stderr": 0.3}},
        "test": {"elbo": {"mean": test, "stderr": 0.2, **protocol}},
        "analyses": {"trust": {"seed": 3, "kl": {"mean": 1.0, "stderr": 0.5}, "active": 2}},
    }


def a_sweep(folder: Path, jobs: Sequence[Sequence[str]]) -> Path:
    """A sweep's folder in which no job has started."""
    folder.mkdir(parents=True)
    sweeps.write_plan(folder, sweeps.Plan([[*job, *FIXED] for job in jobs]))
    return folder


def start(folder: Path, number: int) -> Path:
    """Let a job have started."""
    job = folder / str(number)
    (job / ".hydra").mkdir(parents=True)
    (job / folders.CONFIG).touch()
    words = (sweeps.read_plan(folder).jobs or [])[number]
    (job / folders.STARTED).write_text("".join(f"- {word}\n" for word in words))
    return job


def finish(folder: Path, number: int, found: dict[str, Any]) -> Path:
    """Let a job be finished."""
    job = start(folder, number)
    (job / folders.METRICS).write_text(json.dumps(found))
    (job / folders.WEIGHTS).touch()
    return job


def fail(folder: Path, number: int, error: Exception) -> None:
    """Let a job have failed."""
    sweeps.record(start(folder, number), error)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two settings with two seeds each; of the second one failed, and one more never started."""
    jobs = [[f"lr={lr}", f"seed={seed}"] for lr in ("0.001", "0.1", "9") for seed in (0, 1)]
    folder = a_sweep(tmp_path / "multirun" / "day" / "time", jobs)
    finish(folder, 0, metrics(-150, -151, seed=0))
    finish(folder, 1, metrics(-152, -153, seed=1))
    finish(folder, 2, metrics(-140, -160, seed=0))
    fail(folder, 3, RuntimeError("the first line\nand the last"))
    start(folder, 4)
    return folder


def test_every_job_is_known_by_how_it_ended(mixed: Path) -> None:
    assert [job.status for job in sweeps.jobs(mixed)] == [
        "finished",
        "finished",
        "finished",
        "failed",
        "cut off",
        "not started",
    ]
    with folders.hold(mixed / "4"):
        assert sweeps.jobs(mixed)[4].status == "under way"
    assert sweeps.jobs(mixed)[5].overrides == ("lr=9", "seed=1", *FIXED)


def test_the_table_of_jobs_reads_back_as_what_the_jobs_left(mixed: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(named_numbers.as_csv(sweeps.jobs(mixed)))))
    assert [row["job"] for row in rows] == list("012345")
    assert [row["lr"] for row in rows] == ["0.001", "0.001", "0.1", "0.1", "9", "9"]
    assert [row["epochs"] for row in rows] == ["2"] * 6
    assert rows[1]["test/elbo"] == "-152"
    assert rows[1]["test/elbo_stderr"] == "0.2"
    assert rows[1]["val/elbo"] == "-153"
    assert rows[1]["val/best_elbo"] == "-152"
    assert rows[1]["trust/kl"] == "1.0"
    assert "trust/active" not in rows[1]
    assert rows[1]["seconds"] == "1.5"
    assert rows[3]["status"] == "failed"
    assert rows[3]["error"] == "RuntimeError: the first line"
    assert rows[3]["test/elbo"] == ""


@pytest.mark.parametrize("count", [3, 5, 30])
def test_an_interval_is_students(count: int) -> None:
    values = np.random.default_rng(count).normal(-150, 2, count)
    found = interval(values.tolist())
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.mean - found.half_width == pytest.approx(low)
    assert found.mean + found.half_width == pytest.approx(high)


def test_one_value_has_a_mean_and_two_are_too_few_for_an_interval() -> None:
    assert interval([-3.0]).mean == -3
    assert math.isnan(interval([-3.0]).half_width)
    assert str(interval([-3.0])) == "-3.00"
    assert math.isnan(interval([-3.0, -4.0]).half_width)
    assert str(interval([-3.0, -4.0])) == "-3.50 ‡"


def test_the_best_setting_is_that_of_validation_whatever_the_test_says(mixed: Path) -> None:
    [column] = columns(sweeps.jobs(mixed))
    assert [setting.value("lr") for setting in column.settings] == ["0.001", "0.1"]
    assert column.settings[0].test.mean < column.settings[1].test.mean
    assert column.best.value("lr") == "0.001"
    assert column.best.test.mean == -151
    assert column.best.validation.mean == -152


def test_a_setting_is_its_overrides_without_the_seed_and_has_a_seed_once(tmp_path: Path) -> None:
    folder = a_sweep(tmp_path / "sweep", [["seed=1"], ["seed=2"], ["seed=2"]])
    for number, seed in enumerate((1, 2, 2)):
        finish(folder, number, metrics(-150 - number, -150, seed))
    [column] = columns(sweeps.jobs(folder))
    [setting] = column.settings
    assert setting.overrides == FIXED
    assert sorted(setting.runs) == [1, 2]
    assert setting.test.count == 2


def test_different_binarisations_never_stand_in_one_column(tmp_path: Path) -> None:
    folder = a_sweep(tmp_path / "sweep", [["data.binarization=threshold"], ["data.binarization=x"]])
    finish(folder, 0, metrics(-150, -150, binarization="threshold"))
    finish(folder, 1, metrics(-90, -90, binarization="stochastic", sha="b"))
    one, other = columns(sweeps.jobs(folder))
    assert (one.best.test.mean, other.best.test.mean) == (-150, -90)
    summary.summarise(folder, thorough=False)
    assert "stand apart" in (folder / "sweep.md").read_text()


def test_seeds_may_have_images_of_their_own_but_settings_of_a_seed_may_not(tmp_path: Path) -> None:
    jobs = [[f"lr={lr}", f"seed={seed}"] for lr in (1, 2, 3) for seed in (0, 1)]
    folder = a_sweep(tmp_path / "sweep", jobs)
    for number, sha in enumerate(("a", "b", "a", "b", "a", "c")):
        finish(folder, number, metrics(-150, -150, seed=number % 2, sha=sha))
    found = columns(sweeps.jobs(folder))
    assert [[setting.value("lr") for setting in column.settings] for column in found] == [
        ["1", "2"],
        ["3"],
    ]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Column:
    """Two settings with models of their own at three seeds, on the same images."""
    root = tmp_path_factory.mktemp("pairs")
    settings = []
    for name, changes in (("a", 0), ("b", 2)):
        setting = Setting((f"lr={name}",), {})
        for seed in (0, 1, 2):
            model = a_model()
            for _ in range(changes + seed):
                model = nudged(model)
            folder = make_run(root / f"{name}{seed}", model, seed)
            found = read_metrics(folder)
            found["validation"] = {"best_elbo": -100.0 * (1 + changes)}
            words = (f"lr={name}", f"seed={seed}")
            setting.runs[seed] = sweeps.Job(seed, folder, words, sweeps.FINISHED, found)
        settings.append(setting)
    return Column({}, settings)


def test_differences_are_paired_by_seed_and_by_image(pairs: Column) -> None:
    best, other = pairs.settings
    assert pairs.best is best
    [found] = differences(pairs, seed=4).values()
    values = {
        name: np.stack(
            [
                run.values["elbo"].double().numpy()
                for run in contend([str(job.folder) for job in setting.runs.values()], 4)
            ]
        )
        for name, setting in (("best", best), ("other", other))
    }
    test = stats.ttest_rel(values["other"].mean(1), values["best"].mean(1))
    low, high = test.confidence_interval(0.95)
    assert found.over_seeds.mean - found.over_seeds.half_width == pytest.approx(low)
    assert found.over_seeds.mean + found.over_seeds.half_width == pytest.approx(high)
    by_image = (values["other"] - values["best"]).mean(0)
    assert found.stderr == pytest.approx(stats.sem(by_image))


def test_a_difference_of_one_common_seed_is_told_over_images(pairs: Column) -> None:
    best, other = pairs.settings
    column = Column({}, [best, Setting(other.overrides, {1: other.runs[1]})])
    [found] = differences(column).values()
    assert math.isnan(found.over_seeds.half_width)
    assert found.over_seeds.over_images == pytest.approx(1.96 * found.stderr, rel=1e-4)
    assert str(found.over_seeds).endswith(" †")
    first, second = contend([str(best.runs[1].folder), str(other.runs[1].folder)], 0)
    expected = second.minus(first, "elbo", 0)
    assert found.over_seeds.mean == pytest.approx(expected.mean)
    assert found.stderr == pytest.approx(expected.stderr)


def test_images_that_are_not_at_hand_cost_the_differences_alone(mixed: Path) -> None:
    summary.summarise(mixed)
    text = (mixed / "sweep.md").read_text()
    assert "differences were not taken: " in text
    assert "-151.00 ‡" in text
    assert "‡ two seeds are too few for an interval" in text


def test_the_page_names_the_best_the_failures_and_how_to_go_on(mixed: Path) -> None:
    summary.summarise(mixed, thorough=False, resume=("-m", "resume=multirun/day/time"))
    lines = (mixed / "sweep.md").read_text().splitlines()
    assert "3 of 6 jobs finished, all with `data=debug epochs=2`" in lines
    rows = [line for line in lines if line.startswith("| **")]
    assert rows[0].startswith("| **`0.001`** (best) | 2 | -152.00 ‡ | -151.00 ‡ |")
    assert "- `3: lr=0.1 seed=1` failed: RuntimeError: the first line" in lines
    assert "- `4: lr=9 seed=0` cut off" in lines
    assert "- `5: lr=9 seed=1` not started" in lines
    assert f"To go on: `{command('-m', 'resume=multirun/day/time')}`" in lines


def test_the_table_fits_a_terminal_of_eighty_columns(tmp_path: Path) -> None:
    knobs = [(z, objective) for z in (2, 20) for objective in ("elbo", "iwae")]
    jobs = [[f"latent_dim={z}", f"objective={o}", f"seed={s}"] for z, o in knobs for s in (0, 1)]
    folder = a_sweep(tmp_path / "sweep", jobs)
    for number in range(len(jobs)):
        finish(folder, number, metrics(-150.5 - number, -151.5 - number, seed=number % 2))
    found = columns(sweeps.jobs(folder))
    gains = {
        setting.overrides: Difference(interval([-12.25, -13, -13.75]), 0.25)
        for setting in found[0].settings[1:]
    }
    console = Console(width=80, record=True, file=io.StringIO())
    tables.show(console, folder, sweeps.jobs(folder), found, [gains], [])
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "-13.00 ± 1.86" in text
    assert "-151.00 ‡" in text
    assert "* 2, elbo" in text


def test_the_evidence_stands_beside_the_bound_if_the_runs_have_it(tmp_path: Path) -> None:
    jobs = [[f"lr={lr}", f"seed={seed}"] for lr in (1, 2) for seed in (0, 1, 2)]
    folder = a_sweep(tmp_path / "sweep", jobs)
    for number in range(len(jobs)):
        found = metrics(-150.5 - number, -151.5 - number, seed=number % 3)
        if number < 3:
            found["analyses"]["evidence_images9"] = {
                "log_p_x": {"mean": -140.0 - number, "stderr": 0.5}
            }
        finish(folder, number, found)
    summary.summarise(folder, thorough=False)
    lines = (folder / "sweep.md").read_text().splitlines()
    head = "| lr | seeds | val ELBO | test ELBO | log p(x) | test − best's | its s.e. over images |"
    assert head in lines
    [with_it] = [line for line in lines if "`1`" in line]
    [without] = [line for line in lines if "`2`" in line]
    assert with_it.split(" | ")[4] == "-141.00 ± 2.48"
    assert without.split(" | ")[4] == ""
    assert (
        "evidence_images9/log_p_x,evidence_images9/log_p_x_stderr"
        in (folder / "sweep.csv").read_text()
    )
    console = Console(width=80, record=True, file=io.StringIO())
    both = columns(sweeps.jobs(folder))
    gains = {both[0].settings[1].overrides: Difference(interval([-12.25, -13, -13.75]), 1)}
    tables.show(console, tmp_path, sweeps.jobs(folder), both, [gains], [])
    assert "-141.00 ± 2.48" in console.export_text()


def test_any_number_of_the_runs_is_a_column_and_says_over_what_its_error_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [["lr=1", f"seed={seed}"] for seed in (0, 1, 2)] + [["lr=2", "seed=0"]]
    folder = a_sweep(tmp_path / "multirun" / "day" / "time", jobs)
    for number, words in enumerate(jobs):
        found = metrics(-150.5 - number, -151.5 - number, seed=int(words[1][-1]))
        found["analyses"]["gap_images9"] = {
            "worst": {"mean": 0.25 * number, "stderr": 0.125, "images": 9}
        }
        found["analyses"]["gap"] = {"other": 3} if number else {}
        finish(folder, number, found)
    monkeypatch.chdir(tmp_path)
    names = ["gap/worst", "gap/other", "run/wall_seconds", "trust/active"]
    cli._main(["task=summarise", "sweep=latest", f"task.columns=[{','.join(names)}]"])
    lines = (folder / "sweep.md").read_text().splitlines()
    [head] = [line for line in lines if line.startswith("| lr ")]
    assert head.split(" | ")[4:-2] == ["worst", "other", "wall_seconds", "active"]
    [three] = [line for line in lines if "`1`" in line]
    [one] = [line for line in lines if "`2`" in line]
    half_width = stats.t.ppf(0.975, 2) * 0.25 / math.sqrt(3)
    assert three.split(" | ")[4:8] == [
        f"0.2500 ± {half_width:.4f}",
        "",  # which one of the three lacks
        "1.50 ± 0.00",
        "2.00 ± 0.00",
    ]
    assert one.split(" | ")[3:8] == [
        "-153.50 ± 0.39 †",
        "0.7500 ± 0.2450 †",
        "3.00",
        "1.50",
        "2.00",
    ]
    assert "mean ± 95 % over seeds (Student's t)" in "".join(lines)
    assert "† one seed: ± 95 % over images alone" in "".join(lines)
    assert "; worst: of 9 images;" in "".join(lines)
    assert "…" not in capsys.readouterr().out
    with pytest.raises(UserError, match=r"a job has, got 'gap/wrst': such as 'gap_images9/worst'"):
        cli._main(["task=summarise", "sweep=latest", "task.columns=[gap/wrst]"])


def test_the_best_of_a_search_has_errors_and_a_number_that_chose_nothing(tmp_path: Path) -> None:
    folder = a_sweep(tmp_path / "sweep", [["lr=1"], ["lr=2"]])
    for number, test in enumerate((-150, -140)):
        finish(folder, number, metrics(test, -150 - number))
    found = search.best(folder)
    told = "-150.00 ± 0.59, test/elbo -150.00 ± 0.39 (± 95 % over images, of one seed)"
    assert found == (told, ["lr=1", *FIXED])


def test_a_picture_has_a_panel_a_knob_with_its_intervals(tmp_path: Path) -> None:
    each = [(lr, seed) for lr in ("0.001", "0.1") for seed in (0, 1, 2)]
    folder = a_sweep(tmp_path / "sweep", [[f"lr={lr}", f"seed={seed}"] for lr, seed in each])
    for number, test in enumerate((-150, -152, -151, -140)):  # of 0.1 one seed, without a bar
        finish(folder, number, metrics(test, test - 1, seed=each[number][1]))
    jobs = sweeps.jobs(folder)
    fig = draw(jobs, columns(jobs))
    assert fig is not None
    [ax] = fig.axes
    assert ax.get_xlabel() == "lr"
    assert ax.get_xscale() == "log"
    assert "nats per image" in ax.get_ylabel()
    assert ax.get_legend_handles_labels()[1] == ["validation", "test"]
    [_, test] = ax.containers
    low, high = np.asarray(test[2][0].get_segments()[0])[:, 1]
    assert (low + high) / 2 == pytest.approx(-151)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 2) / math.sqrt(3))
    about = fig._supxlabel.get_text()  # type: ignore[attr-defined]
    assert "1 to 3 seeds; bars for 3 or more: 95 %" in about
    assert ax.get_ylim()[0] < low < high < ax.get_ylim()[1]
    assert ax.get_xlim()[0] < 0.001 < 0.1 < ax.get_xlim()[1]
    assert "100 images of MNIST" in fig._supxlabel.get_text()  # type: ignore[attr-defined]
    assert png(fig).startswith(b"\x89PNG")


def test_two_knobs_are_lines_of_one_against_the_other(tmp_path: Path) -> None:
    jobs = [[f"latent_dim={z}", f"objective={o}"] for z in (1, 2, 5) for o in ("elbo", "iwae")]
    folder = a_sweep(tmp_path / "sweep", jobs)
    for number in range(len(jobs)):
        finish(folder, number, metrics(-150 - number, -151 - number))
    read = sweeps.jobs(folder)
    fig = draw(read, columns(read))
    assert fig is not None
    lines = [ax.get_legend_handles_labels()[1] for ax in fig.axes]
    assert lines[0] == ["objective=elbo", "objective=iwae"]
    assert lines[1] == ["latent_dim=1", "latent_dim=2", "latent_dim=5"]
    assert [ax.get_xlabel() for ax in fig.axes] == ["latent_dim", "objective"] * 2
    ticks = [label.get_text() for label in fig.axes[1].get_xticklabels()]
    assert ticks == ["elbo", "iwae"]


def test_numbers_that_a_search_drew_are_not_named_one_by_one(tmp_path: Path) -> None:
    drawn = (0.0002199, 0.000328931, 0.0231)
    folder = a_sweep(tmp_path / "sweep", [[f"lr={lr}"] for lr in drawn])
    for number in range(len(drawn)):
        finish(folder, number, metrics(-150 - number, -151 - number))
    jobs = sweeps.jobs(folder)
    fig = draw(jobs, columns(jobs))
    assert fig is not None
    fig.canvas.draw()
    ticks = [float(tick) for tick in fig.axes[0].get_xticks()]
    assert not set(ticks) & set(drawn)


def test_a_sweep_of_seeds_alone_has_a_table_and_no_picture(tmp_path: Path) -> None:
    folder = a_sweep(tmp_path / "sweep", [["seed=0"], ["seed=1"]])
    finish(folder, 0, metrics(-150, -150, seed=0))
    finish(folder, 1, metrics(-152, -152, seed=1))
    summary.summarise(folder)
    assert not (folder / "sweep.png").exists()
    assert "| `defaults` | 2 |" in (folder / "sweep.md").read_text()


def test_a_sweep_in_which_nothing_finished_says_so(tmp_path: Path) -> None:
    folder = a_sweep(tmp_path / "sweep", [["lr=1"], ["lr=2"]])
    fail(folder, 0, UserError("too\nlarge"))
    summary.summarise(folder)
    assert "failed: too large" in (folder / "sweep.md").read_text()
    assert "0 of 2 jobs finished" in (folder / "sweep.md").read_text()


def test_damaged_numbers_cost_their_job_alone(mixed: Path) -> None:
    (mixed / "0" / folders.METRICS).write_text('{"test": ')
    summary.summarise(mixed, thorough=False)
    job = sweeps.jobs(mixed)[0]
    assert job.status == sweeps.FAILED
    assert "is damaged" in job.error


@pytest.mark.parametrize("text", ["", "[", "jobs: 3", "jobs: [[1]]", "jobs: [x]", "- a"])
def test_a_damaged_plan_is_named(mixed: Path, text: str) -> None:
    (mixed / sweeps.JOBS).write_text(text)
    with pytest.raises(UserError, match=r"jobs\.yaml is damaged"):
        sweeps.jobs(mixed)


def test_a_value_that_is_left_out_is_a_value_of_its_own() -> None:
    jobs = [
        sweeps.Job(number, Path(str(number)), words, sweeps.FINISHED, {})
        for number, words in enumerate([("lr=1", "seed=0"), ("seed=0",), ("lr=1", "seed=1")])
    ]
    assert replicates.swept(jobs) == {"lr": ["1", ""]}


def test_lines_differ_in_style_and_stand_at_their_true_places_unless_bars_would_meet() -> None:
    for width, moved in ((math.nan, False), (1.0, True)):
        ax = figure(4, 3).subplots()
        knob_axis(ax, "lr", [0.001, 0.1])
        knob_lines(ax, [Line(name, [0.001, 0.1], [1, 2], [width] * 2) for name in "abc"])
        drawn = [bars.lines[0] for bars in ax.containers]
        assert len({line.get_linestyle() for line in drawn}) == 3
        places = {line.get_transform().transform((0.1, 2))[0].round(6) for line in drawn}
        assert len(places) == (3 if moved else 1)


def test_a_failure_is_told_by_the_first_line_of_what_caused_it(tmp_path: Path) -> None:
    error = RuntimeError("a commit failed\n(Background on this error at: https://sqlalche.me)")
    error.__cause__ = OSError("the disk is full\nand some advice")
    fail(a_sweep(tmp_path / "sweep", [["seed=0"]]), 0, error)
    [job] = sweeps.jobs(tmp_path / "sweep")
    assert job.error == "OSError: the disk is full"
    assert "sqlalche.me" in (job.folder / sweeps.ERROR).read_text()  # all of it, for who looks

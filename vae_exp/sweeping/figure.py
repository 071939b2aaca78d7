"""The picture of a sweep: test and validation ELBO against each of its knobs."""

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vae_exp.evaluation.intervals import ENOUGH, Interval
from vae_exp.figures import caption, figure
from vae_exp.figures.sweeps import COLORS, Line, knob_axis, knob_lines
from vae_exp.sweeping.replicates import Column, Setting, data_of, number, swept
from vae_exp.sweeping.sweeps import Job

SERIES: dict[str, Callable[[Setting], Interval]] = {
    "validation": lambda setting: setting.validation,
    "test": lambda setting: setting.test,
}


def draw(jobs: Sequence[Job], columns: Sequence[Column]) -> Figure | None:
    """A panel a knob, and if two were swept lines of one against the other; None without any."""
    reached = {setting.overrides for column in columns for setting in column.settings}
    knobs = {
        key: list(dict.fromkeys(_value(job, key) for job in jobs if job.setting in reached))
        for key in swept(jobs)
    }
    if not knobs or not columns:
        return None
    rows = [(column, kind) for column in columns for kind in (SERIES if len(knobs) == 2 else [""])]
    width = min(3.0 * len(knobs) + (2.2 if len(knobs) == 2 else 1.2), 12)
    fig = figure(width, 2.5 * len(rows) + 0.5)
    grid = fig.subplots(len(rows), len(knobs), squeeze=False, sharey="row")
    for (column, kind), axes in zip(rows, grid, strict=True):
        for ax, key in zip(axes, knobs, strict=True):
            _panel(ax, column, key, knobs, kind)
        axes[0].set_ylabel(f"{kind or ''} ELBO [nats per image]".strip(), fontsize=8)
        _legend(axes)
    about = [_about(column) for column in columns]
    caption(fig, *about, _bars({len(s.runs) for column in columns for s in column.settings}))
    return fig


def _bars(seeds: set[int]) -> str:
    """What the bars are, by how many seeds the settings have."""
    if seeds == {1}:
        return "one seed each, no bars"
    counts = f"{min(seeds)} to {max(seeds)} seeds" if len(seeds) > 1 else f"{max(seeds)} seeds"
    if max(seeds) < ENOUGH:
        return f"{counts}: too few for bars"
    which = f"bars for {ENOUGH} or more" if min(seeds) < ENOUGH else "bars"
    return f"{counts}; {which}: 95 % over seeds (Student's t)"


def _value(job: Job, key: str) -> str:
    return Setting(job.setting, {}).value(key) or ""


def _about(column: Column) -> str:
    return f"test: {column.protocol['images']:,} images of {data_of(column)}"


def _legend(axes: Sequence[Axes]) -> None:
    """One for a row of panels that show the same, one for each panel of lines of its own."""
    labels = [tuple(ax.get_legend_handles_labels()[1]) for ax in axes]
    for ax in axes if len(set(labels)) > 1 else axes[:1]:
        ax.legend(fontsize=6.5, frameon=False, loc="best", ncols=2 if len(labels[0]) > 4 else 1)


def _panel(ax: Axes, column: Column, key: str, knobs: dict[str, list[str]], kind: str) -> None:
    values = knobs[key]
    numbers = [number(value) for value in values]
    numeric = all(value is not None for value in numbers)
    if numeric:
        knob_axis(ax, key, [value for value in numbers if value is not None])
    else:
        knob_axis(ax, key, values)

    def place(setting: Setting) -> float:
        text = setting.value(key) or ""
        found = number(text) if numeric else None
        return float(values.index(text)) if found is None else found

    if kind:
        [other] = [knob for knob in knobs if knob != key]
        lines = [
            _line(f"{other}={value or 'default'}", of_value, SERIES[kind], place, joined=numeric)
            for value in knobs[other]
            if (of_value := [s for s in column.settings if (s.value(other) or "") == value])
        ]
        knob_lines(ax, lines[: len(COLORS)])
        return
    joined = len(knobs) == 1 and numeric
    knob_lines(
        ax,
        [_line(name, column.settings, of, place, joined=joined) for name, of in SERIES.items()],
    )


def _line(
    label: str,
    settings: Sequence[Setting],
    of: Callable[[Setting], Interval],
    place: Callable[[Setting], float],
    *,
    joined: bool,
) -> Line:
    found = [of(setting) for setting in settings]
    return Line(
        label,
        [place(setting) for setting in settings],
        [each.mean for each in found],
        [each.half_width if math.isfinite(each.half_width) else math.nan for each in found],
        joined,
    )

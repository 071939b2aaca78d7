"""Lines against epochs as inline SVG, whose colours are the page's."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vae_exp.report.estimates import shown
from vae_exp.report.markup import Markup, tag

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 28, 38
LONG = 20  # points: of longer curves the first, steep part may leave the frame
STEEP = 0.1
COLOURS = 4
Place = Callable[[float, float], tuple[float, float]]  # x, y -> where in the picture


@dataclass(frozen=True)
class Series:
    """A line: its name and its points (step, value), none of which is infinite."""

    name: str
    points: list[tuple[int, float]]


@dataclass(frozen=True)
class Chart:
    """A panel of lines over ``clock``, of which one takes so many steps."""

    title: str
    series: Sequence[Series]
    clock: str = "step"
    steps: int = 1

    def drawn(self) -> Markup:
        """A figure with a title, axes, and a key if there are several lines."""
        xs = [self._x(step) for line in self.series for step, _ in line.points]
        low, high, cut = limits(self.series)
        across = (min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1)

        def place(x: float, y: float) -> tuple[float, float]:
            inner = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
            right = LEFT + inner[0] * (x - across[0]) / (across[1] - across[0])
            return right, TOP + inner[1] * (high - y) / (high - low)

        parts: list[Markup] = []
        for value in ticks(low, high):
            _, y = place(across[0], value)
            parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "grid"))
            parts.append(_text(LEFT - 6, y + 4, tick(value, high - low), "end"))
        for value in ticks(*across, whole=True):
            x, _ = place(value, low)
            parts.append(_line(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 4, "axis"))
            parts.append(_text(x, HEIGHT - BOTTOM + 16, shown(value, 0)))
        parts.append(_line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis"))
        parts.append(_text(WIDTH - RIGHT, HEIGHT - 6, self.clock, "end"))
        lines = [self._line(line, place, number, low) for number, line in enumerate(self.series, 1)]
        picture = tag(
            "svg",
            tag("g", *parts, class_="tick"),
            *lines,
            *self._key(),
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img",
            aria_label=self._told(),
        )
        told = self.title + ("; the first part lies below the frame" if cut else "")
        return tag("figure", tag("figcaption", told), picture, class_="chart")

    def _x(self, step: int) -> float:
        return (step + 1) / self.steps

    def _told(self) -> str:
        ends = [
            f"{line.name} from {shown(line.points[0][1])} to {shown(line.points[-1][1])}"
            for line in self.series
        ]
        return f"{self.title} by {self.clock}: {'; '.join(ends)}"

    def _line(self, line: Series, place: Place, number: int, low: float) -> Markup:
        shape = f"s{(number - 1) % COLOURS + 1}"
        seen = [(self._x(step), value) for step, value in line.points if value >= low]
        places = [place(x, y) for x, y in seen]
        if len(places) == 1:
            return tag(
                "circle", cx=_at(places[0][0]), cy=_at(places[0][1]), r=3.5, class_=f"{shape} dots"
            )
        path = " ".join(f"{_at(x)},{_at(y)}" for x, y in places)
        return tag("polyline", points=path, class_=f"{shape} series")

    def _key(self) -> list[Markup]:
        """A sample of each line with its name, in a row above the frame."""
        parts, x = [], float(LEFT)
        for number, line in enumerate(self.series, 1):
            shape = f"s{(number - 1) % COLOURS + 1}"
            parts.append(
                tag("line", x1=_at(x), y1=12, x2=_at(x + 24), y2=12, class_=f"{shape} series")
            )
            parts.append(_text(x + 30, 16, line.name, "start"))
            x += 44 + 6.6 * len(line.name)
        return parts


def limits(series: Sequence[Series]) -> tuple[float, float, bool]:
    """The lowest and the highest value to be shown, and whether some lie below.

    Curves that rise have a first, steep part, which would press all else into a line.
    """
    values = [value for line in series for _, value in line.points]
    low, high, cut = min(values), max(values), False
    longest = max(len(line.points) for line in series)
    if longest >= LONG:
        later = [v for line in series for _, v in line.points[int(STEEP * len(line.points)) :]]
        if later and low < min(later) - 0.5 * (high - min(later)):
            low, cut = min(later), True
    margin = 0.05 * (high - low) or max(1e-3 * abs(high), 1e-6)
    return low - margin, high + margin, cut


def ticks(low: float, high: float, *, whole: bool = False, most: int = 5) -> list[float]:
    """Round numbers between two, at most so many or one more; ``whole``: integers alone."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def tick(value: float, span: float) -> str:
    """A number beside an axis, with as many digits as tell it from its neighbours."""
    digits = max(0, 1 - math.floor(math.log10(span))) if span < 5 else 0
    return shown(float(value), digits)


def _at(place: float) -> str:
    return f"{place:.1f}"


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=_at(x1), y1=_at(y1), x2=_at(x2), y2=_at(y2), class_=kind)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> Markup:
    return tag("text", text, x=_at(x), y=_at(y), text_anchor=anchor)

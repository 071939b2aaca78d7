"""What a number may be: said once, for the knobs and in the annotations of constructors."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Range:
    """Limits of a number below 2^63 in size; `above` and `below` are not attained themselves."""

    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        """Whether a number is finite, not absurd, and within the limits."""
        return (
            abs(value) < 2**63
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """In words, such as `>= 1` or `from 0 to 9`; empty if there is no limit."""
        if self.minimum is not None and self.maximum is not None:
            return f"from {self.minimum} to {self.maximum}"
        limits = ((">=", self.minimum), (">", self.above), ("<=", self.maximum), ("<", self.below))
        return " and ".join(f"{sign} {limit}" for sign, limit in limits if limit is not None)


Positive = Annotated[int, Range(minimum=1)]
NonNegative = Annotated[int, Range(minimum=0)]
PositiveNumber = Annotated[float, Range(above=0)]
NonNegativeNumber = Annotated[float, Range(minimum=0)]
Fraction = Annotated[float, Range(above=0, below=1)]

"""What a number may be, said once in an annotation: for knobs, constructors, help and messages."""

from typing import Annotated, Any, get_args

from annotated_types import Ge, Gt, Le, Lt

MOST = 2**63 - 1  # what a tensor's size can be
Positive = Annotated[int, Ge(1), Le(MOST)]
NonNegative = Annotated[int, Ge(0), Le(MOST)]
PositiveNumber = Annotated[float, Gt(0)]
NonNegativeNumber = Annotated[float, Ge(0)]
Fraction = Annotated[float, Gt(0), Lt(1)]


def limits(annotation: Any) -> str:
    """The range of an annotation, such as ``>= 1`` or ``from 0 to 9``; empty if there is none."""
    found = [each for each in get_args(annotation)[1:] if each != Le(MOST)]
    low = [each.ge for each in found if isinstance(each, Ge)]
    high = [each.le for each in found if isinstance(each, Le)]
    if low and high:
        return f"from {low[0]} to {high[0]}"
    signs: dict[type, tuple[str, str]] = {
        Ge: (">=", "ge"),
        Gt: (">", "gt"),
        Le: ("<=", "le"),
        Lt: ("<", "lt"),
    }
    told = [(signs[type(each)][0], getattr(each, signs[type(each)][1])) for each in found]
    return " and ".join(f"{sign} {limit}" for sign, limit in told)

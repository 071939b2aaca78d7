"""What a number may be, said once in an annotation: for its check, its message and --help."""

from typing import Annotated, Any, get_args

from annotated_types import Ge, Gt, Le, Lt

FINITE = Lt(2**63)  # sizes and steps are counted in 64 bits; told to nobody
Positive = Annotated[int, Ge(1), FINITE]
NonNegative = Annotated[int, Ge(0), FINITE]
PositiveNumber = Annotated[float, Gt(0), FINITE]
NonNegativeNumber = Annotated[float, Ge(0), FINITE]
Fraction = Annotated[float, Gt(0), Lt(1)]
Rate = Annotated[float, Ge(0), Lt(1)]


def limits(annotation: Any) -> str:
    """An annotation's range, such as `>= 1` or `from 0 to 9`; empty if it tells of none."""
    told = {}
    for bound in get_args(annotation)[1:]:
        for sign, kind, name in (
            (">=", Ge, "ge"),
            (">", Gt, "gt"),
            ("<=", Le, "le"),
            ("<", Lt, "lt"),
        ):
            if isinstance(bound, kind) and bound != FINITE:
                told[sign] = getattr(bound, name)
    if {">=", "<="} <= told.keys():
        return f"from {told['>=']} to {told['<=']}"
    return " and ".join(f"{sign} {limit}" for sign, limit in told.items())

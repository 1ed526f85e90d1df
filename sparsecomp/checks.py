"""Checks of arguments, all with one form of message: ``keep must be in (0, 1], got 1.5``.

Every function returns None, or raises a `ValueError` that names the argument, the rule and the value.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Real


def require(holds: bool, name: str, rule: str, value: object) -> None:
    """``NAME must be RULE, got VALUE``, for a rule that has no function of its own."""
    if not holds:
        raise ValueError(f"{name} must be {rule}, got {value!r}")


def in_range(name: str, value: object, low: float, high: float = math.inf, ends: str = "[]") -> None:
    """A finite number between ``low`` and ``high``.

    Parameters
    ----------
    ends : {"[]", "(]", "[)", "()"}
        Which of the two ends belong to the range, in the notation of intervals.
    """
    inside = isinstance(value, Real) and not isinstance(value, bool) and low <= value <= high and value < math.inf
    inside = inside and not (ends[0] == "(" and value == low) and not (ends[1] == ")" and value == high)
    if high == math.inf:
        rule = f"a finite number {'above' if ends[0] == '(' else 'of at least'} {low:g}"
    else:
        rule = f"in {ends[0]}{low:g}, {high:g}{ends[1]}"
    require(inside, name, rule, value)


def whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """An int, not a bool, of at least ``least`` and, if there is a ``most``, at most that."""
    inside = isinstance(value, int) and not isinstance(value, bool) and least <= value
    if most is None:
        require(inside, name, f"a whole number of at least {least}", value)
    else:
        require(inside and value <= most, name, f"a whole number from {least} to {most}", value)


def multiple(name: str, value: int, of: int) -> None:
    """A whole number that ``of`` divides."""
    require(value % of == 0, name, f"a multiple of {of}", value)


def one_of(name: str, value: object, choices: Collection[str]) -> None:
    """One of a few names."""
    require(value in tuple(choices), name, f"one of {', '.join(choices)}", value)

"""Checks of arguments, all with one form of message: ``keep must be in (0, 1], got 1.5``.

Every check returns None, or raises an `InputError` that names the argument, the rule and the value.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any, NoReturn


class InputError(ValueError):
    """What was given cannot be used: an argument, a picture, a file. Any other error is a bug, here or elsewhere.

    NumPy and Python raise `ValueError` where our own code is wrong, so what this package refuses has a class of its
    own. The command line ends with status 2 for it and with 1 for a bug.
    """


def refuse(name: str, rule: str, value: object) -> NoReturn:
    """Raise ``NAME must be RULE, got VALUE``."""
    raise InputError(f"{name} must be {rule}, got {value!r}")


def require(holds: bool, name: str, rule: str, value: object) -> None:
    """`refuse` unless ``holds``: for a rule that has no function of its own."""
    if not holds:
        refuse(name, rule, value)


def in_range(name: str, value: Any, low: float, high: float = math.inf, ends: str = "[]") -> None:
    """A finite number between ``low`` and ``high``.

    Parameters
    ----------
    ends : {"[]", "(]", "[)", "()"}
        Which of the two ends belong to the range, in the notation of intervals.
    """
    inside = isinstance(value, Real) and not isinstance(value, bool) and low <= float(value) <= high
    inside = inside and value != math.inf
    inside = inside and not (ends[0] == "(" and value == low) and not (ends[1] == ")" and value == high)
    if high == math.inf:
        rule = f"a finite number {'above' if ends[0] == '(' else 'of at least'} {low:g}"
    else:
        rule = f"in {ends[0]}{low:g}, {high:g}{ends[1]}"
    require(inside, name, rule, value)


def whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """An integer, not a bool, of at least ``least`` and, if there is a ``most``, at most that."""
    inside = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
    rule = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
    require(inside and (most is None or int(value) <= most), name, rule, value)


def multiple(name: str, value: int, of: int) -> None:
    """A whole number that ``of`` divides."""
    require(value % of == 0, name, f"a multiple of {of}", value)


def one_of(name: str, value: object, choices: Collection[object]) -> None:
    """One of a few names or values."""
    require(value in tuple(choices), name, f"one of {', '.join(map(str, choices))}", value)

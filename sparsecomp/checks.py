"""Checks of arguments, all with one form of message: ``keep must be in (0, 1], got 1.5``.

Every check returns None, or raises a `ValueError` that names the argument, the rule and the value. `is_refusal` tells
such an error from a bug.
"""

from __future__ import annotations

import dis
import math
from collections.abc import Collection
from numbers import Real
from typing import Any


def require(holds: bool, name: str, rule: str, value: object) -> None:
    """``NAME must be RULE, got VALUE``, for a rule that has no function of its own."""
    if not holds:
        raise ValueError(f"{name} must be {rule}, got {value!r}")


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
    """An int, not a bool, of at least ``least`` and, if there is a ``most``, at most that."""
    inside = isinstance(value, int) and not isinstance(value, bool) and value >= least
    rule = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"
    require(inside and (most is None or value <= most), name, rule, value)


def multiple(name: str, value: int, of: int) -> None:
    """A whole number that ``of`` divides."""
    require(value % of == 0, name, f"a multiple of {of}", value)


def one_of(name: str, value: object, choices: Collection[str]) -> None:
    """One of a few names."""
    require(value in tuple(choices), name, f"one of {', '.join(choices)}", value)


def is_refusal(error: BaseException) -> bool:
    """Did a ``raise`` statement of this package raise the error? Everything else is a bug, here or elsewhere.

    The type does not tell: our own checks raise `ValueError`, and so does NumPy where our code has a bug. The answer of
    another process comes with the exception, because its traceback does not (`training.processes.in_worker`).
    """
    if hasattr(error, "is_refusal"):
        return error.is_refusal
    place = error.__traceback__
    if place is None or isinstance(error, (AssertionError, NotImplementedError)):
        return False
    while place.tb_next is not None:
        place = place.tb_next
    frame = place.tb_frame
    ours = frame.f_globals.get("__name__", "").split(".")[0] == __name__.split(".")[0]
    # The instruction, not the line: in raise ValueError(f"{x.y}") the attribute may be what fails.
    return ours and dis.opname[frame.f_code.co_code[place.tb_lasti]] == "RAISE_VARARGS"

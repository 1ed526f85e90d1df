from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

import sparsecomp
from sparsecomp.checks import InputError, in_range, multiple, one_of, require, whole
from sparsecomp.codecs import BitstreamError, BudgetError


def refusal(check, *arguments, **options) -> str:
    with pytest.raises(InputError) as caught:
        check(*arguments, **options)
    return str(caught.value)


def test_require_has_the_one_form_of_message():
    require(True, "keep", "in (0, 1]", 1.5)
    assert refusal(require, False, "keep", "in (0, 1]", 1.5) == "keep must be in (0, 1], got 1.5"
    assert refusal(require, False, "path", "a folder", "a\nb") == "path must be a folder, got 'a\\nb'", "one line"


@pytest.mark.parametrize("value", [0, 1.5, math.nan, math.inf, -math.inf, None, "0.5", True, 0.5j])
def test_in_range_refuses_what_is_outside_or_no_number(value):
    for legal in (0.25, 1, np.float32(0.3), np.float64(1)):
        in_range("keep", legal, 0, 1, "(]")
    assert refusal(in_range, "keep", value, 0, 1, "(]") == f"keep must be in (0, 1], got {value!r}"


def test_in_range_has_open_and_closed_ends_or_no_upper_one():
    for ends, legal, illegal in (("[]", (0, 1), ()), ("(]", (1,), (0,)), ("[)", (0,), (1,)), ("()", (), (0, 1))):
        for value in legal:
            in_range("x", value, 0, 1, ends)
        for value in illegal:
            assert refusal(in_range, "x", value, 0, 1, ends) == f"x must be in {ends[0]}0, 1{ends[1]}, got {value}"
    in_range("rho", 1e300, 0, ends="()")
    assert refusal(in_range, "rho", 0, 0, ends="()") == "rho must be a finite number above 0, got 0"
    assert refusal(in_range, "rho", math.inf, 0) == "rho must be a finite number of at least 0, got inf"


@pytest.mark.parametrize("value", [0, 1.0, True, None, "3", math.nan])
def test_whole_refuses_what_is_no_whole_number_or_out_of_bounds(value):
    assert refusal(whole, "steps", value, 1) == f"steps must be a whole number of at least 1, got {value!r}"
    for legal in (1, 5):
        whole("bits", legal, 1, 5)
    assert refusal(whole, "bits", 6, 1, 5) == "bits must be a whole number from 1 to 5, got 6"


@pytest.mark.parametrize("value", ["c", None, ["a"]])
def test_one_of_lists_the_choices(value):
    one_of("codec", "b", ("a", "b"))
    assert refusal(one_of, "codec", value, ("a", "b")) == f"codec must be one of a, b, got {value!r}"


def test_multiple_refuses_a_remainder():
    multiple("crop", 64, 8)
    assert refusal(multiple, "crop", 63, 8) == "crop must be a multiple of 8, got 63"


def test_package_refuses_with_input_errors_alone():
    """A plain `ValueError` would be taken for a bug."""
    assert all(issubclass(kind, InputError) for kind in (BitstreamError, BudgetError)) and issubclass(
        InputError, ValueError
    )
    package = Path(sparsecomp.__file__).parent
    plain = [str(path) for path in package.rglob("*.py") if re.search(r"raise ValueError\b", path.read_text())]
    assert len(list(package.rglob("*.py"))) > 40 and not plain

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
    with pytest.raises(ValueError) as caught:
        check(*arguments, **options)
    return str(caught.value)


def test_require_has_the_one_form_of_message():
    require(True, "keep", "in (0, 1]", 1.5)
    assert refusal(require, False, "keep", "in (0, 1]", 1.5) == "keep must be in (0, 1], got 1.5"
    assert refusal(require, False, "path", "a folder", "a\nb") == "path must be a folder, got 'a\\nb'", "one line"


@pytest.mark.parametrize("value", [0.25, 1, 0.5, np.float32(0.3), np.float64(1)])
def test_in_range_takes_numbers_in_range(value):
    in_range("keep", value, 0, 1, "(]")


@pytest.mark.parametrize("value", [0, -0.1, 1.5, math.nan, math.inf, -math.inf, None, "0.5", True, 0.5j])
def test_in_range_refuses_what_is_outside_or_no_number(value):
    assert refusal(in_range, "keep", value, 0, 1, "(]") == f"keep must be in (0, 1], got {value!r}"


def test_in_range_has_open_and_closed_ends():
    for ends, low, high in (("[]", True, True), ("(]", False, True), ("[)", True, False), ("()", False, False)):
        for value, legal in ((0, low), (1, high)):
            if legal:
                in_range("x", value, 0, 1, ends)
            else:
                assert refusal(in_range, "x", value, 0, 1, ends) == f"x must be in {ends[0]}0, 1{ends[1]}, got {value}"


def test_in_range_without_an_upper_end_still_wants_a_finite_number():
    in_range("rho", 1e300, 0, ends="()")
    assert refusal(in_range, "rho", 0, 0, ends="()") == "rho must be a finite number above 0, got 0"
    assert refusal(in_range, "rho", math.inf, 0) == "rho must be a finite number of at least 0, got inf"


@pytest.mark.parametrize("value", [0, -3, 1.0, True, None, "3", math.nan])
def test_whole_refuses_what_is_no_whole_number_or_too_small(value):
    assert refusal(whole, "steps", value, 1) == f"steps must be a whole number of at least 1, got {value!r}"


def test_whole_may_have_an_upper_bound():
    for value in (1, 5):
        whole("bits", value, 1, 5)
    whole("steps", 10**9, 1)
    assert refusal(whole, "bits", 6, 1, 5) == "bits must be a whole number from 1 to 5, got 6"


def test_multiple_refuses_a_remainder():
    multiple("crop", 64, 8)
    assert refusal(multiple, "crop", 63, 8) == "crop must be a multiple of 8, got 63"


@pytest.mark.parametrize("value", ["c", None, 1, ["a"]])
def test_one_of_lists_the_choices(value):
    one_of("codec", "b", ("a", "b"))
    assert refusal(one_of, "codec", value, ("a", "b")) == f"codec must be one of a, b, got {value!r}"


def test_what_a_check_refuses_is_an_input_error_and_no_bug():
    with pytest.raises(InputError, match=r"^steps must be a whole number of at least 1, got 0$") as caught:
        whole("steps", 0, 1)
    assert isinstance(caught.value, ValueError)
    assert issubclass(BitstreamError, InputError) and issubclass(BudgetError, InputError)


def test_package_raises_no_plain_value_error():
    """It would be taken for a bug; what is refused is an `InputError`."""
    package = Path(sparsecomp.__file__).parent
    plain = [str(path) for path in package.rglob("*.py") if re.search(r"raise ValueError\b", path.read_text())]
    assert len(list(package.rglob("*.py"))) > 40 and not plain

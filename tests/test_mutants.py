"""The list of mutants keeps up with the code: each names text that occurs exactly once."""

from __future__ import annotations

import mutants
import pytest


@pytest.mark.parametrize("key", mutants.MUTANTS)
def test_mutant_has_its_place(key):
    before, after = mutants.MUTANTS[key]
    path = mutants.place_of(key)
    mutants.line_of(key, path)
    assert before != after and path.suffix in (".py", ".c")

"""What was kept is still so: old files decode to the same picture, verdicts and figures say the same."""

from __future__ import annotations

import json
import math

import goldens
import numpy as np
import pytest

from sparsecomp import codecs
from sparsecomp.coding.container import unpack

FIGURES = json.loads((goldens.EXPECTED / "figures.json").read_text())


@pytest.mark.parametrize("name", goldens.FILES)
def test_a_kept_file_decodes_to_the_same_symbols_and_pixels(name):
    written = (goldens.EXPECTED / "files" / f"{name}.spc").read_bytes()
    with np.load(goldens.EXPECTED / "files" / f"{name}.npz") as kept:
        pixels, symbols = kept["pixels"].astype(int), kept["symbols"] if "symbols" in kept else None
    found = codecs.decode(written)
    assert found.shape == pixels.shape and np.abs(found - pixels).max() <= 1
    again = goldens.symbols_of(unpack(written))
    assert (symbols is None) == (again is None)
    assert symbols is None or np.array_equal(symbols, again)


def test_every_codec_has_a_kept_file():
    assert {codec for codec, _ in goldens.FILES.values()} == set(codecs.NAMES)


def test_verdicts_are_the_kept_ones():
    kept = json.loads((goldens.EXPECTED / "verdicts.json").read_text())
    assert goldens.verdict_rows() == kept


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_draws_the_kept_numbers(name):
    found = goldens.figure(name)
    assert len(found) == len(FIGURES[name])
    for now, kept in zip(found, FIGURES[name], strict=True):
        assert len(now) == len(kept)
        for a, b in zip(now, kept, strict=True):
            assert same(a, b), f"{name}: {a} in place of {b}"


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) if isinstance(a, int | float) else a == b


def test_every_figure_is_kept():
    assert set(FIGURES) == set(goldens.figures.FIGURES)

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
def test_the_data_of_a_figure_are_the_kept_ones(name):
    found = goldens.figure(name)
    assert same(found, FIGURES[name]), f"{name}: {found}"


def same(now: object, kept: object) -> bool:
    if isinstance(now, list):
        return isinstance(kept, list) and len(now) == len(kept) and all(map(same, now, kept))
    if isinstance(now, dict):
        return isinstance(kept, dict) and list(now) == list(kept) and all(same(now[key], kept[key]) for key in now)
    if isinstance(now, float) and isinstance(kept, float) and math.isnan(now) and math.isnan(kept):
        return True
    return math.isclose(now, kept, rel_tol=1e-4, abs_tol=1e-6) if isinstance(now, int | float) else now == kept


def test_every_figure_is_kept():
    assert set(FIGURES) == set(goldens.tables.FIGURES)

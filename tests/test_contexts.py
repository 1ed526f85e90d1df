"""Coding with contexts: the order of the places, what is known of each, and what it saves. Round trips: contracts/."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from coding_strategies import drawn, in_context
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.coding import contexts
from sparsecomp.coding.contexts import CLASSES, EDGES, ESCAPE, FIRST, ONE, STRIDES, B, C, Contexts, passes
from sparsecomp.coding.range_coder import TOTAL


def smooth(seed: int, channels: int = 2, side: int = 96) -> np.ndarray:
    """Symbols with a slowly varying mean in the first channel, and a slowly varying size in all."""
    rng, y = np.random.default_rng(seed), np.linspace(0, 9, side)
    size = 4 * (1 + np.sin(y + seed))[:, None] * (1 + np.cos(1.3 * y))[None]
    found = rng.laplace(0, 1, (channels, side, side)) * size
    found[0] = 30 * np.outer(np.sin(y), np.cos(y + seed)) + rng.normal(0, 1, (side, side))
    return found.round().astype(np.int32)


def without_context(symbols: np.ndarray) -> float:
    """Bits of the symbols if a table of each channel's own frequencies were known."""
    total = 0.0
    for channel in symbols:
        counts = np.unique(channel, return_counts=True)[1]
        total -= float(counts @ np.log2(counts / counts.sum()))
    return total


@drawn
@given(st.integers(1, 70), st.integers(1, 70))
def test_passes_reach_every_place_once_and_know_its_neighbours(height, width):
    """A neighbour is at the stride of the pass, diagonal or direct, and was reached before; 0 where there is none."""
    when, order = np.full((height, width), -1), list(passes(height, width))
    for number, of in enumerate(order):
        assert (when[of.places] == -1).all(), "a place is reached twice"
        if of.kind != FIRST:
            near = of.neighbours(when + 1)
            assert near.shape == (4, *when[of.places].shape)
            assert near.min() >= 0 and near.max() <= number, "a neighbour that is not known yet"
            rows, columns = (np.arange(size)[part] for size, part in zip(when.shape, of.places, strict=True))
            steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if abs(a) + abs(b) == (2 if of.kind == B else 1)]
            inside = [(rows[0] + a * of.stride, columns[0] + b * of.stride) for a, b in steps]
            inside = [when[at] + 1 for at in inside if 0 <= at[0] < height and 0 <= at[1] < width]
            assert set(inside) <= set(near[:, 0, 0].tolist()) <= {*inside, 0}
        when[of.places] = number
    assert (when >= 0).all() and {of.stride for of in order} <= {2 * STRIDES[0], *STRIDES}


@drawn
@given(in_context(), st.data())
def test_surroundings_are_the_same_when_nothing_later_is_known(case, data):
    symbols, model = case
    channel = data.draw(st.integers(0, len(symbols) - 1))
    order = list(passes(*symbols.shape[1:]))
    at = data.draw(st.integers(0, len(order) - 1))
    known = symbols.copy()
    known[channel:, *order[at].places] = 0
    for of in order[at + 1 :]:
        known[:, *of.places] = 0
    of_all = np.array(model.around(symbols, slice(0, len(symbols)), order[at]))[:, channel]
    assert np.array_equal(of_all, np.array(model.around(known, slice(channel, channel + 1), order[at]))[:, 0])


def test_surroundings_are_those_of_the_equations():
    symbols = np.zeros((2, 3, 3), np.int32)
    symbols[0, 0, 1] = -7
    symbols[1, ::2, ::2] = [[4, 6], [5, 9]]
    weights = np.zeros((2, 3, 5), np.int32)
    weights[1, B] = [ONE // 2, 100, 30, 200, 0]
    weights[1, C] = [0, 1, 10, 3000, 0]
    model = Contexts(weights, contexts._tables(np.zeros((CLASSES, ESCAPE + 1))))
    centre = next(of for of in passes(3, 3) if of.kind == B and of.stride == 1)
    mu, classes = model.around(symbols, slice(1, 2), centre)
    assert mu.tolist() == [[[3]]]  # half of the mean of 4, 6, 5 and 9
    sigma = 100 + 30 * (1 + 3 + 2 + 6) + 200 * abs(symbols[0, 1, 1])
    assert classes.tolist() == [[[np.searchsorted(EDGES, sigma, side="right")]]]
    symbols[1, 1, 1] = 5
    above = next(of for of in passes(3, 3) if of.kind == C and of.stride == 1 and of.left == 1)
    mu, classes = model.around(symbols, slice(1, 2), above)
    assert mu.tolist() == [[[0], [0]]]
    # In the top row the place above does not exist; the one below stands for it. The first channel has a 7 there.
    sigma = [1 + 10 * (4 + 6 + 5 + 5) + 3000 * 7, 1 + 10 * (5 + 9 + 5 + 5)]
    assert classes.ravel().tolist() == np.searchsorted(EDGES, sigma, side="right").tolist()


def test_neighbours_say_how_large_a_symbol_is():
    """Where size and mean vary slowly, a third of the bits or more is saved; where nothing varies, nothing is lost."""
    model, other = Contexts.fit(smooth(seed) for seed in range(6)), smooth(99)
    assert contexts.bits(other, model) < 0.67 * without_context(other)
    rng = np.random.default_rng(0)
    noise = [rng.laplace(0, 3, (2, 96, 96)).round().astype(np.int32) for _ in range(7)]
    assert contexts.bits(noise[0], Contexts.fit(noise[1:])) < 1.02 * without_context(noise[0])


def test_channels_in_groups_make_the_same_file(monkeypatch):
    model, symbols = Contexts.fit([smooth(0, channels=3)]), smooth(1, channels=3)
    written = contexts.encode(symbols, model)
    monkeypatch.setattr(contexts, "AT_ONCE", 5000)
    assert contexts.encode(symbols, model) == written and np.array_equal(
        contexts.decode(written, symbols.shape, model), symbols
    )


def test_estimate_is_the_length_of_the_file():
    model = Contexts.fit(smooth(seed) for seed in range(3))
    for seed in (7, 8):
        symbols = smooth(seed)
        assert abs(len(contexts.encode(symbols, model)) - contexts.bits(symbols, model) / 8) < 12


def test_fit_predicts_where_symbols_go_on_and_weighs_what_is_large_elsewhere():
    model = Contexts.fit(smooth(seed) for seed in range(6))
    assert (model.weights[0, [B, C], 0] > 0.9 * ONE).all() and not model.weights[0, FIRST, 0]
    assert (model.weights[1, :, 0] == 0).all(), "the second channel has no mean"
    assert model.weights[1, C, 2] > 0.1 * ONE
    rng = np.random.default_rng(0)
    size = rng.exponential(4, (4, 64, 64))
    together = [np.stack([rng.laplace(0, s), rng.laplace(0, s)]).round().astype(np.int32) for s in size]
    assert Contexts.fit(together).weights[1, C, 3] > 0.1 * ONE


def test_fit_is_right_where_little_is_expected():
    """Sizes from 1/30 to 12: errors where symbols are large would hide b, if they were not weighed."""
    codes = []
    for seed in range(6):
        rng, y = np.random.default_rng(seed), np.linspace(0, 9, 96)
        size = np.exp(3 * np.sin(y + seed)[:, None] * np.cos(1.3 * y)[None] - 0.5)
        codes.append((rng.laplace(0, 1, (2, 96, 96)) * size).round().astype(np.int32))
    assert (Contexts.fit(codes).weights[1, [B, C], 1] < 0.15 * ONE).all()


def test_class_of_an_edge_is_the_one_above():
    weights = np.zeros((1, 3, 4), np.int32)
    weights[0, FIRST, 1] = EDGES[5]
    model = Contexts(weights, contexts._tables(np.zeros((CLASSES, ESCAPE + 1))))
    _, classes = model.around(np.zeros((1, 1, 1), np.int32), slice(0, 1), next(passes(1, 1)))
    assert classes.tolist() == [[[6]]]


def test_encode_writes_the_bytes_of_the_files_there_are():
    """Another class, pass or order would make them unreadable. The model is written down, not fitted."""
    weights = np.zeros((2, 3, 5), np.int32)
    weights[:] = [700, 90, 210, 0, 0]
    weights[1, :, 3] = 330
    weights[:, FIRST, 0] = 0
    seen = 10**6 // (1 + np.arange(ESCAPE + 1) * (1 + 400 // (1 + np.arange(CLASSES)))[:, None])
    tables = 1 + (TOTAL - ESCAPE - 1) * seen // seen.sum(1, keepdims=True)
    tables[:, 0] += TOTAL - tables.sum(1)
    y, x = np.mgrid[:45, :37]
    symbols = np.stack([(7 * y + 5 * x) % 31 - 15, (y - x) * 40 * (x % 5 == 0)]).astype(np.int32)
    written = contexts.encode(symbols, Contexts(weights, tables.astype(np.int32)))
    assert hashlib.sha256(written).hexdigest()[:16] == "95a87b65cd52622b"


def test_contexts_refuse_what_is_none():
    good = Contexts.fit([smooth(0)])
    for name, array, said in (
        ("weights", good.weights[:, :2], "weights must be"),
        ("weights", -1 - good.weights, "weights must be"),
        ("weights", good.weights + (np.arange(5) > 2), "no d of a channel that is coded later"),
        ("weights", good.weights + (ONE + 1) * (np.arange(5) == 0), "weights must be an a of at most 1"),
        ("tables", good.tables[:, 1:], "tables must be"),
        ("tables", good.tables - good.tables[:, :1] * (np.arange(ESCAPE + 1) == 0), "tables must be"),
    ):
        with pytest.raises(ValueError, match=said):
            replace(good, **{name: array})
    for codes in ([], [smooth(0)[:, :1]], [smooth(0), smooth(0)[:1]]):
        with pytest.raises(ValueError, match="^codes must be arrays"):
            Contexts.fit(codes)
    with pytest.raises(ValueError, match="^symbols must be int32"):
        contexts.encode(smooth(0, channels=3), good)
    with pytest.raises(ValueError, match="magnitude 40000: at most 32767"):
        contexts.encode(smooth(0) * 0 + 40000, good)
    assert good.tables.sum(1).tolist() == [TOTAL] * CLASSES

"""The histograms, counts and tables of integer codes, and their lengths. Round trips and damage: contracts/."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from coding_strategies import FLAT, counts, drawn, spiked, uneven
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sparsecomp.coding import entropy, histograms
from sparsecomp.coding.entropy import CELLS, LEAST, TOTAL
from sparsecomp.coding.histograms import ESCAPE, LARGEST, MOST, ODDS, ZERO


def laplace(shape: tuple[int, ...], scale: float = 3.0, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).laplace(0, scale, shape)).astype(np.int32)


def pruned(symbols: np.ndarray, threshold: int) -> np.ndarray:
    return np.where(np.abs(symbols) >= threshold, symbols, 0).astype(np.int32)


# Histograms and counts ------------------------------------------------------------------------------------------------


@drawn
@given(arrays(np.int32, (2, 3, 4, 5), elements=st.sampled_from([0, 1, -1, 255, -255, 256, -256, MOST, -MOST])))
def test_histogram_counts_every_entry_in_its_channel(codes):
    found = histograms.histogram_of(codes)
    wanted = torch.zeros(3, CELLS, dtype=torch.long)
    for (_, channel, _, _), value in np.ndenumerate(codes):
        wanted[channel, ESCAPE if abs(value) > LARGEST else value + LARGEST] += 1
    assert found.dtype == torch.int64 and torch.equal(found, wanted)
    assert torch.equal(histograms.histogram_of(codes[0]) + histograms.histogram_of(codes[1]), wanted)
    for same in (torch.from_numpy(codes), torch.from_numpy(codes).float(), codes.astype(np.int16)):
        assert torch.equal(histograms.histogram_of(same), wanted)


@pytest.mark.parametrize(
    ("codes", "message"),
    [(np.zeros((3, 4), np.int32), "shape"), (np.zeros((1, 1, 1, 1, 1)), "shape"), (np.full((1, 2, 2), 0.5), "whole"),
     (np.full((1, 2, 2), np.nan), "whole")],
)  # fmt: skip
def test_histogram_refuses_what_is_no_code(codes, message):
    with pytest.raises(ValueError, match=f"codes: .*{message}"):
        histograms.histogram_of(codes)


@drawn
@given(st.sampled_from([0, 1, 1000, 10**9]), st.integers(0, CELLS - 1), st.sampled_from([64.0, 1024.0]))
def test_counts_are_the_histogram_and_a_geometric_share(often, column, pseudo):
    histogram = histograms.histogram_of(laplace((2, 50, 50)))
    histogram[0] = 0
    histogram[0, column] = often
    made = histograms.counts_of(histogram, pseudo)
    entropy.check_counts(made, 2)
    values, others = np.arange(-100_000, 100_001), np.arange(CELLS) != ZERO
    for channel, found in zip(histogram.double().numpy(), made.numpy() / TOTAL, strict=True):
        n = channel.sum()
        mean = (float((channel * np.abs(np.arange(-255, 257))).sum()) + 1) / (n + 1)
        r = mean / (1 + math.sqrt(1 + mean**2))
        smooth = (1 - r) / (1 + r) * r ** np.abs(values).astype(float)
        assert smooth.sum() == pytest.approx(1) and (smooth * np.abs(values)).sum() == pytest.approx(mean)
        inner = np.abs(values) <= LARGEST
        wanted = (channel + pseudo * np.append(smooth[inner], smooth[~inner].sum())) / (n + pseudo)
        # A cell has at least four counts, for which all others give up a little.
        assert np.abs(found - wanted)[others].max() < LEAST / TOTAL + wanted.max() * 2 * LEAST * CELLS / TOTAL


@pytest.mark.parametrize("wrong", [torch.zeros(2, 511), torch.zeros(512), torch.full((1, 512), -1)])
def test_counts_refuse_what_is_no_histogram(wrong):
    with pytest.raises(ValueError, match="histogram: shape"):
        histograms.counts_of(wrong)


# Tables ---------------------------------------------------------------------------------------------------------------


@drawn
@given(counts, st.sampled_from([1, 2, 7, 254, 255, 256, 1000, MOST]), st.integers(0, len(ODDS) - 1))
def test_table_gives_what_cannot_occur_to_the_zero_and_the_zero_its_share(own, threshold, level):
    plain, magnitudes = histograms.table(own, threshold), np.abs(np.arange(-LARGEST, LARGEST + 1))
    stays = magnitudes >= threshold
    assert plain.sum() == TOTAL and np.array_equal(plain[:ESCAPE][stays], own[:ESCAPE][stays])
    assert plain[ESCAPE] == own[ESCAPE] and (plain[:ESCAPE][~stays & (magnitudes != 0)] == 0).all()
    assert plain[ZERO] == own[:ESCAPE][~stays].sum()
    found, (zero, other) = histograms.table(own, threshold, level), ODDS[level]
    assert found.dtype == np.int64 and found.sum() == TOTAL and np.array_equal(found > 0, plain > 0)
    assert abs(found[ZERO] / TOTAL - zero / (zero + other)) < 2 * CELLS / TOTAL
    others = np.arange(CELLS) != ZERO
    factor = (TOTAL * other / (zero + other)) / plain[others].sum()
    assert np.abs(found[others] - factor * plain[others]).max() < 2, "rounded twice"


def test_odds_are_from_a_64th_to_4096_by_the_root_of_two():
    odds = [zero / other for zero, other in ODDS]
    assert len(odds) == 37 and odds[0] == 1 / 64 and odds[-1] == 4096
    assert all(1.41 < b / a < 1.42 for a, b in zip(odds, odds[1:], strict=False))


@drawn
@given(st.sampled_from([1, 7, 100, 6144]), st.floats(0, 1) | st.sampled_from([0.0, 1.0]))
def test_level_of_a_channel_is_the_one_that_makes_it_shortest_or_nearly(size, share):
    shares, zeros = np.array([zero / (zero + other) for zero, other in ODDS]), round(share * size)
    channel = np.ones(size, np.int32)
    channel[:zeros] = 0
    cost = -(zeros * np.log2(shares) + (size - zeros) * np.log2(1 - shares))
    assert cost[histograms.level_of(channel)] <= cost.min() * 1.01 + 1e-9


def test_thresholds_are_the_smallest_magnitudes():
    code = np.array([[[0, 5, -3]], [[0, 0, 0]], [[-9, 300, 0]], [[-300, 0, 400]]], np.int32)
    assert histograms.threshold_of(code) == 3 and histograms.threshold_of(code[1:2]) == MOST
    assert histograms.own_thresholds(code, 3).tolist() == [3, 256, 9, 256]
    assert histograms.own_thresholds(code, 1).tolist() == [3, 256, 9, 256]
    assert histograms.own_thresholds(code[3:], 300).tolist() == [300]


# Codes as bytes -------------------------------------------------------------------------------------------------------


@drawn
@given(st.sampled_from([0.3, 1.0, 5.0, 150.0]), st.sampled_from([1, 2, 9]), st.integers(0, 99))
def test_bits_are_those_of_the_file_but_for_a_few_bytes(scale, threshold, seed):
    code = pruned(laplace((4, 60, 70), scale, seed), threshold)
    own = histograms.counts_of(histograms.histogram_of(laplace((4, 100, 100), scale, 1000))).numpy()
    estimate, length = histograms.bits(code, own, threshold) / 8, len(histograms.encode(code, own, threshold))
    assert abs(estimate - length) <= 6 + estimate / 500


def test_encode_comes_near_to_the_entropy_of_codes_like_those_counted():
    own = histograms.counts_of(histograms.histogram_of(laplace((3, 200, 200)))).numpy()
    code = laplace((3, 60, 60), seed=9)
    away = np.arange(1, 61)
    p = (np.exp(-(away - 0.5) / 3) - np.exp(-(away + 0.5) / 3)) / 2  # of a value, on either side
    zero = 1 - math.exp(-0.5 / 3)
    best = -zero * math.log2(zero) - 2 * (p * np.log2(p)).sum()
    assert 0.98 * best < len(histograms.encode(code, own, 1)) * 8 / code.size < 1.02 * best


@pytest.mark.parametrize("keep", [0.3, 0.1, 0.02])
def test_encode_of_a_pruned_code_is_as_long_as_what_is_left(keep):
    """The tables are of codes that nobody pruned; still the file comes near to the entropy of what it holds."""
    code, channels = laplace((4, 60, 60), 2.0, seed=5), 4
    own = histograms.counts_of(histograms.histogram_of(laplace((4, 200, 200), 2.0))).numpy()
    code = pruned(code, max(1, int(np.sort(np.abs(code).ravel())[::-1][round(keep * code.size)])))
    occurs = histograms.histogram_of(code).double()
    best = -float((occurs * torch.log2((occurs / 3600).clamp(min=1e-9))).sum())
    lengths = [8 * len(histograms.encode(code, own, t)) for t in range(histograms.threshold_of(code), 0, -1)]
    assert best < lengths[0] < 1.05 * best + channels * 10 + 64
    assert lengths == sorted(lengths), "no smaller threshold makes a shorter code"


@pytest.mark.parametrize("value", [256, -256, MOST, -MOST])
def test_encode_escapes_a_value_without_a_column(value):
    code = np.zeros((2, 6, 6), np.int32)
    own, alone = np.stack([spiked(ZERO)] * 2), len(histograms.encode(code, np.stack([spiked(ZERO)] * 2), 1))
    code[1, 3, 2] = value
    # The escape has 4 of 2^24 counts, which makes 22 bits, and the value 16.
    assert 22 + 16 - 8 <= 8 * (len(histograms.encode(code, own, 1)) - alone) <= 22 + 16 + 40


def test_encode_writes_the_bytes_of_the_files_there_are():
    """Another table or another order of the symbols would make them unreadable."""
    y, x = np.mgrid[:12, :9]
    code = np.stack([(7 * y + 5 * x) % 31 - 15, (y - x) * 40, (y * x) % 5 // 4 * 3, 0 * x]).astype(np.int32)
    written = histograms.encode(code, np.stack([FLAT, spiked(ZERO), uneven(0), FLAT]), 1)
    assert hashlib.sha256(written).hexdigest()[:16] == "2097692cb8e7c2bc"


@pytest.mark.parametrize(
    ("code", "threshold", "message"),
    [
        (np.full((1, 2, 2), MOST + 1, np.int32), 1, "magnitude 32768"),
        (np.full((1, 2, 2), -(2**31), np.int32), 1, "magnitude 2147483648"),
        (np.full((1, 2, 2), 2, np.int32), 3, "threshold=3: there is a symbol of magnitude 2"),
        (np.zeros((1, 2, 2), np.int64), 1, "int64"),
        (np.zeros((2, 2), np.int32), 1, r"int32 \(2, 2\)"),
        (np.zeros((2, 2, 2), np.int32), 1, r"int32 \(1, h, w\) is needed"),
        *((np.zeros((1, 2, 2), np.int32), wrong, f"threshold={wrong!r}: a whole number from 1 to 32767")
          for wrong in (0, -1, MOST + 1, True, 1.0, "1", None)),
    ],
)  # fmt: skip
def test_encode_refuses_what_no_file_can_hold(code, threshold, message):
    for function in (histograms.encode, histograms.bits):
        with pytest.raises(ValueError, match=message):
            function(code, FLAT[None], threshold)

"""The tables and the range coder of integer codes: nothing is lost, whatever the values, and nothing else is read."""

from __future__ import annotations

import hashlib
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from sparsecomp.coding import entropy, histograms
from sparsecomp.coding.bitstream import BitstreamError
from sparsecomp.coding.entropy import CELLS, LEAST, TOTAL
from sparsecomp.coding.histograms import ESCAPE, LARGEST, MOST, ODDS, ZERO

THRESHOLDS = (1, 2, 7, 254, 255, 256, 257, 1000, MOST)


def uneven(channels: int = 1, seed: int = 0) -> np.ndarray:
    share = np.random.default_rng(seed).dirichlet(np.full(CELLS, 0.1), channels)
    counts = LEAST + np.floor((TOTAL - LEAST * CELLS) * share).astype(np.int64)
    counts[:, 7] += TOTAL - counts.sum(1)
    return counts


def spiked(column: int) -> np.ndarray:
    counts = np.full(CELLS, LEAST)
    counts[column] += TOTAL - counts.sum()
    return counts


FLAT = np.full(CELLS, TOTAL // CELLS)
KINDS = {"flat": FLAT, "uneven": uneven()[0], "zero": spiked(ZERO), "escape": spiked(ESCAPE), "first": spiked(0)}
ALL = np.stack([*KINDS.values()])


def laplace(shape: tuple[int, ...], scale: float = 3.0, seed: int = 0) -> np.ndarray:
    return np.round(np.random.default_rng(seed).laplace(0, scale, shape)).astype(np.int32)


def pruned(symbols: np.ndarray, threshold: int) -> np.ndarray:
    return np.where(np.abs(symbols) >= threshold, symbols, 0).astype(np.int32)


# Histograms -----------------------------------------------------------------------------------------------------------


def test_a_histogram_counts_every_entry_in_its_channel():
    code = np.array([[[0, 1, 1], [-255, 255, 0]], [[256, -256, 3], [MOST, -MOST, -3]]], np.int32)
    wanted = torch.zeros(2, CELLS, dtype=torch.long)
    for column, number in ((255, 2), (256, 2), (0, 1), (510, 1)):
        wanted[0, column] = number
    for column, number in ((511, 4), (258, 1), (252, 1)):
        wanted[1, column] = number
    found = histograms.histogram_of(code)
    assert found.dtype == torch.int64 and torch.equal(found, wanted)
    for same in (torch.from_numpy(code), torch.from_numpy(code).float(), code.astype(np.int16), code[None]):
        assert torch.equal(histograms.histogram_of(same), wanted)


def test_histograms_add_up_over_pictures_and_batches():
    one, other = laplace((3, 5, 4)), laplace((3, 5, 4), 200.0, seed=1)
    both = histograms.histogram_of(one) + histograms.histogram_of(other)
    assert torch.equal(histograms.histogram_of(np.stack([one, other])), both) and int(both.sum()) == 120
    for channel in range(3):
        for value in (-2, 0, 5):
            assert both[channel, value + 255] == (one[channel] == value).sum() + (other[channel] == value).sum()


@pytest.mark.parametrize(
    ("codes", "message"),
    [(np.zeros((3, 4), np.int32), "shape"), (np.zeros((1, 1, 1, 1, 1)), "shape"), (np.full((1, 2, 2), 0.5), "whole"),
     (np.full((1, 2, 2), np.nan), "whole")],
)  # fmt: skip
def test_codes_that_have_no_histogram(codes, message):
    with pytest.raises(ValueError, match=f"codes: .*{message}"):
        histograms.histogram_of(codes)


# Counts ---------------------------------------------------------------------------------------------------------------


def histogram(kind: str) -> torch.Tensor:
    found = torch.zeros(2, CELLS, dtype=torch.long)
    match kind:
        case "zeros":
            found[:, ZERO] = 10**6
        case "constant":
            found[:, ZERO + 7] = 10**9
        case "escapes":
            found[:, ESCAPE] = 10**6
        case "one symbol":
            found[:, ZERO - 3] = 1
        case "drawn":
            found = histograms.histogram_of(laplace((2, 300, 300)))
    return found


@pytest.mark.parametrize("kind", ["empty", "zeros", "constant", "escapes", "one symbol", "drawn"])
def test_counts_make_tables_whatever_was_counted(kind):
    counts = histograms.counts_of(histogram(kind))
    entropy.check_counts(counts, 2)
    assert counts.dtype == torch.int64 and torch.equal(counts[0], counts[1]) == (kind != "drawn")
    often = {"zeros": ZERO, "constant": ZERO + 7, "escapes": ESCAPE}
    if kind in often:
        assert (counts[:, often[kind]] > 0.99 * TOTAL).all()
    # Whatever it is, a code that is nothing like it comes back.
    code = np.stack([np.full((4, 5), -40, np.int32), np.arange(20, dtype=np.int32).reshape(4, 5) * 100])
    written = histograms.encode(code, counts.numpy(), 1)
    assert np.array_equal(histograms.decode(written, code.shape, counts.numpy(), 1), code)


def test_counts_are_the_histogram_and_a_geometric_share():
    drawn, pseudo = histogram("drawn").double(), 5000.0
    values = np.arange(-100_000, 100_001)
    for channel, found in zip(drawn.numpy(), histograms.counts_of(drawn, pseudo).numpy() / TOTAL, strict=True):
        n = channel.sum()
        mean = (float((channel * np.abs(np.arange(-255, 257))).sum()) + 1) / (n + 1)
        r = mean / (1 + math.sqrt(1 + mean**2))
        smooth = (1 - r) / (1 + r) * r ** np.abs(values).astype(float)
        assert smooth.sum() == pytest.approx(1) and (smooth * np.abs(values)).sum() == pytest.approx(mean)
        inner = np.abs(values) <= LARGEST
        shares = np.append(smooth[inner], smooth[~inner].sum())
        wanted = (channel + pseudo * shares) / (n + pseudo)
        others = np.arange(CELLS) != ZERO
        # A cell has at least four counts, for which all others give up a little.
        assert np.abs(found - wanted)[others].max() < LEAST / TOTAL + wanted.max() * 2 * LEAST * CELLS / TOTAL


def test_a_histogram_that_counted_little_is_smoothed_more():
    few, many = torch.zeros(1, CELLS), torch.zeros(1, CELLS)
    few[0, ZERO], many[0, ZERO] = 1000, 10**7
    assert histograms.counts_of(few)[0, ZERO + 1] > histograms.counts_of(many)[0, ZERO + 1] >= LEAST


def test_counts_shorten_the_code_of_pictures_like_those_counted():
    counts = histograms.counts_of(histograms.histogram_of(laplace((3, 200, 200)))).numpy()
    code = laplace((3, 60, 60), seed=9)
    alike = len(histograms.encode(code, counts, 1))
    assert alike < 0.6 * len(histograms.encode(code, np.stack([FLAT] * 3), 1))
    away = np.arange(1, 61)
    p = (np.exp(-(away - 0.5) / 3) - np.exp(-(away + 0.5) / 3)) / 2  # of a value, on either side
    zero = 1 - math.exp(-0.5 / 3)
    best = -zero * math.log2(zero) - 2 * (p * np.log2(p)).sum()
    assert 0.98 * best < alike * 8 / code.size < 1.02 * best


@pytest.mark.parametrize("wrong", [torch.zeros(2, 511), torch.zeros(512), torch.full((1, 512), -1)])
def test_histograms_that_make_no_counts(wrong):
    with pytest.raises(ValueError, match="histogram: shape"):
        histograms.counts_of(wrong)


# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_threshold_gives_what_cannot_occur_to_the_zero(counts, threshold):
    found, values = histograms.table(counts, threshold), np.arange(-LARGEST, LARGEST + 1)
    stays = np.abs(values) >= threshold
    assert found.sum() == TOTAL and np.array_equal(found[:ESCAPE][stays], counts[:ESCAPE][stays])
    assert found[ESCAPE] == counts[ESCAPE] and (found[:ESCAPE][~stays & (values != 0)] == 0).all()
    assert found[ZERO] == counts[:ESCAPE][~stays].sum()
    assert np.array_equal(histograms.table(counts, 1), counts)


@pytest.mark.parametrize("counts", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("threshold", [1, 3, 255, 300])
def test_a_level_sets_the_zeros_share_and_keeps_the_others_in_proportion(counts, threshold):
    plain = histograms.table(counts, threshold)
    for level, (zero, other) in enumerate(ODDS):
        found = histograms.table(counts, threshold, level)
        assert found.dtype == np.int64 and found.sum() == TOTAL and np.array_equal(found > 0, plain > 0)
        assert abs(found[ZERO] / TOTAL - zero / (zero + other)) < 2 * CELLS / TOTAL
        others = np.arange(CELLS) != ZERO
        factor = (TOTAL * other / (zero + other)) / plain[others].sum()
        assert np.abs(found[others] - factor * plain[others]).max() < 2, "rounded twice"


def test_levels_are_odds_from_a_64th_to_4096_by_the_root_of_two():
    odds = [zero / other for zero, other in ODDS]
    assert len(odds) == 37 and odds[0] == 1 / 64 and odds[-1] == 4096
    assert all(1.41 < b / a < 1.42 for a, b in zip(odds, odds[1:], strict=False))


@pytest.mark.parametrize("size", [1, 7, 100, 6144])
def test_the_level_of_a_channel_is_the_one_that_makes_it_shortest_or_nearly(size):
    shares = np.array([zero / (zero + other) for zero, other in ODDS])
    for zeros in sorted({0, 1, size // 100, size // 3, size // 2, size - 2, size - 1, size} & set(range(size + 1))):
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


@pytest.mark.parametrize("threshold", [0, -1, MOST + 1, True, 1.0, "1", None])
def test_thresholds_that_no_file_can_name(threshold):
    with pytest.raises(ValueError, match=f"threshold={threshold!r}: a whole number from 1 to 32767"):
        histograms.encode(np.zeros((1, 2, 2), np.int32), FLAT[None], threshold)
    with pytest.raises(ValueError, match="threshold="):
        histograms.bits(np.zeros((1, 2, 2), np.int32), FLAT[None], threshold)


# Codes as bytes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zero", "small", "wide", "huge", "largest", "lowest", "mixed"])
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_round_trip(kind, threshold):
    rng = np.random.default_rng(2)
    for shape in ((1, 1, 1), (2, 1, 9), (5, 17, 11)):
        code = {
            "zero": np.zeros(shape, np.int32),
            "small": laplace(shape),
            "wide": laplace(shape, 150.0),
            "huge": rng.integers(-MOST, MOST + 1, shape, np.int32),
            "largest": np.full(shape, MOST, np.int32),
            "lowest": np.full(shape, -MOST, np.int32),
            "mixed": np.where(rng.random(shape) < 0.1, 20_000, laplace(shape)).astype(np.int32),
        }[kind]
        code, counts = pruned(code, threshold), ALL[: shape[0]]
        written = histograms.encode(code, counts, threshold)
        read = histograms.decode(written, shape, counts, threshold)
        assert read.dtype == np.int32 and np.array_equal(read, code) and not written.endswith(b"\0")
        # Zeros in front of a table of two columns are zeros at the end of the code, which are left out.
        assert len(written) <= histograms.bits(code, counts, threshold) / 8 + 8


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0, 150.0])
@pytest.mark.parametrize("threshold", [1, 2, 9])
def test_the_estimate_is_the_code_but_for_a_few_bytes(scale, threshold):
    code = pruned(laplace((4, 60, 70), scale, seed=3), threshold)
    counts = histograms.counts_of(histograms.histogram_of(laplace((4, 100, 100), scale, seed=4))).numpy()
    estimate, length = histograms.bits(code, counts, threshold) / 8, len(histograms.encode(code, counts, threshold))
    assert abs(estimate - length) <= 6 + estimate / 500


@pytest.mark.parametrize("value", [256, -256, 257, 4096, MOST, -MOST])
def test_a_value_without_a_column_is_escaped_and_not_lost(value):
    code = np.zeros((2, 6, 6), np.int32)
    code[1, 3, 2] = value
    counts = np.stack([spiked(ZERO)] * 2)
    alone = histograms.encode(np.zeros_like(code), counts, 1)
    written = histograms.encode(code, counts, 1)
    assert np.array_equal(histograms.decode(written, code.shape, counts, 1), code)
    # The escape has 4 of 2^24 counts, which makes 22 bits, and the value 16.
    assert 22 + 16 - 8 <= 8 * (len(written) - len(alone)) <= 22 + 16 + 40


def test_a_channel_of_zeros_costs_next_to_nothing():
    code, counts = laplace((2, 50, 60)), uneven(2)
    code[1] = 0
    alone = len(histograms.encode(code[:1], counts[:1], 1))
    assert len(histograms.encode(code, counts, 1)) <= alone + 2


@pytest.mark.parametrize("keep", [0.3, 0.1, 0.02])
def test_pruning_shortens_the_code_to_what_is_left(keep):
    """The tables are of codes that nobody pruned; still the file comes near to the entropy of what it holds."""
    code, channels = laplace((4, 60, 60), 2.0, seed=5), 4
    counts = histograms.counts_of(histograms.histogram_of(laplace((4, 200, 200), 2.0))).numpy()
    least = np.sort(np.abs(code).ravel())[::-1][round(keep * code.size)]
    code = pruned(code, max(1, int(least)))
    occurs = histograms.histogram_of(code).double()
    best = -float((occurs * torch.log2((occurs / 3600).clamp(min=1e-9))).sum())
    length = 8 * len(histograms.encode(code, counts, histograms.threshold_of(code)))
    assert best < length < 1.05 * best + channels * 10 + 64


def test_no_smaller_threshold_makes_a_shorter_code():
    code = pruned(laplace((3, 40, 40), 4.0), 5)
    counts = histograms.counts_of(histograms.histogram_of(laplace((3, 100, 100), 4.0))).numpy()
    lengths = [len(histograms.encode(code, counts, t)) for t in (5, 4, 3, 1)]
    assert lengths == sorted(lengths)
    for threshold in (5, 3, 1):
        written = histograms.encode(code, counts, threshold)
        assert np.array_equal(histograms.decode(written, code.shape, counts, threshold), code)


def test_another_process_reads_the_same(tmp_path):
    code, counts = laplace((5, 30, 20), 100.0), ALL
    np.savez(tmp_path / "a.npz", code=code, counts=counts)
    (tmp_path / "a.bin").write_bytes(histograms.encode(code, counts, 1))
    script = """
import sys
import numpy as np
from pathlib import Path
from sparsecomp.coding import histograms
there = np.load(sys.argv[1])
read = histograms.decode(Path(sys.argv[2]).read_bytes(), there["code"].shape, there["counts"], 1)
assert np.array_equal(read, there["code"])
print(len(read))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.npz"), str(tmp_path / "a.bin")],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    assert done.stdout == "5\n"


def test_bytes_stay_what_they_are():
    """Files are kept: another table or another order of the symbols would make them unreadable."""
    y, x = np.mgrid[:12, :9]
    code = np.stack([(7 * y + 5 * x) % 31 - 15, (y - x) * 40, (y * x) % 5 // 4 * 3, 0 * x]).astype(np.int32)
    written = histograms.encode(code, np.stack([FLAT, spiked(ZERO), KINDS["uneven"], FLAT]), 1)
    assert hashlib.sha256(written).hexdigest()[:16] == "2097692cb8e7c2bc"


def test_what_is_damaged_is_refused_and_nothing_else_is_raised():
    rng, shape, threshold = random.Random(0), (3, 10, 12), 2
    code, counts = pruned(laplace(shape, 90.0), threshold), uneven(3, seed=1)
    written, refused = histograms.encode(code, counts, threshold), 0
    for _ in range(1500):
        harmed, at = bytearray(written), rng.randrange(len(written))
        match rng.randrange(4):
            case 0:
                harmed[at] ^= 1 << rng.randrange(8)
            case 1:
                del harmed[at:]
            case 2:
                harmed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                harmed = bytearray(rng.randbytes(rng.randrange(200)))
        try:
            read = histograms.decode(bytes(harmed), shape, counts, threshold)
        except BitstreamError:
            refused += 1
            continue
        assert histograms.encode(read, counts, threshold) == bytes(harmed), "two files for one code"
    assert refused > 500


def test_zeros_behind_the_code_are_no_second_file():
    code = laplace((1, 5, 5))
    written = histograms.encode(code, FLAT[None], 1)
    for harmed in (written + b"\0", written + bytes(8)):
        with pytest.raises(BitstreamError, match="damaged"):
            histograms.decode(harmed, (1, 5, 5), FLAT[None], 1)


@pytest.mark.parametrize(
    ("code", "threshold", "message"),
    [
        (np.full((1, 2, 2), MOST + 1, np.int32), 1, "magnitude 32768"),
        (np.full((1, 2, 2), -(2**31), np.int32), 1, "magnitude 2147483648"),
        (np.full((1, 2, 2), 2, np.int32), 3, "threshold=3: there is a symbol of magnitude 2"),
        (np.zeros((1, 2, 2), np.int64), 1, "int64"),
        (np.zeros((2, 2), np.int32), 1, r"int32 \(2, 2\)"),
        (np.zeros((2, 2, 2), np.int32), 1, r"int32 \(1, h, w\) is needed"),
    ],
)
def test_codes_that_cannot_be_written(code, threshold, message):
    for function in (histograms.encode, histograms.bits):
        with pytest.raises(ValueError, match=message):
            function(code, FLAT[None], threshold)

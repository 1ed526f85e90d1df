"""Measures against their definitions, scikit-image and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import correlate1d

from sparsecomp import metrics


@pytest.fixture(scope="module")
def pair() -> dict[str, np.ndarray]:
    """A smooth picture, 170x210, and a noisy copy: large enough for MS-SSIM, odd at some of its scales."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:170, :210]
    reference = np.stack([127 + 100 * np.sin(x / (9 + c) + y / 17) for c in range(3)], axis=-1)
    noisy = reference + rng.normal(0, 12, reference.shape)
    return {"reference": metrics.to_uint8(reference / 255), "reconstruction": metrics.to_uint8(noisy / 255)}


pictures = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(pictures, st.data())
def test_psnr_agrees_with_its_definition(a, data):
    b = data.draw(arrays(np.uint8, a.shape))
    error = sum((int(x) - int(y)) ** 2 for x, y in zip(a.flat, b.flat, strict=True)) / a.size
    expected = 10 * math.log10(255**2 / error) if error else math.inf
    found = metrics.psnr(reference=a, reconstruction=b)
    assert found == pytest.approx(expected, abs=1e-9) and found == metrics.psnr(reference=b, reconstruction=a)


def _gaussian_ssim(a, b):
    """Mean SSIM and mean contrast-structure term of one channel, windows wholly inside (Wang et al. 2004)."""
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    taps /= taps.sum()

    def blur(picture):
        return correlate1d(correlate1d(picture, taps, axis=0), taps, axis=1)[5:-5, 5:-5]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    structure = (2 * cov + c2) / (va + vb + c2)
    return np.mean((2 * ma * mb + c1) / (ma * ma + mb * mb + c1) * structure), np.mean(structure)


def _halve(picture):
    """2x2 means; a border of zeros, counted in the mean, where a side is odd."""
    picture = np.pad(picture, [(side % 2, side % 2) for side in picture.shape])
    height, width = (side // 2 * 2 for side in picture.shape)
    return picture[:height, :width].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def test_ssim_agrees_with_its_definition(pair):
    a, b = (picture.astype(float) for picture in pair.values())
    by_hand = np.mean([_gaussian_ssim(a[..., c], b[..., c])[0] for c in range(3)])
    assert metrics.ssim(**pair) == pytest.approx(by_hand, abs=1e-6)


def test_ms_ssim_agrees_with_its_definition(pair):
    channels = []
    for c in range(3):
        a, b = (picture[..., c].astype(float) for picture in pair.values())
        product = 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            whole, structure = _gaussian_ssim(a, b)
            product *= (whole if scale == 4 else structure) ** weight
            a, b = _halve(a), _halve(b)
        channels.append(product)
    assert metrics.ms_ssim(**pair) == pytest.approx(np.mean(channels), abs=1e-5)


@pytest.mark.parametrize(("measure", "smallest"), [(metrics.ssim, 11), (metrics.ms_ssim, 161)])
def test_ssim_of_equal_and_of_small_pictures(pair, measure, smallest):
    same = {"reference": pair["reference"], "reconstruction": pair["reference"]}
    assert measure(**same) == pytest.approx(1, abs=1e-12)
    for turn in (False, True):
        for side, defined in ((smallest, True), (smallest - 1, False)):
            crops = {name: p[:side].swapaxes(0, 1) if turn else p[:side] for name, p in pair.items()}
            assert (measure(**crops) is not None) == defined


floats = st.sampled_from([np.float16, np.float32, np.float64])


@given(arrays(floats, array_shapes(), elements=st.floats(-1, 2, width=16)))
@example(np.arange(0x3C01, dtype=np.uint16).view(np.float16))  # all of fp16 from 0 to 1: in fp16 it would round twice
@example(np.arange(256, dtype=np.float32) / 255)
def test_to_uint8_clips_and_rounds_once(x):
    found = metrics.to_uint8(x)
    assert found.dtype == np.uint8 and found.shape == x.shape
    assert found.ravel().tolist() == [round(255 * min(1.0, max(0.0, float(value)))) for value in x.flat]


@given(st.binary(max_size=99), st.integers(1, 999), st.integers(1, 999))
def test_bpp_counts_the_bytes_of_a_file(content, height, width):
    for data, side in ((content, height), (bytearray(content), np.int64(height))):
        assert metrics.bpp(data=data, height=side, width=width) * height * width == pytest.approx(8 * len(content))


RATE = np.array([0.1, 0.2, 0.45, 0.8, 1.6])
QUALITY = np.array([26.0, 28.5, 31.7, 34.0, 37.9])


@given(factor=st.floats(0.3, 3), dB=st.floats(-5, 5))
def test_bd_of_shifted_curves_is_the_shift(factor, dB):
    curve = dict(rate_anchor=RATE, quality_anchor=QUALITY)
    cheaper = metrics.bd_rate(**curve, rate_test=factor * RATE, quality_test=QUALITY)
    assert cheaper.value == pytest.approx(100 * (factor - 1), abs=1e-9) and cheaper.overlap == (26.0, 37.9)
    better = metrics.bd_psnr(**curve, rate_test=RATE, quality_test=QUALITY + dB)
    assert better.value == pytest.approx(dB, abs=1e-9) and better.overlap == (0.1, 1.6)


@pytest.mark.filterwarnings("error")  # a small overlap is stated, not warned of
@given(ends=st.tuples(*[st.floats(0.05, 0.4), st.floats(0.6, 5)] * 2), counts=st.tuples(*[st.integers(4, 9)] * 2))
def test_bd_integrates_over_the_overlap_only(ends, counts):
    """In log rate both curves are straight, 10 dB a decade, 2 dB apart: 10^(-2/10) of the rate everywhere."""
    rate_test, rate_anchor = (np.geomspace(*ends[i : i + 2], n) for i, n in zip((0, 2), counts, strict=True))
    quality_test, quality_anchor = 40 + 10 * np.log10(rate_test), 38 + 10 * np.log10(rate_anchor)
    curves = dict(rate_anchor=rate_anchor, quality_anchor=quality_anchor)
    curves |= dict(rate_test=rate_test, quality_test=quality_test)
    for measure, value, (anchor, test) in (
        (metrics.bd_psnr, 2, (rate_anchor, rate_test)),
        (metrics.bd_rate, 100 * (10**-0.2 - 1), (quality_anchor, quality_test)),
    ):
        low, high = max(anchor[0], test[0]), min(anchor[-1], test[-1])
        if low < high:
            found = measure(**curves)
            assert found.value == pytest.approx(value, abs=1e-6) and found.overlap == pytest.approx((low, high))


PICTURE = np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.ssim, metrics.ms_ssim])
def test_quality_refuses(measure):
    for reference, wrong in (
        (PICTURE / 255, "reference"),
        (PICTURE[:-1], "reconstruction"),
        (PICTURE[:0], "reference"),
    ):
        with pytest.raises(ValueError, match=rf"^{wrong}\b"):
            measure(reference=reference, reconstruction=PICTURE)


@pytest.mark.parametrize("measure", [metrics.bd_rate, metrics.bd_psnr])
@pytest.mark.parametrize(
    ("rate", "quality", "wrong"),
    [
        (RATE[:3], QUALITY[:3], "rate_test"),
        (RATE, [26, 29, 28, 34, 38], "quality_test"),
        (RATE - 0.1, QUALITY, "rate_test"),
        (RATE + 1.5, QUALITY + 11.9, "overlap"),
    ],
)
def test_bd_refuses(measure, rate, quality, wrong):
    with pytest.raises(ValueError, match=rf"\b{wrong}\b"):
        measure(rate_anchor=RATE, quality_anchor=QUALITY, rate_test=rate, quality_test=quality)

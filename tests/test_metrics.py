from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import correlate1d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sparsecomp import metrics


@pytest.fixture(scope="module")
def pair() -> dict[str, np.ndarray]:
    """A smooth picture, 170x210, and a noisy copy: large enough for MS-SSIM, odd at some of its scales."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:170, :210]
    reference = np.stack([127 + 100 * np.sin(x / (9 + c) + y / 17) for c in range(3)], axis=-1)
    noisy = reference + rng.normal(0, 12, reference.shape)
    return {"reference": metrics.to_uint8(reference / 255), "reconstruction": metrics.to_uint8(noisy / 255)}


def test_psnr_agrees_with_scikit_image_and_with_hand_counts(pair):
    theirs = peak_signal_noise_ratio(pair["reference"], pair["reconstruction"], data_range=255)
    assert metrics.psnr(**pair) == pytest.approx(theirs, abs=1e-9)
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert metrics.psnr(reference=black, reconstruction=white) == 0.0  # 255 - 0 must not wrap
    one_off = black.copy()
    one_off[0, 0, 0] = 1  # MSE 1/12
    expected = 10 * math.log10(255**2 * 12)
    assert metrics.psnr(reference=one_off, reconstruction=black) == pytest.approx(expected, abs=1e-9)
    assert metrics.psnr(reference=white, reconstruction=white) == math.inf


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


def test_ssim_agrees_with_scikit_image_and_with_its_definition(pair):
    ours = metrics.ssim(**pair)
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    theirs = structural_similarity(pair["reference"], pair["reconstruction"], channel_axis=-1, **options)
    assert ours == pytest.approx(theirs, abs=1e-12)
    a, b = (picture.astype(float) for picture in pair.values())
    by_hand = np.mean([_gaussian_ssim(a[..., c], b[..., c])[0] for c in range(3)])
    assert ours == pytest.approx(by_hand, abs=1e-6)


def test_ms_ssim_agrees_with_its_definition_and_with_pytorch_msssim(pair):
    import pytorch_msssim
    import torch

    ours = metrics.ms_ssim(**pair)
    channels = []
    for c in range(3):
        a, b = (picture[..., c].astype(float) for picture in pair.values())
        product = 1.0
        for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
            whole, structure = _gaussian_ssim(a, b)
            product *= (whole if scale == 4 else structure) ** weight
            a, b = _halve(a), _halve(b)
        channels.append(product)
    assert ours == pytest.approx(np.mean(channels), abs=1e-5)
    a, b = (torch.tensor(picture).permute(2, 0, 1)[None].float() for picture in pair.values())
    assert ours == pytest.approx(pytorch_msssim.ms_ssim(a, b).item(), abs=1e-5)


def test_equal_pictures_score_one_and_small_ones_none(pair):
    same = {"reference": pair["reference"], "reconstruction": pair["reference"]}
    assert metrics.ssim(**same) == pytest.approx(1, abs=1e-12)
    assert metrics.ms_ssim(**same) == pytest.approx(1, abs=1e-12)
    for measure, smallest in ((metrics.ssim, 11), (metrics.ms_ssim, 161)):
        for side, defined in ((smallest, True), (smallest - 1, False)):
            crops = {name: picture[:side] for name, picture in pair.items()}
            assert (measure(**crops) is not None) == defined


def test_measures_refuse_what_is_not_two_8_bit_pictures(pair):
    good = pair["reference"]
    for measure in (metrics.psnr, metrics.ssim, metrics.ms_ssim):
        with pytest.raises(ValueError, match="reconstruction must be a uint8"):
            measure(reference=good, reconstruction=good / 255)
        with pytest.raises(ValueError, match=r"reference must have shape \(H, W, 3\)"):
            measure(reference=good[..., 0], reconstruction=good)
        with pytest.raises(ValueError, match="reference's shape"):
            measure(reference=good, reconstruction=good[:-1])
        with pytest.raises(TypeError):
            measure(good, good)


def test_to_uint8_clips_and_rounds():
    x = np.array([-0.2, 0.0, 0.49 / 255, 0.51 / 255, 254.4 / 255, 1.0, 7.0])
    assert metrics.to_uint8(x).tolist() == [0, 0, 0, 1, 254, 255, 255]
    every = np.arange(256, dtype=np.uint8)
    for dtype in (np.float16, np.float32):
        assert (metrics.to_uint8((every / 255).astype(dtype)) == every).all()
    half = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # every fp16 number from 0 to 1
    assert (metrics.to_uint8(half) == metrics.to_uint8(half.astype(np.float64))).all()
    with pytest.raises(ValueError, match="uint8"):
        metrics.to_uint8(every)
    with pytest.raises(ValueError, match="NaN"):
        metrics.to_uint8(np.array([0.5, np.nan]))


def test_bpp_counts_the_bytes_of_a_file():
    assert metrics.bpp(data=bytes(768 * 512 // 8), height=512, width=768) == 1.0
    assert metrics.bpp(data=b"", height=1, width=1) == 0.0
    with pytest.raises(ValueError, match="height must be an integer of at least 1 pixel, got 0"):
        metrics.bpp(data=b"a", height=0, width=1)
    with pytest.raises(ValueError, match="data must be the bytes"):
        metrics.bpp(data=100, height=1, width=1)


RATE = np.array([0.1, 0.2, 0.45, 0.8, 1.6])
QUALITY = np.array([26.0, 28.5, 31.7, 34.0, 37.9])


def test_bd_of_shifted_curves_is_the_shift():
    curve = dict(rate_anchor=RATE, quality_anchor=QUALITY)
    cheaper = metrics.bd_rate(**curve, rate_test=0.8 * RATE, quality_test=QUALITY)
    assert cheaper.value == pytest.approx(-20, abs=1e-9)
    assert cheaper.overlap == (26.0, 37.9)
    better = metrics.bd_psnr(**curve, rate_test=RATE, quality_test=QUALITY + 1.5)
    assert better.value == pytest.approx(1.5, abs=1e-9)
    assert better.overlap == (0.1, 1.6)


def test_bd_depends_on_which_curve_is_the_anchor():
    swapped = metrics.bd_rate(
        rate_anchor=0.8 * RATE, quality_anchor=QUALITY, rate_test=RATE, quality_test=QUALITY
    )
    assert swapped.value == pytest.approx(25, abs=1e-9)  # 1 / 0.8 - 1
    with pytest.raises(TypeError):
        metrics.bd_rate(RATE, QUALITY, RATE, QUALITY)


@pytest.mark.filterwarnings("error")  # a small overlap is stated, not warned of
def test_bd_integrates_over_the_overlap_only():
    """In log rate both curves are straight, 10 dB a decade, 2 dB apart: 10^(-2/10) of the rate everywhere."""
    rate_test, rate_anchor = np.geomspace(0.1, 1, 6), np.geomspace(0.3, 5, 4)
    quality_test, quality_anchor = 40 + 10 * np.log10(rate_test), 38 + 10 * np.log10(rate_anchor)
    curves = dict(rate_anchor=rate_anchor, quality_anchor=quality_anchor)
    curves |= dict(rate_test=rate_test, quality_test=quality_test)
    by_rate, by_quality = metrics.bd_rate(**curves), metrics.bd_psnr(**curves)
    assert by_rate.value == pytest.approx(100 * (10**-0.2 - 1), abs=1e-6)
    assert by_rate.overlap == pytest.approx((quality_anchor[0], quality_test[-1]))
    assert by_quality.value == pytest.approx(2, abs=1e-6)
    assert by_quality.overlap == pytest.approx((0.3, 1.0))


@pytest.mark.parametrize("measure", [metrics.bd_rate, metrics.bd_psnr])
@pytest.mark.parametrize(
    ("rate", "quality", "message"),
    [
        (RATE[:3], QUALITY[:3], "at least 4 points"),
        (RATE[:4], QUALITY, "of one length"),
        (RATE, [26, 29, 28, 34, 38], "quality_test must increase"),
        (RATE[::-1], QUALITY[::-1], "rate_test must increase"),
        (RATE, [26, 28, 31, 34, math.inf], "quality_test must be finite"),
        (RATE - 0.1, QUALITY, "rate_test must be above 0"),
        (RATE + 100, QUALITY + 100, "must overlap"),
    ],
)
def test_bd_refuses_curves_it_cannot_compare(measure, rate, quality, message):
    with pytest.raises(ValueError, match=message):
        measure(rate_anchor=RATE, quality_anchor=QUALITY, rate_test=rate, quality_test=quality)

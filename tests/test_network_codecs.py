"""COIN and L0onie from picture to file and back: their budgets, their bytes, and what they take and refuse."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp import codecs, metrics, network_weights
from sparsecomp.codecs import BudgetError, get_codec, network
from sparsecomp.codecs.network import Coin, Loonie
from sparsecomp.coding.container import BitstreamError, Container, layout, pack, unpack
from sparsecomp.data import bundled
from sparsecomp.models.siren import Architecture, initial_parameters, layers, render
from sparsecomp.network_weights import Halves, Quantised
from sparsecomp.training.configs import FitBudget, Sparsity, sparsity_at

QUICK = FitBudget(steps=60, lr=5e-3, batch_pixels=256, score_every=20, schedule="quadratic")
SOUND = FitBudget(steps=200, lr=3e-3, batch_pixels=2048, score_every=50, schedule="quadratic")
both = pytest.mark.parametrize("name", ["coin", "loonie"])
rates = st.floats(math.log(1e-4), math.log(60)).map(math.exp)
sizes = st.sampled_from([(512, 768), (100, 100), (64, 64), (12, 20), (1, 300)])


def picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([127 + 100 * np.sin(x / 9 + y / 7 + c) for c in range(3)], axis=-1).round().astype(np.uint8)


def crop(name: str, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(bundled()[name][100 : 100 + height, 100 : 100 + width])


def network_of(data: bytes) -> Quantised | Halves:
    return network_weights.decode(unpack(data).sections)


def gained(image: np.ndarray, reconstruction: np.ndarray) -> float:
    """dB over a picture of one colour."""
    constant = np.broadcast_to(image.mean((0, 1)).round().astype(np.uint8), image.shape)
    found, least = (metrics.psnr(reference=image, reconstruction=each) for each in (reconstruction, constant))
    return found - least


# Both codecs ----------------------------------------------------------------------------------------------------------


@both
def test_network_codec_fits_the_network_that_was_asked_for(name):
    image, scored = picture(24, 36), []
    options = {"arch": "3x10", "coordinates": "coin", "budget": QUICK} | ({"bpp": 2.0} if name == "loonie" else {})
    codec = get_codec(name, seed=3, on_score=lambda step, scores: scored.append((step, len(scores))), **options)
    measured = codecs.evaluate(codec, image)
    assert measured.data != get_codec(name, seed=4, **options).encode(image)
    assert scored == [(20, 1), (40, 1), (60, 1)] and gained(image, measured.reconstruction) > 1
    said = [text for _, text in codec.describe(unpack(measured.data))]
    assert said[0].startswith("3x10") and said[1].startswith("coin")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("coin", {"arch": "28"}, "DEPTHxWIDTH"),
        ("coin", {"w0": 1e-9}, "w0 must be"),
        ("loonie", {"bpp": -0.3}, "bpp must be "),
        ("loonie", {"rate": "positions"}, "rate must be .*got 'positions'"),
        ("loonie", {"sparsity": Sparsity("nonzeros")}, "sparsity.rate must be .*got 'nonzeros'"),
        ("loonie", {"seed": -1}, "seeds must be"),  # when it fits
    ],
)
def test_network_codec_refuses_impossible_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        get_codec(name, **options).at_bpp(picture(24, 36), 2.0)


# COIN -----------------------------------------------------------------------------------------------------------------

SMALL = Architecture(2, 6)
PARAMETERS = initial_parameters(SMALL, 0).half()


def head(depth=2, width=6, coordinates=0, w0=30.0) -> bytes:
    return struct.pack("<BHBe", depth, width, coordinates, w0)


def test_coin_file_byte_by_byte():
    written = Coin.write(SMALL, PARAMETERS, 20, 30, "coin")
    container = unpack(written)
    assert (container.codec, container.height, container.width) == (16, 20, 30)
    assert list(container.sections) == ["network", "weights"]
    assert container.sections["network"] == bytes([2, 6, 0, 1]) + np.float16(30).tobytes()
    assert container.sections["weights"] == PARAMETERS.numpy().tobytes()
    np.testing.assert_array_equal(codecs.decode(written), render(SMALL, PARAMETERS.float(), 20, 30, "coin").numpy())
    assert Coin.describe(container) == [("network", "2x6, 81 parameters, w0 30"), ("coordinates", "coin")]
    assert Coin.macs_per_pixel(container) == 2 * 6 + 6 * 6 + 6 * 3
    assert len(written) == Coin.file_bytes(SMALL, 20, 30) == 2 * SMALL.n_parameters + 24
    assert get_codec("coin", w0=30.007).architecture.w0 == float(np.float16(30.007)) != 30.007, "as it is stored"


@given(depth=st.integers(1, 13), size=sizes, bpp=rates)
def test_coin_takes_the_widest_network_that_fits(depth, size, bpp):
    def rate(units: int) -> float:
        return 8 * Coin.file_bytes(Architecture(depth, units), *size) / (size[0] * size[1])

    try:
        found = Coin.widest(depth, *size, bpp, w0=25.0)
    except BudgetError as error:
        least = Coin.widest(depth, *size, error.smallest).width
        assert rate(least) == error.smallest > bpp
        assert least == 1 or size == (512, 768), "a large picture needs more than one unit"
        return
    assert (found.depth, found.w0) == (depth, 25.0) and rate(found.width) <= bpp
    assert found.width == 512 or rate(found.width + 1) > bpp


def test_coin_writes_no_file_that_no_decoder_reads(monkeypatch):
    """A picture too large for its network is refused before the fit, not after it."""
    monkeypatch.setattr(network, "fit", lambda *a, **o: pytest.fail("it was fitted first"))
    large = np.zeros((2000, 3000, 3), np.uint8)
    with pytest.raises(ValueError, match="arch=5x10 does not go with 2000 x 3000"):
        get_codec("coin", arch="5x10").encode(large)
    with pytest.raises(BudgetError) as caught:
        get_codec("coin").at_bpp(large, 0.0015)
    least = get_codec("coin").architecture_at(large, math.ceil(1e4 * caught.value.smallest) / 1e4)
    assert codecs.decode(Coin.write(least, torch.zeros(least.n_parameters), 2000, 3000)).shape == large.shape
    narrower = Architecture(least.depth, least.width - 1)
    with pytest.raises(BitstreamError, match="absurd size"):
        codecs.decode(Coin.write(narrower, torch.zeros(narrower.n_parameters), 2000, 3000))


WEIGHTS = PARAMETERS.numpy().tobytes()
MALFORMED = [
    ({"network": head(width=513)}, "width must be .*got 513"),
    ({"network": head(coordinates=2)}, "coordinates number 2"),
    *(({"network": head(w0=w0)}, f"w0 must be .*got {w0}") for w0 in (math.nan, 0.0)),
    ({"network": head() + b"\0"}, "network section"),
    ({"network": head(depth=64, width=512)}, "bytes of weights"),
    ({"weights": WEIGHTS[:-1]}, "bytes of weights"),
    ({"weights": WEIGHTS[:-2] + np.float16(np.inf).tobytes()}, "finite"),
    ({"payload": b""}, "nothing else"),
]


@pytest.mark.parametrize(("sections", "message"), MALFORMED)
def test_coin_refuses_malformed_networks(sections, message):
    sound = {"network": head(), "weights": WEIGHTS}
    assert codecs.decode(pack(Container(Coin.number, 20, 30, sound))).shape == (20, 30, 3)
    with pytest.raises(BitstreamError, match=message):
        codecs.decode(pack(Container(Coin.number, 20, 30, sound | sections)))


# L0onie: its budget ---------------------------------------------------------------------------------------------------


def test_loonie_uses_its_budget_better_than_a_dense_network():
    image, bpp = crop("astronaut", 64, 96), 1.5
    sparse, dense = (codecs.evaluate(get_codec(codec, budget=SOUND), image, bpp) for codec in ("loonie", "coin"))
    assert 0.95 * bpp <= sparse.bpp <= bpp
    assert gained(image, sparse.reconstruction) > 3 and sparse.psnr > dense.psnr + 0.5


def test_loonie_encodes_at_its_own_budget_and_the_sparsity_of_that_rate():
    image, codec = picture(24, 36), get_codec("loonie", arch="3x10", budget=QUICK)
    written = codec.at_bpp(image, 1.2)
    assert written == replace(codec, bpp=1.2).encode(image)
    assert written == replace(codec, sparsity=sparsity_at("file", 1.2, QUICK.steps)).at_bpp(image, 1.2)
    assert written != replace(codec, sparsity=sparsity_at("file", 0.5, QUICK.steps)).at_bpp(image, 1.2)
    assert [name for name, _ in layout(written)] == ["header", "tables", "positions", "values", "checksum"]


def test_loonie_file_of_the_papers_accounting_is_longer_than_its_budget():
    """Gates that do not move leave it to the repair, which keeps as many values as it may; positions come on top."""
    still = Sparsity("nonzeros", gate_lr=1e-9, dual_lr=1e-9, log_alpha=2.0)
    codec = get_codec("loonie", rate="nonzeros", arch="4x20", budget=QUICK, sparsity=still)
    written, size = codec.at_bpp(crop("chelsea", 48, 64), 3.0), Architecture(4, 20).n_parameters
    found, sizes = network_of(written), dict(layout(written))
    assert isinstance(found, Halves) and list(sizes) == ["header", "tables", "positions", "weights", "checksum"]
    nonzeros = int((found.parameters() != 0).sum())
    assert sizes["weights"] == 2 * nonzeros and 0.85 * 3.0 * 48 * 64 <= 16 * nonzeros <= 3.0 * 48 * 64
    share = nonzeros / size
    positions = -size * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert 16 * nonzeros + 0.6 * positions < 8 * len(written) < 16 * nonzeros + positions + 8 * 60
    assert 8 * len(written) > 1.03 * 3.0 * 48 * 64


# L0onie: what is left of a network ------------------------------------------------------------------------------------


def quantised(depth: int, width: int, n_in: int = 2) -> Quantised:
    architecture, generator = Architecture(depth, width, n_in=n_in), torch.Generator().manual_seed(2)
    symbols = torch.randint(1, 20, (architecture.n_parameters,), generator=generator)
    symbols *= torch.randint(0, 2, symbols.shape, generator=generator) * 2 - 1
    return Quantised(architecture, symbols, torch.full((2 * depth + 2,), 100))


@pytest.mark.parametrize("values", ["quantised", "halves"])
def test_loonie_neurons_that_are_gone_cost_nothing_and_zeros_cost_as_weights(values):
    """A 2x4 of which, beside two neurons that nothing reads, one is read by a dead one alone."""
    network = quantised(2, 4, n_in=6)
    (first, _), (second, _), (last, _) = layers(network.architecture, network.symbols[None])
    first[0, 0, 0] = 0  # of a matrix that stays
    for dead, macs in ((False, 6 * 4 + 4 * 4 + 4 * 3), (True, 6 * 2 + 2 * 3 + 3 * 3)):
        if dead:
            second[0, :, 1] = 0  # nothing reads neuron 1 of the first layer
            last[0, :, 2] = 0  # nor neuron 2 of the second
            second[0, :, 3] = torch.tensor([0, 0, 7, 0])  # which alone reads neuron 3 of the first
        halves = Halves(network.architecture, network.parameters().half())
        written = network_weights.write(network if values == "quantised" else halves, 20, 30)
        assert Loonie.macs_per_pixel(unpack(written)) == macs
        whole = render(network.architecture, network.parameters(), 20, 30).numpy().astype(int)
        assert len(np.unique(whole)) > 50 and np.abs(whole - codecs.decode(written)).max() <= 1


# L0onie: what is refused ----------------------------------------------------------------------------------------------


def test_loonie_refuses_a_picture_enormous_for_its_network_before_any_work(monkeypatch):
    """2^26 pixels at 2^15 multiply-accumulates are just too many: 2 w + w^2 + 3 w > 2^15 from 179 on."""
    drawn = []

    def stub(architecture, parameters, height, width, coordinates):
        drawn.append(architecture.width)
        return torch.zeros(1, 1, 3, dtype=torch.uint8)

    monkeypatch.setattr(network, "render", stub)
    monkeypatch.setattr(network, "fit", lambda *a, **o: pytest.fail("it was fitted first"))
    with pytest.raises(BitstreamError, match="absurd size"):
        codecs.decode(network_weights.write(quantised(2, 179), 8192, 8192))
    codecs.decode(network_weights.write(quantised(2, 178), 8192, 8192))
    assert drawn == [178]
    enormous = np.broadcast_to(np.uint8(0), (8192, 8192, 3))
    with pytest.raises(ValueError, match="arch=2x179.*no decoder will draw that"):
        get_codec("loonie", arch="2x179", frequencies=0).at_bpp(enormous, 1.0)

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
import torch

from sparsecomp import codecs, metrics
from sparsecomp.codecs import BudgetError, get_codec
from sparsecomp.codecs.network import Coin
from sparsecomp.coding.container import BitstreamError, Container, pack, unpack
from sparsecomp.models.siren import Architecture, initial_parameters, render
from sparsecomp.profiles import FitBudget

QUICK = FitBudget(steps=30, lr=5e-3, batch_pixels=256, score_every=10)
ARCHITECTURE = Architecture(2, 6)


def picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([127 + 100 * np.sin(x / 9 + y / 7 + c) for c in range(3)], axis=-1).round().astype(np.uint8)


def network(depth=2, width=6, coordinates=0, w0=30.0) -> bytes:
    return struct.pack("<BHBe", depth, width, coordinates, w0)


def file_with(height=20, width=30, **sections: bytes) -> bytes:
    weights = initial_parameters(ARCHITECTURE, 0).numpy().astype("<f2").tobytes()
    return pack(Container(Coin.number, height, width, {"network": network(), "weights": weights} | sections))


def test_the_file_byte_by_byte():
    parameters = initial_parameters(ARCHITECTURE, 1).half()
    written = Coin.write(ARCHITECTURE, parameters, 20, 30, "coin")
    container = unpack(written)
    assert (container.codec, container.height, container.width) == (16, 20, 30)
    assert list(container.sections) == ["network", "weights"]
    assert container.sections["network"] == bytes([2, 6, 0, 1]) + np.float16(30).tobytes()
    assert container.sections["weights"] == parameters.numpy().tobytes()
    np.testing.assert_array_equal(
        codecs.decode(written), render(ARCHITECTURE, parameters.float(), 20, 30, "coin").numpy()
    )
    other = Coin.write(ARCHITECTURE, parameters, 20, 30, "per_axis")
    assert (codecs.decode(other) != codecs.decode(written)).any()


@pytest.mark.parametrize(
    ("name", "overhead"), [("5x20", 26), ("5x30", 26), ("10x28", 26), ("10x40", 27), ("13x49", 27)]
)
def test_what_a_kodak_file_costs_beside_its_parameters(name, overhead):
    architecture = Architecture.parse(name)
    written = Coin.write(architecture, torch.zeros(architecture.n_parameters), 512, 768)
    assert len(written) == Coin.file_bytes(architecture, 512, 768) == 2 * architecture.n_parameters + overhead


@pytest.mark.parametrize(("bpp", "name"), [(0.0740, "5x20"), (0.160, "5x30"), (0.31, "10x28"), (0.62, "10x40")])
def test_the_papers_networks_at_the_papers_rates(bpp, name):
    kodak = np.zeros((512, 768, 3), np.uint8)
    assert str(get_codec("coin").architecture_at(kodak, bpp)) == name
    assert str(get_codec("coin").architecture_at(kodak.transpose(1, 0, 2), bpp)) == name


@pytest.mark.parametrize("size", [(512, 768), (100, 100), (12, 20), (1, 300)])
@pytest.mark.parametrize("bpp", [0.01, 0.05, 0.3, 1.0, 8.0, 60.0])
@pytest.mark.parametrize("depth", [1, 5, 13])
def test_the_widest_network_that_fits(depth, bpp, size):
    height, width = size
    rate = lambda units: 8 * Coin.file_bytes(Architecture(depth, units), height, width) / (height * width)  # noqa: E731
    try:
        found = Coin.widest(depth, height, width, bpp, w0=25.0)
    except BudgetError as error:
        assert rate(1) == error.smallest > bpp
        shown = float(str(error).split("bpp=")[-1])
        assert Coin.widest(depth, height, width, shown).width == 1, "what the message says must do"
        return
    assert found.depth == depth and found.w0 == 25.0
    assert rate(found.width) <= bpp
    assert found.width == 512 or rate(found.width + 1) > bpp


def test_no_file_is_written_that_no_decoder_reads():
    """A picture too large for its network is refused before the fit, not after it."""
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


def test_a_fit_is_better_than_one_colour_and_its_seed_counts():
    image, files = picture(24, 36), []
    for seed in (3, 3, 4):
        coin = get_codec("coin", arch="3x10", coordinates="coin", w0=20.0, budget=QUICK, seed=seed)
        files.append(coin.encode(image))
    assert files[0] == files[1] != files[2]
    constant = np.broadcast_to(image.mean((0, 1)).round().astype(np.uint8), image.shape)
    one_colour = metrics.psnr(reference=image, reconstruction=constant)
    assert metrics.psnr(reference=image, reconstruction=coin.decode(files[0])) > one_colour


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 1)])
def test_thin_pictures(size):
    measured = codecs.evaluate(get_codec("coin", arch="1x4", budget=QUICK), picture(*size))
    assert measured.reconstruction.shape == (*size, 3)
    assert measured.bytes == Coin.file_bytes(Architecture(1, 4), *size)


def test_at_bpp_writes_what_it_promises():
    image, told = picture(30, 40), []
    coin = get_codec("coin", budget=QUICK, on_score=lambda step, scores: told.append(step))
    written = coin.at_bpp(image, 2.0)
    assert 8 * len(written) / 1200 <= 2.0
    container = unpack(written)
    architecture, coordinates = Coin.read_network(container)
    assert architecture == coin.architecture_at(image, 2.0) and coordinates == "per_axis"
    assert told == [10, 20, 30]
    assert coin.macs_per_pixel(container) == sum(out * inp for out, inp in architecture.shapes)
    with pytest.raises(BudgetError):
        coin.at_bpp(image, 0.1)


def test_w0_is_used_as_it_is_stored():
    coin = get_codec("coin", w0=30.007)
    assert coin.architecture.w0 == float(np.float16(30.007)) != 30.007
    for w0 in (0, -1.0, 1e-9, 2000.0, math.nan):
        with pytest.raises(ValueError, match="w0 must be"):
            get_codec("coin", w0=w0)


@pytest.mark.parametrize(
    "options", [{"arch": "28"}, {"arch": "0x5"}, {"coordinates": "polar"}, {"width": 3}, {"arch": "65x3"}]
)
def test_impossible_options(options):
    with pytest.raises(ValueError):
        get_codec("coin", **options)


WEIGHTS = initial_parameters(ARCHITECTURE, 0).numpy().astype("<f2")


def spoiled(value: float, at: int) -> bytes:
    weights = WEIGHTS.copy()
    weights[at] = value
    return weights.tobytes()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"network": network(depth=0)}, "depth must be .*got 0"),
        ({"network": network(depth=65)}, "depth must be .*got 65"),
        ({"network": network(width=0)}, "width must be .*got 0"),
        ({"network": network(width=513)}, "width must be .*got 513"),
        ({"network": network(coordinates=2)}, "coordinates number 2"),
        ({"network": network(w0=math.nan)}, "w0 must be .*got nan"),
        ({"network": network(w0=math.inf)}, "w0 must be .*got inf"),
        ({"network": network(w0=0.0)}, "w0 must be .*got 0.0"),
        ({"network": network(w0=-30.0)}, "w0 must be .*got -30.0"),
        ({"network": network(w0=1001.0)}, "w0 must be .*got 1001.0"),
        ({"network": b""}, "network section"),
        ({"network": network()[:-1]}, "network section"),
        ({"network": network() + b"\0"}, "network section"),
        ({"network": network(width=7)}, "bytes of weights"),
        ({"network": network(depth=64, width=512)}, "bytes of weights"),
        ({"weights": b""}, "bytes of weights"),
        ({"weights": WEIGHTS.tobytes()[:-1]}, "bytes of weights"),
        ({"weights": WEIGHTS.tobytes() + b"\0\0"}, "bytes of weights"),
        ({"weights": spoiled(math.nan, 0)}, "not a finite number"),
        ({"weights": spoiled(math.inf, -1)}, "not a finite number"),
        ({"weights": spoiled(-math.inf, 40)}, "not a finite number"),
        ({"payload": b""}, "nothing else"),
    ],
)
def test_malformed_networks(sections, message):
    assert codecs.decode(file_with()).shape == (20, 30, 3), "the file is sound before it is spoiled"
    with pytest.raises(BitstreamError, match=message):
        codecs.decode(file_with(**sections))


def test_malformed_files():
    with pytest.raises(BitstreamError, match="nothing else"):
        codecs.decode(pack(Container(Coin.number, 20, 30, {"network": network()})))
    with pytest.raises(BitstreamError, match="absurd size"):
        codecs.decode(file_with(height=8000, width=8000))

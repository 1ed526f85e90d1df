"""L0onie from picture to file and back: its budget, its bytes, and what it takes and refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sparsecomp import codecs, metrics, network_weights
from sparsecomp.codecs import BudgetError, get_codec, network
from sparsecomp.codecs.network import Loonie
from sparsecomp.coding.container import BitstreamError, Container, layout, pack, unpack
from sparsecomp.data import bundled
from sparsecomp.models.siren import Architecture, layers, render
from sparsecomp.profiles import FitBudget, Sparsity, sparsity_at

QUICK = FitBudget(steps=60, lr=5e-3, batch_pixels=256, score_every=20, schedule="quadratic")
SOUND = FitBudget(steps=200, lr=2e-3, batch_pixels=4096, score_every=50, schedule="quadratic")
DYING = Sparsity("file", gates="median", structured=True, log_alpha=-1.55)  # a neuron in three has its gate shut


def picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([127 + 100 * np.sin(x / 9 + y / 7 + c) for c in range(3)], axis=-1).round().astype(np.uint8)


def crop(name: str, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(bundled()[name][100 : 100 + height, 100 : 100 + width])


def network_of(data: bytes) -> network_weights.Quantised | network_weights.Halves:
    return network_weights.decode(unpack(data).sections)


# The budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "bpp"),
    [("coffee", (96, 128), 0.3), ("astronaut", (96, 128), 1.5), ("chelsea", (128, 64), 0.8), (None, (60, 90), 1)],
)
def test_a_file_is_within_its_budget_and_uses_it(name, size, bpp):
    image = crop(name, *size) if name else picture(*size)
    measured = codecs.evaluate(get_codec("loonie", budget=SOUND), image, bpp)
    assert measured.codec == "loonie" and measured.bytes == len(measured.data)
    assert 0.95 * bpp <= measured.bpp == 8 * measured.bytes / (size[0] * size[1]) <= bpp
    assert measured.psnr == metrics.psnr(reference=image, reconstruction=codecs.decode(measured.data))
    constant = np.broadcast_to(image.mean((0, 1)).round().astype(np.uint8), image.shape)
    assert measured.psnr > metrics.psnr(reference=image, reconstruction=constant) + 3


@pytest.mark.parametrize("bpp", [0.3, 1.5])
def test_it_draws_better_than_a_dense_network_of_as_many_bytes(bpp):
    image, budget = crop("chelsea", 96, 128), replace(SOUND, steps=300)
    sparse = codecs.evaluate(get_codec("loonie", budget=budget), image, bpp)
    dense = codecs.evaluate(get_codec("coin", budget=budget), image, bpp)
    assert sparse.bpp <= bpp and dense.bpp <= bpp
    assert sparse.psnr > dense.psnr + 1


def test_encode_is_at_bpp_of_its_own_budget():
    image = picture(30, 40)
    written = get_codec("loonie", bpp=1.5, budget=QUICK).encode(image)
    assert written == get_codec("loonie", budget=QUICK).at_bpp(image, 1.5)
    assert 8 * len(written) <= 1.5 * 1200


@pytest.mark.parametrize("bpp", [0.5, 1.5])
def test_the_papers_accounting_counts_values_and_nothing_else(bpp):
    image = crop("chelsea", 96, 128)
    written = get_codec("loonie", rate="nonzeros", budget=SOUND).at_bpp(image, bpp)
    network, sizes = network_of(written), dict(layout(written))
    assert isinstance(network, network_weights.Halves) and network.architecture.n_in == 2
    nonzeros = int((network.parameters() != 0).sum())
    assert 0.3 * bpp * 96 * 128 <= 16 * nonzeros <= bpp * 96 * 128
    assert list(sizes) == ["header", "tables", "positions", "weights", "checksum"]
    assert sizes["weights"] == 2 * nonzeros and sizes["positions"] > 0 and sum(sizes.values()) == len(written)


def test_a_file_of_the_papers_accounting_is_longer_than_its_budget():
    """Gates that do not move leave it to the repair, which keeps as many values as it may; positions come on top."""
    still = Sparsity("nonzeros", gate_lr=1e-9, dual_lr=1e-9, log_alpha=2.0)
    image = crop("chelsea", 48, 64)
    written = get_codec("loonie", rate="nonzeros", arch="4x20", budget=QUICK, sparsity=still).at_bpp(image, 3.0)
    nonzeros = int((network_of(written).parameters() != 0).sum())
    assert 0.85 * 3.0 * 48 * 64 <= 16 * nonzeros <= 3.0 * 48 * 64
    share = nonzeros / Architecture(4, 20).n_parameters
    positions = -Architecture(4, 20).n_parameters * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert 16 * nonzeros + 0.6 * positions < 8 * len(written) < 16 * nonzeros + positions + 8 * 60
    assert 8 * len(written) > 1.03 * 3.0 * 48 * 64


def test_what_a_file_spends_its_bytes_on():
    image = picture(40, 60)
    written = get_codec("loonie", budget=QUICK).at_bpp(image, 1.2)
    sizes, network = dict(layout(written)), network_of(written)
    assert list(sizes) == ["header", "tables", "positions", "values", "checksum"]
    assert sum(sizes.values()) == len(written) and sizes["checksum"] == 4
    assert sizes["tables"] == 6 + 3 * 2 * (network.architecture.depth + 1), "header of the network; 3 bytes a matrix"
    assert sizes["values"] > 0.6 * len(written)


@pytest.mark.parametrize("size", [(12, 20), (24, 40), (64, 64), (96, 128), (512, 768), (1, 300)])
def test_a_budget_that_is_too_small_names_one_that_is_not(size):
    image, refused = np.zeros((*size, 3), np.uint8), 0
    for rate in ("file", "nonzeros"):
        codec = get_codec("loonie", rate=rate)
        for bpp in (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1, 3):
            try:
                assert codec.architecture_at(image, bpp).n_parameters > 0
            except BudgetError as error:
                assert error.smallest > bpp and str(error).startswith("loonie: ")
                refused += 1
                for enough in (float(str(error).split("bpp=")[-1]), error.smallest):
                    assert codec.architecture_at(image, enough).n_parameters > 0
    assert refused > 0


@pytest.mark.parametrize("size", [(12, 20), (24, 40), (64, 64)])
@pytest.mark.parametrize("arch", [None, "3x8"])
def test_a_budget_of_hardly_more_than_an_empty_network_is_kept(arch, size):
    image = crop("coffee", *size)  # red: of the last biases, at the coarsest step one is 1 and two are 0
    codec, bpp = get_codec("loonie", arch=arch, budget=replace(QUICK, steps=20)), 1e-4
    while True:
        try:
            codec.architecture_at(image, bpp)
            break
        except BudgetError as error:
            assert error.smallest > bpp
            bpp = error.smallest
    for enough in (bpp, 1.05 * bpp, 1.3 * bpp):
        written = codec.at_bpp(image, enough)
        assert 8 * len(written) <= enough * size[0] * size[1]
        assert codecs.decode(written).shape == image.shape


# The network it begins with -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bpp", "name"), [(0.15, "10x28"), (0.3, "10x40")])
def test_the_papers_networks_at_the_papers_rates(bpp, name):
    """Ramirez & Gallego-Posada 2022 bring COIN's networks down to about half."""
    kodak = np.zeros((512, 768, 3), np.uint8)
    for image in (kodak, kodak.transpose(1, 0, 2)):
        assert str(get_codec("loonie").architecture_at(image, bpp)) == name
    assert get_codec("loonie").architecture_at(kodak, bpp).n_in == 2 + 4 * 3
    assert get_codec("loonie", rate="nonzeros").architecture_at(kodak, bpp).n_in == 2


@pytest.mark.parametrize("coordinates", ["per_axis", "coin"])
@pytest.mark.parametrize("frequencies", [0, 2])
def test_the_network_is_what_was_asked_for(frequencies, coordinates):
    image, told = picture(24, 36), []
    codec = get_codec(
        "loonie", arch="3x9", frequencies=frequencies, coordinates=coordinates, budget=QUICK,
        on_score=lambda step, scores: told.append((step, len(scores))),
    )  # fmt: skip
    measured = codecs.evaluate(codec, image, 2.0)
    network = network_of(measured.data)
    assert (str(network.architecture), network.architecture.n_in) == ("3x9", 2 + 4 * frequencies)
    assert network.coordinates == coordinates
    assert told == [(20, 1), (40, 1), (60, 1)]
    drawn = render(network.architecture, network.parameters(), 24, 36, coordinates).numpy()
    np.testing.assert_array_equal(measured.reconstruction, drawn)
    constant = np.broadcast_to(image.mean((0, 1)).round().astype(np.uint8), image.shape)
    assert measured.psnr > metrics.psnr(reference=image, reconstruction=constant) + 1


def test_the_game_is_that_of_the_rate_and_the_length():
    image = picture(24, 36)
    written = get_codec("loonie", budget=QUICK).at_bpp(image, 2.0)
    same = get_codec("loonie", budget=QUICK, sparsity=sparsity_at("file", 2.0, QUICK.steps))
    assert same.at_bpp(image, 2.0) == written
    other = get_codec("loonie", budget=QUICK, sparsity=sparsity_at("file", 0.5, QUICK.steps))
    assert other.at_bpp(image, 2.0) != written


# The same picture everywhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 1)])
def test_thin_pictures(size):
    image, bpp = picture(*size), 8 * 70 / (size[0] * size[1])
    measured = codecs.evaluate(get_codec("loonie", arch="1x4", budget=QUICK), image, bpp)
    assert measured.reconstruction.shape == image.shape
    assert measured.bytes <= 70 and measured.bpp <= bpp


# Neurons that died ----------------------------------------------------------------------------------------------------


def with_dead_neurons() -> network_weights.Quantised:
    """A 2x4 of which, beside two neurons that nothing reads, one is read by a dead one alone."""
    architecture = Architecture(2, 4, n_in=6)
    generator = torch.Generator().manual_seed(2)
    symbols = torch.randint(1, 20, (architecture.n_parameters,), generator=generator)
    symbols *= torch.randint(0, 2, symbols.shape, generator=generator) * 2 - 1
    _, (second, _), (last, _) = layers(architecture, symbols[None])
    second[0, :, 1] = 0  # nothing reads neuron 1 of the first layer
    last[0, :, 2] = 0  # nor neuron 2 of the second
    second[0, :, 3] = torch.tensor([0, 0, 7, 0])  # which alone reads neuron 3 of the first
    return network_weights.Quantised(architecture, symbols, torch.full((6,), 100))


def test_neurons_that_are_gone_cost_nothing():
    network = with_dead_neurons()
    written = network_weights.write(network, 20, 30)
    by_hand = 6 * 2 + 2 * 3 + 3 * 3
    assert Loonie.macs_per_pixel(unpack(written)) == by_hand
    measured = codecs.measure(written, picture(20, 30), encode_seconds=0.0)
    assert measured.macs_per_pixel == by_hand and isinstance(measured.macs_per_pixel, float)
    whole = render(network.architecture, network.parameters(), 20, 30).numpy().astype(int)
    assert np.abs(whole - codecs.decode(written)).max() <= 1, "another picture without them"
    assert len(np.unique(whole)) > 50
    halves = network_weights.Halves(network.architecture, network.parameters().half())
    assert Loonie.macs_per_pixel(unpack(network_weights.write(halves, 20, 30))) == by_hand


def test_a_zero_within_a_matrix_costs_as_much_as_any_weight():
    image = picture(30, 40)
    written = get_codec("loonie", rate="nonzeros", arch="3x12", budget=QUICK).at_bpp(image, 2.5)
    network = network_of(written)
    assert (network.parameters() == 0).any()
    widths = [int((bias[0, :, 0] != 0).sum()) for _, bias in layers(network.architecture, network.parameters()[None])]
    assert Loonie.macs_per_pixel(unpack(written)) >= 2 * widths[0] + widths[0] * widths[1]
    if unpack(written).sections["tables"][1] < 0x80:  # none is gone
        assert Loonie.macs_per_pixel(unpack(written)) == sum(a * b for a, b in network.architecture.shapes)


def test_gates_of_neurons_make_the_network_smaller():
    image, codec = picture(24, 40), get_codec("loonie", arch="3x12", budget=QUICK, sparsity=DYING)
    written = codec.at_bpp(image, 4.0)
    assert unpack(written).sections["tables"][1] & 0x80, "no neuron died"
    dense = sum(out * inp for out, inp in codec.architecture_at(image, 4.0).shapes)
    assert 0 < Loonie.macs_per_pixel(unpack(written)) < 0.8 * dense
    assert codecs.decode(written).shape == image.shape and 8 * len(written) <= 4.0 * 960


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bpp": 0}, "bpp must be .*"),
        ({"bpp": -0.3}, "bpp must be .*"),
        ({"bpp": math.nan}, "bpp must be .*"),
        ({"bpp": math.inf}, "bpp must be .*"),
        ({"bpp": "0.3"}, "bpp must be .*"),
        ({"rate": "positions"}, "rate must be .*got 'positions'"),
        ({"rate": "bytes"}, "rate must be .*got 'bytes'"),
        ({"coordinates": "polar"}, "coordinates must be .*got 'polar'"),
        ({"frequencies": -1}, "frequencies must be .*got -1"),
        ({"frequencies": 8}, "frequencies must be .*got 8"),
        ({"frequencies": 1.5}, "frequencies must be .*got 1.5"),
        ({"arch": "28"}, "DEPTHxWIDTH"),
        ({"arch": "0x5"}, "depth must be .*got 0"),
        ({"arch": "3x513"}, "width must be .*got 513"),
        ({"arch": 28}, "28"),
        ({"sparsity": Sparsity("nonzeros")}, "sparsity.rate must be .*got 'nonzeros'"),
        ({"sparsity": Sparsity("file"), "rate": "nonzeros"}, "sparsity.rate must be .*got 'file'"),
        ({"w0": 30.0}, "no option 'w0'"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        get_codec("loonie", **options)


def test_impossible_calls():
    image, codec = picture(24, 36), get_codec("loonie", budget=QUICK)
    with pytest.raises(ValueError, match="seeds must be .*"):
        replace(codec, seed=-1).at_bpp(image, 2.0)


def test_sections_must_be_a_networks():
    sections = unpack(network_weights.write(with_dead_neurons(), 20, 30)).sections
    for wrong in (
        {"payload": b"junk"}, sections | {"payload": b""}, sections | {"weights": b""},
        {name: body for name, body in sections.items() if name != "values"},
    ):  # fmt: skip
        with pytest.raises(BitstreamError, match="sections"):
            codecs.decode(pack(Container(Loonie.number, 20, 30, wrong)))


def wide(width: int) -> network_weights.Quantised:
    architecture = Architecture(2, width)
    symbols = torch.randint(-3, 4, (architecture.n_parameters,), generator=torch.Generator().manual_seed(0))
    return network_weights.Quantised(architecture, symbols, torch.full((6,), 80))


def test_a_picture_enormous_for_its_network_is_refused_before_it_is_drawn(monkeypatch):
    """2^26 pixels at 2^15 multiply-accumulates are just too many: 2 w + w^2 + 3 w > 2^15 from 179 on."""
    drawn = []

    def stub(architecture, parameters, height, width, coordinates):
        drawn.append((architecture.width, height, width))
        return torch.zeros(1, 1, 3, dtype=torch.uint8)

    monkeypatch.setattr(network, "render", stub)
    assert 179 * 184 > 2**15 > 178 * 183
    for container in (network_weights.write(wide(179), 8192, 8192), network_weights.write(wide(400), 8192, 4096)):
        with pytest.raises(BitstreamError, match="absurd size"):
            codecs.decode(container)
        assert drawn == []
    codecs.decode(network_weights.write(wide(178), 8192, 8192))
    codecs.decode(network_weights.write(wide(400), 4096, 3072))
    assert drawn == [(178, 8192, 8192), (400, 4096, 3072)]


def test_a_picture_enormous_for_its_network_is_not_begun(monkeypatch):
    monkeypatch.setattr(network, "fit", None)
    enormous = np.broadcast_to(np.uint8(0), (8192, 8192, 3))
    with pytest.raises(ValueError, match="arch=2x179.*no decoder will draw that"):
        get_codec("loonie", arch="2x179", frequencies=0).at_bpp(enormous, 1.0)
    with pytest.raises(ValueError, match="arch=2x178.*no decoder will draw that"):
        get_codec("loonie", arch="2x178", frequencies=1).at_bpp(enormous, 1.0)
    assert get_codec("loonie", arch="2x178", frequencies=0).architecture_at(enormous, 1.0).width == 178


def test_no_memory_for_a_picture_is_told(monkeypatch):
    def full(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(network, "render", full)
    with pytest.raises(BitstreamError, match="no memory to draw 20 x 30"):
        codecs.decode(network_weights.write(with_dead_neurons(), 20, 30))

"""Sparse networks as bytes: round trips, lengths against entropies, tables pinned, and damage of every kind."""

from __future__ import annotations

import hashlib
import math
import random
import struct

import constriction
import numpy as np
import pytest
import torch
from scipy.special import erf

from sparsecomp.coding import quantize, weights
from sparsecomp.coding.bitstream import BitstreamError, layout, unpack
from sparsecomp.coding.weights import (
    MOST,
    SCALES,
    TOTAL,
    Halves,
    Quantised,
    decode,
    density_of,
    differences,
    encode,
    macs_per_pixel,
    magnitudes,
    scale_of,
    write,
)
from sparsecomp.models.siren import Architecture, forward, initial_parameters, layers, positions, render

Network = Quantised | Halves


def quantised(architecture: Architecture, theta: torch.Tensor, seed: int = 0, coordinates="per_axis") -> Quantised:
    """With steps of about 1/350 to 1/1,900, another one for every matrix."""
    steps = torch.randint(135, 175, (2 * (architecture.depth + 1),), generator=torch.Generator().manual_seed(seed))
    symbols = (theta / quantize.step_of(steps)[quantize.tensor_of(architecture)]).round().long()
    return Quantised(architecture, symbols, steps, coordinates)


def theta_of(architecture: Architecture, density: float, seed: int) -> torch.Tensor:
    mask = torch.rand(architecture.n_parameters, generator=torch.Generator().manual_seed(seed + 1000)) < density
    return initial_parameters(architecture, seed) * mask


def make(kind: str, depth: int, width: int, density: float, n_in: int = 2, seed: int = 0) -> Network:
    architecture = Architecture(depth, width, n_in=n_in)
    coordinates = ("per_axis", "coin")[seed % 2]
    theta = theta_of(architecture, density, seed)
    if kind == "halves":
        return Halves(architecture, theta.half(), coordinates)
    network = quantised(architecture, theta, seed, coordinates)
    if kind == "outliers":
        at = torch.randint(len(theta), (5,), generator=torch.Generator().manual_seed(seed))
        network.symbols[at] = torch.tensor([MOST, -MOST, MOST + 1, -(10**9), 54_321])
    return network


def tiny() -> Quantised:
    """Another network every reader can write down: 2x3, symbols -8 to 8 without randomness."""
    architecture = Architecture(2, 3)
    symbols = torch.tensor([(7 * i * i + 3 * i) % 17 - 8 for i in range(architecture.n_parameters)])
    return Quantised(architecture, symbols, torch.tensor([96, 100, 104, 108, 112, 116]))


def matrices_of(architecture: Architecture, parameters: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(w[0].double().numpy(), b[0, :, 0].double().numpy()) for w, b in layers(architecture, parameters[None])]


def canonical_by_hand(network: Network) -> list[tuple[np.ndarray, np.ndarray]]:
    """What the file should hold, neuron by neuron: none that is dead; biases that are not negative, in ascending order
    (the latter not for `Halves`)."""
    values = network.parameters()
    if isinstance(network, Quantised):
        clipped = network.symbols.clamp(-MOST, MOST)
        values = Quantised(network.architecture, clipped, network.steps).parameters()
    matrices, changed = matrices_of(network.architecture, values), True
    while changed:
        changed = False
        for layer in range(network.architecture.depth):
            (weight, bias), (after, after_bias) = matrices[layer], matrices[layer + 1]
            for unit in reversed(range(len(bias))):
                if not after[:, unit].any() or not (weight[unit].any() or bias[unit]):
                    weight, bias = np.delete(weight, unit, 0), np.delete(bias, unit)
                    after, changed = np.delete(after, unit, 1), True
            matrices[layer], matrices[layer + 1] = (weight, bias), (after, after_bias)
    if isinstance(network, Halves):
        return matrices
    for layer in range(network.architecture.depth):
        (weight, bias), (after, after_bias) = matrices[layer], matrices[layer + 1]
        for unit in range(len(bias)):
            if bias[unit] < 0:
                weight[unit], bias[unit], after[:, unit] = -weight[unit], -bias[unit], -after[:, unit]
        order = sorted(range(len(bias)), key=lambda unit, bias=bias: bias[unit])
        matrices[layer], matrices[layer + 1] = (weight[order], bias[order]), (after[:, order], after_bias)
    return matrices


def check_round_trip(network: Network) -> dict[str, bytes]:
    """Everything that must hold of a network, its file, and the network that is read from it."""
    sections = encode(network)
    found = decode(sections)
    assert type(found) is type(network) and found.coordinates == network.coordinates
    assert encode(found) == sections, "another file of the same network"
    expected = canonical_by_hand(network)
    widths = [len(bias) for _, bias in expected[:-1]]
    was = network.architecture
    assert found.architecture == Architecture(was.depth, max(1, *widths), was.w0, was.n_in)
    for (weight, bias), (large, large_bias) in zip(
        expected, matrices_of(found.architecture, found.parameters()), strict=True
    ):
        np.testing.assert_array_equal(large[: weight.shape[0], : weight.shape[1]], weight)
        np.testing.assert_array_equal(large_bias[: len(bias)], bias)
        assert np.count_nonzero(large) == np.count_nonzero(weight), "something in the padding"
        assert np.count_nonzero(large_bias) == np.count_nonzero(bias)
    dims = [was.n_in, *widths, 3]
    assert macs_per_pixel(sections) == sum(a * b for a, b in zip(dims[:-1], dims[1:], strict=True))
    if isinstance(network, Quantised):
        assert torch.equal(found.steps, network.steps)
        assert int(found.symbols.abs().max()) <= MOST
    return sections


def seen(architecture: Architecture, parameters: torch.Tensor) -> torch.Tensor:
    inputs = positions(11, 9, n_in=architecture.n_in).double()
    return forward(architecture, parameters[None].double(), inputs[None])[0]


# Round trips ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["quantised", "halves"])
@pytest.mark.parametrize("n_in", [2, 14])
@pytest.mark.parametrize("density", [0, 0.02, 0.3, 0.5, 1])
@pytest.mark.parametrize(("depth", "width"), [(1, 1), (1, 40), (2, 7), (4, 20), (7, 13), (12, 1), (12, 17), (10, 40)])
def test_the_picture_of_the_file_is_the_picture_of_the_network(depth, width, density, n_in, kind):
    network = make(kind, depth, width, density, n_in, seed=depth + width)
    found = decode(encode(network))
    check_round_trip(network)
    before, after = (
        render(one.architecture, one.parameters(), 13, 8, one.coordinates).int() for one in (network, found)
    )
    assert (before - after).abs().max() <= 1
    in_double = [seen(one.architecture, one.parameters()) for one in (network, found)]
    torch.testing.assert_close(*in_double, atol=1e-9, rtol=0)


@pytest.mark.parametrize("seed", range(12))
def test_values_beyond_the_most_are_clipped(seed):
    depth, width = 1 + seed % 3, 5 + 7 * (seed % 4)
    network = make("outliers", depth, width, 0.9, seed=seed)
    assert int(network.symbols.abs().max()) == 10**9
    found = decode(check_round_trip(network))
    assert int(found.symbols.abs().max()) == MOST
    clipped = Quantised(network.architecture, network.symbols.clamp(-MOST, MOST), network.steps)
    torch.testing.assert_close(
        seen(found.architecture, found.parameters()), seen(clipped.architecture, clipped.parameters()),
        atol=1e-5, rtol=1e-9,
    )  # fmt: skip


@pytest.mark.parametrize("deviation", [0.3, 3, 100, 3_000, 8_000, 20_000, 40_000])
def test_matrices_of_every_scale(deviation):
    """The widest Gaussian table ends at 52,586; values of deviation 20,000 and more go beyond it."""
    architecture = Architecture(2, 20)
    symbols = deviation * torch.randn(architecture.n_parameters, generator=torch.Generator().manual_seed(0))
    check_round_trip(Quantised(architecture, symbols.round().long(), torch.full((6,), 255)))


@pytest.mark.parametrize("value", [1, -1, 2, 1000, 52_586, 52_587, MOST, -MOST])
def test_matrices_of_one_value(value):
    architecture = Architecture(2, 6)
    check_round_trip(Quantised(architecture, torch.full((architecture.n_parameters,), value), torch.arange(6)))


def test_every_step_can_be_written():
    architecture = Architecture(4, 3)
    for first in range(0, 256, 10):
        steps = torch.arange(first, first + 10).clamp(max=255)
        check_round_trip(Quantised(architecture, torch.arange(architecture.n_parameters) % 7 - 3, steps))


@pytest.mark.parametrize("seed", range(20))
def test_biases_of_either_sign_with_ties_and_zeros(seed):
    generator = torch.Generator().manual_seed(seed)
    architecture = Architecture(3, 12)
    symbols = torch.randint(-2, 3, (architecture.n_parameters,), generator=generator)
    check_round_trip(Quantised(architecture, symbols, torch.full((8,), 100)))


@pytest.mark.parametrize("wide", [0, 3, 7])
def test_one_layer_much_wider_than_the_others_is_refused_at_once_or_can_be_read(wide):
    """The full rectangle of the widest layer has two million parameters, of which 2,000 are written."""
    architecture = Architecture(8, 512)
    symbols = torch.zeros(1, architecture.n_parameters, dtype=torch.int64)
    for layer, (weight, bias) in enumerate(layers(architecture, symbols)):
        out = 512 if layer == wide else (3 if layer == 8 else 1)
        inp = 512 if layer == wide + 1 else (1 if layer else 2)
        weight[0, :out, :inp] = 1 + torch.arange(out * inp).view(out, inp) % 3
        bias[0, :out, 0] = torch.arange(out) + 1
    try:
        sections = encode(Quantised(architecture, symbols[0], torch.full((18,), 100)))
    except ValueError:
        return
    assert encode(decode(sections)) == sections


@pytest.mark.parametrize("w0", [0.5, 10.0, 30.0, 44.4, 1000.0])
def test_the_frequency_is_kept_in_sixteen_bits(w0):
    architecture = Architecture(2, 3, w0=w0)
    found = decode(encode(Quantised(architecture, torch.arange(architecture.n_parameters), torch.arange(6))))
    assert found.architecture.w0 == float(np.float16(w0))


def test_the_argument_stays_as_it_was():
    for kind in ("outliers", "halves"):
        network = make(kind, 3, 8, 0.5)
        copy = [value.clone() for value in vars(network).values() if isinstance(value, torch.Tensor)]
        encode(network)
        now = [value for value in vars(network).values() if isinstance(value, torch.Tensor)]
        assert all(torch.equal(a, b) for a, b in zip(copy, now, strict=True))


def test_what_the_decoder_draws_with_is_steps_times_symbols():
    network = make("quantised", 2, 5, 1)
    at, values = 0, network.symbols.tolist()
    for number, (out, inp) in enumerate(network.architecture.shapes):
        for tensor, size in ((2 * number, out * inp), (2 * number + 1, out)):
            step = np.float32(2.0 ** (-int(network.steps[tensor]) / 16))
            expected = [float(np.float32(v) * step) for v in values[at : at + size]]
            assert network.parameters()[at : at + size].tolist() == pytest.approx(expected, rel=2e-7)
            at += size


def test_mirrored_and_shuffled_networks_have_one_file():
    """The symmetries of a SIREN: its neurons in any order, each with either sign."""
    network = make("quantised", 3, 9, 1, seed=4)
    biases = [b[0, :, 0] for _, b in layers(network.architecture, network.symbols[None])]
    assert all(len(set(b.abs().tolist())) == len(b) and (b != 0).all() for b in biases[:-1]), "ties would be anybody's"
    generator, turned = torch.Generator().manual_seed(0), network.symbols.clone()[None]
    pairs = layers(network.architecture, turned)
    for layer in range(3):
        order = torch.randperm(9, generator=generator)
        sign = torch.randint(0, 2, (9,), generator=generator) * 2 - 1
        pairs[layer][0][0] = pairs[layer][0][0][order] * sign[:, None]
        pairs[layer][1][0, :, 0] = pairs[layer][1][0, :, 0][order] * sign
        pairs[layer + 1][0][0] = pairs[layer + 1][0][0][:, order] * sign
    other = Quantised(network.architecture, turned[0], network.steps, network.coordinates)
    assert not torch.equal(other.symbols, network.symbols)
    assert encode(other) == encode(network)


# Lengths --------------------------------------------------------------------------------------------------------------


def ideal_gaussian_bits(symbols: np.ndarray, deviation: float) -> float:
    """Cost of whole numbers that are not 0 under a Gaussian of this deviation, cut into cells of width 1."""

    def mass(q: np.ndarray) -> np.ndarray:
        return (erf((q + 0.5) / deviation / math.sqrt(2)) - erf((q - 0.5) / deviation / math.sqrt(2))) / 2

    return float(-np.log2(mass(symbols) / (1 - mass(np.zeros(1)))).sum())


def entropy(p: float) -> float:
    return 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def without_zeros(values: np.ndarray) -> torch.Tensor:
    rounded = np.rint(values)
    return torch.from_numpy(np.where(rounded == 0, 1, rounded).astype(np.int64))


def with_biases(architecture: Architecture, symbols: torch.Tensor, biases: float | np.ndarray) -> Quantised:
    """The weights ``symbols`` with other biases in the sine layers, and none in the last."""
    symbols = symbols.clone()
    for layer, (_, bias) in enumerate(layers(architecture, symbols[None])):
        last = layer == architecture.depth
        bias[0, :, 0] = 0 if last else torch.as_tensor(biases if np.isscalar(biases) else biases[layer])
    return Quantised(architecture, symbols, torch.full((2 * (architecture.depth + 1),), 100))


@pytest.mark.parametrize("deviation", [0.8, 4, 30, 500, 5000])
def test_gaussian_values_cost_little_more_than_their_entropy(deviation):
    architecture = Architecture(2, 69)  # 5,106 weights
    values = np.random.default_rng(0).normal(0, deviation, 20 * architecture.n_parameters)
    values = values[np.rint(values) != 0][: architecture.n_parameters]
    network = with_biases(architecture, torch.from_numpy(np.rint(values).astype(np.int64)), 0)
    kept = network.symbols[network.symbols != 0].numpy()
    assert len(kept) == 5106
    sections = encode(network)
    ideal = ideal_gaussian_bits(kept, deviation) / 8
    assert sections["positions"] == b""
    assert ideal * 0.99 < len(sections["values"]) < ideal * 1.01 + 16


@pytest.mark.parametrize("scale", [1.5, 20, 800])
def test_laplace_values_cost_little_more_than_their_entropy(scale):
    architecture = Architecture(2, 69)
    rng = np.random.default_rng(1)
    sizes = rng.geometric(1 - math.exp(-1 / scale), architecture.n_parameters)
    network = with_biases(architecture, torch.from_numpy(sizes * rng.choice((-1, 1), len(sizes))), 0)
    kept = np.abs(network.symbols[network.symbols != 0].numpy())
    p = 1 - math.exp(-1 / scale)
    ideal = (len(kept) - (np.log2(p) + (kept - 1) * np.log2(1 - p)).sum()) / 8
    found = len(encode(network)["values"])
    assert ideal * 0.99 < found < ideal * 1.01 + 16
    if scale > 10:  # a Gaussian of the same mean square costs log2(sqrt(pi / e)) = 0.104 bits more for each
        assert found < (ideal_gaussian_bits(kept, float(np.sqrt((kept**2).mean()))) - 0.08 * len(kept)) / 8


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["quantised", "halves"])
def test_positions_cost_little_more_than_their_entropy(density, kind):
    """In the large matrix; the outer ones are whole, so that no neuron dies."""
    architecture = Architecture(2, 80)
    rng = np.random.default_rng(2)
    symbols = without_zeros(rng.normal(0, 30, architecture.n_parameters))
    hidden = layers(architecture, symbols[None])[1][0]
    hidden *= torch.from_numpy(rng.random((1, 80, 80)) < density)
    network = with_biases(architecture, symbols, 5)
    if kind == "halves":
        network = Halves(architecture, network.symbols.half())
    share = float((hidden != 0).double().mean())
    assert 0 < share < 1
    ideal = 6400 * entropy(share) / 8
    assert ideal - 4 < len(encode(network)["positions"]) < 1.005 * ideal + 6


def test_sorted_biases_save_the_logarithm_of_their_orders_and_their_signs():
    """Uniform biases in -M .. M: log2(2 M) bits each as they stand, log2(n!) + n bits less in a layer when sorted.

    The differences of n uniform numbers are exponential only together with what is left above the largest; that and
    the table's scale cost less than 8 bits a layer.
    """
    architecture, most, rng = Architecture(10, 40), 2000, np.random.default_rng(3)
    symbols = without_zeros(rng.normal(0, 30, architecture.n_parameters))
    plain = len(encode(with_biases(architecture, symbols, 0))["values"])
    biases = rng.integers(1, most + 1, (10, 40)) * rng.choice((-1, 1), (10, 40))
    sorted_bits = 8 * (len(encode(with_biases(architecture, symbols, biases))["values"]) - plain)
    unsorted_bits = 400 * math.log2(2 * most)
    saved = (unsorted_bits - sorted_bits) / 10
    promised = math.log2(math.factorial(40)) + 40
    assert promised == pytest.approx(199.2, abs=0.1)
    assert promised - 8 < saved < promised + 3


def test_a_file_of_halves_is_two_bytes_a_value_and_the_positions():
    architecture, theta = Architecture(10, 28), initial_parameters(Architecture(10, 28), 0)
    generator = torch.Generator().manual_seed(0)
    for weight, _ in layers(architecture, theta[None])[1:-1]:  # the others are whole, so that no neuron dies
        weight *= torch.rand(weight.shape, generator=generator) < 0.4
    written = write(Halves(architecture, theta.half()), 512, 768)
    parts = dict(layout(written))
    nonzeros = int((theta != 0).sum())
    assert parts["weights"] == 2 * nonzeros
    assert parts["tables"] == 6 + 2 * 11
    ideal = sum(
        part.numel() * entropy(float((part != 0).double().mean())) / 8
        for pair in layers(architecture, theta[None])
        for part in pair
    )
    assert ideal - 4 < parts["positions"] < 1.01 * ideal + 10
    assert parts["header"] + parts["checksum"] < 30
    assert len(written) == sum(parts.values())


def test_dead_neurons_are_not_in_the_file():
    architecture = Architecture(4, 20)
    symbols = without_zeros(np.random.default_rng(0).normal(0, 30, architecture.n_parameters))
    network = Quantised(architecture, symbols, torch.full((10,), 100))
    cut = network.symbols.clone()[None]
    pairs = layers(network.architecture, cut)
    pairs[2][0][0, :, 3:] = 0  # only units 0, 1, 2 of layer 1 are read
    pairs[3][0][0, 5, :], pairs[3][1][0, 5, 0] = 0, 0  # unit 5 of layer 3 is 0
    small = Quantised(network.architecture, cut[0], network.steps)
    sections, whole = encode(small), encode(network)
    assert macs_per_pixel(whole) == 2 * 20 + 3 * 400 + 60
    assert macs_per_pixel(sections) == 2 * 20 + 20 * 3 + 3 * 20 + 20 * 19 + 19 * 3
    assert sections["tables"][6:10] == bytes([20, 3, 20, 19]) and sections["tables"][1] & 0x80
    assert len(whole["tables"]) + 4 == len(sections["tables"])
    assert len(sections["values"]) < 0.55 * len(whole["values"])
    assert sections["positions"] == b""


def test_an_empty_network_is_a_header():
    architecture = Architecture(10, 40)
    for network in (
        Quantised(architecture, torch.zeros(architecture.n_parameters, dtype=torch.int64), torch.zeros(22).long()),
        Halves(architecture, torch.zeros(architecture.n_parameters).half()),
    ):
        sections = check_round_trip(network)
        assert sections["positions"] == b"" and macs_per_pixel(sections) == 0
        assert set(sections.values()) - {sections["tables"]} == {b""}
        assert sections["tables"][:6] == bytes([10, 0x80, 1, 0]) + np.float16(30).tobytes()


# The format is what it was --------------------------------------------------------------------------------------------


def test_golden_files_byte_by_byte():
    """Written with constriction 0.5.0; a change here is a change of the format."""
    network = tiny()
    assert network.symbols[:12].tolist() == [-8, 2, -8, -4, -3, -5, 7, -1, 5, 8, 8, 5]
    of_every_matrix = "60 ff2b 64 ff22 68 ff2c 6c ff23 70 ff2b 74 ff2b".replace(" ", "")
    assert {name: body.hex() for name, body in encode(network).items()} == {
        "tables": "02000300804f" + of_every_matrix,  # w0 = 30 is 0x4f80
        "positions": "",
        "values": "dbc6763bc7281670eefa7b479daf3ae85afc721c",
    }
    sparse = network.symbols * (torch.arange(33) % 3 > 0)
    assert {name: body.hex() for name, body in encode(changed(symbols=sparse)).items()} == GOLDEN_SPARSE


def test_golden_file_of_halves():
    network = tiny()
    sections = encode(Halves(network.architecture, (network.symbols / 8).half(), "coin"))
    raw = (network.symbols.numpy() / 8).astype("<f2").tobytes()
    assert sections == {"tables": b"\2\1\3\0\x80\x4f" + 6 * b"\xff", "positions": b"", "weights": raw}


GOLDEN_SPARSE = {  # one neuron of either layer is dead in it
    "tables": "02000200804f60ac2c64ff2368ff2d6cff2870ff2b749c28",
    "positions": "64e39c59",
    "values": "044b507a0c860d51ea71ff80",
}


def all_tables() -> dict[str, list[np.ndarray]]:
    """Made anew: the caches would keep 40 MB until the end of the tests."""
    make_magnitudes, make_differences = magnitudes.__wrapped__, differences.__wrapped__
    return {
        "gaussian": [make_magnitudes("gaussian", index) for index in range(SCALES)],
        "laplace": [make_magnitudes("laplace", index) for index in range(SCALES)],
        "differences": [make_differences(index) for index in range(SCALES)],
    }


TABLES = {  # SHA-256 of all lengths and counts
    "gaussian": "15dd01e7faae4b66689a1f9280a077e74049d44c8bbbb57074397ec9e445b1fd",
    "laplace": "bdaf921afa191eebe26d8c1e7ea37e9e9cb5a6b9743f1b237fddab652d84ccef",
    "differences": "598180073d925d9bcbbecb3c0b7fac84aedf686e43433bba0dd667c12054ef67",
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_whole_and_the_same_everywhere(kind):
    digest, tables = hashlib.sha256(), all_tables()[kind]
    for table in tables:
        assert table.dtype == np.int64 and table.sum() == TOTAL == 2**24
        assert table.min() >= 1, "a symbol that cannot be written"
        digest.update(len(table).to_bytes(4, "little") + table.astype("<i8").tobytes())
    assert digest.hexdigest() == TABLES[kind]


def test_densities_are_pinned_and_ascend_from_none_to_all():
    densities = [density_of(index) for index in range(256)]
    assert densities[0] == 0 and densities[255] == 1
    assert all(a < b for a, b in zip(densities[:-1], densities[1:], strict=True))
    assert densities[51] == pytest.approx(0.104, abs=1e-12)  # x = 1/5: 1/25 (3 - 2/5)
    assert all(densities[i] + densities[255 - i] == pytest.approx(1, abs=1e-12) for i in range(128))


def test_tables_are_near_the_distributions_they_are_named_after():
    """What is lost by them: the divergence of the exact distribution, with exponentials, from the table, in bits."""
    tables = all_tables()
    for index in range(SCALES):
        scale = 2 ** (index / 8 - 3)
        assert scale_of(index) == pytest.approx(scale, rel=1e-14)
        for kind in tables:
            table = tables[kind][index] / TOTAL
            q = np.arange(len(table), dtype=float)
            log = {
                "gaussian": -((q + 1) ** 2) / (2 * scale**2),
                "laplace": -(q + 1) / scale,
                "differences": q * math.log(scale / (1 + scale)),
            }[kind]
            exact = np.exp(log - log.max())
            exact = (exact / exact.sum())[exact > 0]
            lost = (exact * np.log2(exact / table[: len(exact)])).sum()
            assert 0 <= lost + 1e-12 < (1e-3 if index < 104 else 1e-2), (kind, index)
    assert len(tables["laplace"][-1]) >= MOST and len(tables["differences"][-1]) > MOST


# Refusals -------------------------------------------------------------------------------------------------------------


def changed(**fields: object) -> Quantised:
    return Quantised(**(vars(tiny()) | fields))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (changed(symbols=torch.zeros(32, dtype=torch.int64)), "32 symbols"),
        (changed(symbols=torch.zeros(1, 33, dtype=torch.int64)), "symbols"),
        (changed(steps=torch.zeros(5, dtype=torch.int64)), "5 steps"),
        (changed(steps=torch.tensor([0, 0, 0, 0, 0, 256])), "steps="),
        (changed(steps=torch.tensor([0, 0, -1, 0, 0, 0])), "steps="),
        (changed(coordinates="polar"), "."),
        (Halves(Architecture(2, 3), torch.zeros(32).half()), "33 finite values"),
        (Halves(Architecture(2, 3), torch.full((33,), math.nan).half()), "finite"),
        (Halves(Architecture(2, 3), torch.full((33,), -math.inf).half()), "finite"),
        (Halves(Architecture(2, 3), torch.zeros(33).half(), "polar"), "."),
    ],
)
def test_networks_that_are_none(network, message):
    with pytest.raises(ValueError, match=message) as caught:
        encode(network)
    assert not isinstance(caught.value, BitstreamError)


@pytest.mark.parametrize("options", [{"n_in": 3}, {"n_in": 5}, {"n_in": 34}, {"n_out": 1}, {"n_out": 4}, {"w0": 1e-8}])
def test_networks_that_the_header_cannot_hold_are_refused(options):
    """Not written as something that no decoder reads: the flags have 0 to 7 frequencies, w0 is fp16, colours are 3."""
    architecture = Architecture(2, 3, **options)
    symbols = torch.ones(architecture.n_parameters, dtype=torch.int64)
    with pytest.raises(ValueError):
        encode(Quantised(architecture, symbols, torch.full((6,), 100)))


SECTIONS = encode(tiny())
TINY_TABLES = SECTIONS["tables"]


def header(depth: int = 2, flags: int = 0, width: int = 3, w0: float = 30.0, behind: bytes = TINY_TABLES[6:]) -> bytes:
    return struct.pack("<BBHe", depth, flags, width, w0) + behind


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({}, "sections tables, positions, and values or weights"),
        ({"tables": TINY_TABLES}, "no other"),
        ({"tables": TINY_TABLES, "positions": b""}, "no other"),
        ({"tables": TINY_TABLES, "values": b""}, "no other"),
        (SECTIONS | {"weights": b""}, "no other"),
        (SECTIONS | {"payload": b""}, "no other"),
        (SECTIONS | {"tables": b""}, "tables of 0 bytes are too short"),
        (SECTIONS | {"tables": TINY_TABLES[:5]}, "tables of 5 bytes are too short"),
        (SECTIONS | {"tables": TINY_TABLES[:6]}, "tables of 6 bytes, not 24"),
        (SECTIONS | {"tables": TINY_TABLES[:-1]}, "tables of 23 bytes, not 24"),
        (SECTIONS | {"tables": TINY_TABLES + b"\0"}, "tables of 25 bytes, not 24"),
        (SECTIONS | {"tables": header(depth=0)}, "depth=0"),
        (SECTIONS | {"tables": header(depth=65)}, "depth=65"),
        (SECTIONS | {"tables": header(depth=3)}, "tables of 24 bytes, not 30"),
        (SECTIONS | {"tables": header(width=0)}, "width=0"),
        (SECTIONS | {"tables": header(width=513)}, "width=513"),
        (SECTIONS | {"tables": header(w0=0.0)}, "w0=0.0"),
        (SECTIONS | {"tables": header(w0=-30.0)}, "w0=-30.0"),
        (SECTIONS | {"tables": header(w0=1001.0)}, "w0=1001.0"),
        (SECTIONS | {"tables": header(w0=math.nan)}, "w0=nan"),
        (SECTIONS | {"tables": header(w0=math.inf)}, "w0=inf"),
        (SECTIONS | {"tables": header(flags=0x10)}, "unknown flags 0x10"),
        (SECTIONS | {"tables": header(flags=0x20)}, "unknown flags 0x20"),
        (SECTIONS | {"tables": header(flags=0x41)}, "unknown flags 0x41"),
        (SECTIONS | {"tables": header(depth=64, width=512)}, "absurd size"),
        (SECTIONS | {"tables": header(depth=10, width=100)}, "absurd size"),
        (SECTIONS | {"tables": header(flags=0x80, behind=bytes([4, 3]) + TINY_TABLES[6:])}, "4 neurons left of 3"),
        (SECTIONS | {"tables": header(flags=0x80, behind=bytes([3]) + b"\x80" * 9)}, "longer than 5 bytes"),
        (SECTIONS | {"tables": header(flags=0x80, behind=b"\3")}, "ends inside its header"),
        (SECTIONS | {"tables": header(flags=0x80, behind=b"\x83\0\3")}, "minimal varint"),
        (SECTIONS | {"tables": header(flags=0x80, behind=bytes([3, 3]) + TINY_TABLES[6:])}, "no encoder"),
        (SECTIONS | {"tables": header(flags=2)}, "damaged"),
        (SECTIONS | {"tables": header(width=4)}, "damaged"),
        (SECTIONS | {"tables": header(flags=0x80, width=4, behind=bytes([3, 3]) + TINY_TABLES[6:])}, "no encoder"),
        (SECTIONS | {"positions": b"\1"}, "no encoder"),
        (SECTIONS | {"positions": b"\0"}, "no encoder"),
        (SECTIONS | {"values": b""}, "damaged"),
        (SECTIONS | {"values": SECTIONS["values"] + b"\0"}, "no encoder"),
        (SECTIONS | {"values": SECTIONS["values"] + b"\1\2\3\4"}, "no encoder"),
    ],
)
def test_malformed_sections(sections, message):
    assert isinstance(decode(SECTIONS), Quantised), "the file is sound before it is spoiled"
    with pytest.raises(BitstreamError, match=message):
        decode(sections)


@pytest.mark.parametrize("flags", [0x30, 0x80])
def test_multiplications_of_a_malformed_header(flags):
    with pytest.raises(BitstreamError):
        macs_per_pixel({"tables": header(flags=flags, behind=b"")})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -0.0])
def test_halves_that_no_encoder_writes(value):
    network = Halves(Architecture(2, 3), torch.arange(1, 34).half())
    sections = encode(network)
    assert sections["weights"] == network.values.numpy().tobytes() and sections["positions"] == b""
    spoiled = network.values.clone()
    spoiled[20] = value
    with pytest.raises(BitstreamError, match="damaged"):
        decode(sections | {"weights": spoiled.numpy().tobytes()})
    for weights_ in (sections["weights"][:-1], sections["weights"][:-2], sections["weights"] + b"\0\0", b"", b"\0\1"):
        with pytest.raises(BitstreamError, match="damaged"):
            decode(sections | {"weights": weights_})


def test_every_cut_is_noticed_and_steps_are_free():
    """There is no checksum here: decoding ends with a stream that is not what an encoder writes."""
    whole = decode(SECTIONS).parameters()
    for name, body in SECTIONS.items():
        for end in range(len(body)):
            try:
                found = decode(SECTIONS | {name: body[:end]}).parameters()
            except BitstreamError:
                continue
            assert name == "values" and not torch.equal(found, whole)
    for i in range(8):  # the step of the first matrix: any
        flipped = bytearray(TINY_TABLES)
        flipped[6] ^= 1 << i
        assert decode(SECTIONS | {"tables": bytes(flipped)}).steps[0] == 96 ^ 1 << i


def survives(sections: dict[str, bytes]) -> bool:
    """Whether it is a network; nothing but `BitstreamError` says that it is not."""
    try:
        found = decode(sections)
    except BitstreamError:
        return False
    again = decode(encode(found))
    assert torch.equal(again.parameters(), found.parameters()), "what was read cannot be written"
    assert found.parameters().shape == (found.architecture.n_parameters,) and found.parameters().isfinite().all()
    return True


def harmed(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(min(len(changed), 10) if rng.random() < 0.3 else len(changed)) if changed else 0
        span = rng.randrange(1, 5)
        match rng.randrange(7):
            case 0 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if changed:
                changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del changed[at:]
            case 3:
                changed += rng.randbytes(span)
            case 4:
                del changed[at : at + span]
            case 5:
                changed[at:at] = rng.randbytes(span)
            case 6:
                changed[at : at + span] = rng.randbytes(span)
    return bytes(changed)


FUZZED = [
    ("quantised", 1, 1, 1, 2), ("quantised", 2, 6, 1, 2), ("quantised", 3, 8, 0.5, 14), ("quantised", 5, 10, 0.2, 2),
    ("quantised", 7, 3, 0.7, 2), ("outliers", 3, 5, 0.8, 2), ("halves", 2, 8, 0.5, 2), ("halves", 4, 6, 0.3, 14),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(FUZZED)))
def test_damage_is_a_bitstream_error_or_another_network(number):
    rng = random.Random(number)
    sections, accepted, rounds = encode(make(*FUZZED[number], seed=number)), 0, 400
    for _ in range(rounds):
        name = rng.choice(sorted(sections))
        accepted += survives(sections | {name: harmed(sections[name], rng)})
    assert 0 < accepted < 0.5 * rounds


def test_random_bytes_behind_a_sound_header_are_a_bitstream_error():
    rng, accepted = random.Random(0), 0
    for _ in range(300):
        depth = rng.randrange(1, 5)
        flags = rng.choice((0, 1, 2, 0x80))
        tables = header(
            depth, flags, rng.randrange(1, 12), behind=rng.randbytes(6 * (depth + 1) + depth * (flags >> 7))
        )
        accepted += survives({"tables": tables, "positions": rng.randbytes(9), "values": rng.randbytes(60)})
    assert accepted < 30


def test_values_for_which_no_gaussian_table_is_wide_enough_can_be_read():
    """By hand: the widest Laplace table writes 12 values, for which a Gaussian wider than all there are would do."""
    sizes = np.array([99_000, *range(20_000, 42_000, 2_000)], np.int32)
    stream = constriction.stream.queue.RangeEncoder()

    def put(symbols: np.ndarray, counts: np.ndarray) -> None:
        stream.encode(symbols.astype(np.int32), constriction.stream.model.Categorical(counts / TOTAL, perfect=False))

    even = np.array([TOTAL // 2, TOTAL // 2])
    put(np.zeros(12), even)
    put(sizes - 1, magnitudes("laplace", 127))
    put(np.zeros(18), even)
    put(np.zeros(18), magnitudes("gaussian", 16))  # of all that are tried it gives 1 the highest probability
    values = stream.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
    tables = header(1, 0, 6, behind=bytes([9, 255, 0x80 | 127, 9, 0, 0, 9, 255, 16, 9, 0, 0]))
    found = decode({"tables": tables, "positions": b"", "values": values})
    assert found.symbols.tolist() == [*sizes.tolist(), *[0] * 6, *[1] * 18, *[0] * 3]


def test_a_whole_file():
    network = make("quantised", 3, 8, 0.5)
    container = unpack(write(network, 20, 30))
    assert (container.codec, container.height, container.width) == ("loonie", 20, 30)
    assert container.sections == encode(network)
    assert list(container.sections) == ["tables", "positions", "values"]
    assert list(unpack(write(make("halves", 3, 8, 0.5), 20, 30)).sections) == ["tables", "positions", "weights"]
    assert weights.PARAMETERS_PER_BYTE * 64 > Architecture(10, 40).n_parameters, "the paper's largest may be empty"

"""Sparse networks as bytes: pictures, lengths against entropies, tables pinned, and what no encoder writes.

Round trips to what should be left of a network, and damage of every kind: contracts/test_coders.py.
"""

from __future__ import annotations

import hashlib
import math
import struct

import constriction
import numpy as np
import pytest
import torch
from coding_strategies import drawn, networks
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparsecomp import network_weights
from sparsecomp.coding.container import BitstreamError
from sparsecomp.coding.range_coder import SCALES, TOTAL, density_of, differences, magnitudes, scale_of
from sparsecomp.models.siren import Architecture, layers, render
from sparsecomp.network_weights import MOST, Halves, Quantised, decode, encode, macs_per_pixel


def tiny(**changes: object) -> Quantised:
    """A network every reader can write down: 2x3, symbols -8 to 8 without randomness."""
    symbols = torch.tensor([(7 * i * i + 3 * i) % 17 - 8 for i in range(33)])
    of = {"architecture": Architecture(2, 3), "symbols": symbols, "steps": torch.tensor([96, 100, 104, 108, 112, 116])}
    return Quantised(**of | changes)


def ones(**options: object) -> Quantised:
    architecture = Architecture(2, 3, **options)
    return tiny(architecture=architecture, symbols=torch.ones(architecture.n_parameters).long())


@drawn
@given(networks(kinds=("siren", "halves"), most_width=40))
def test_decode_gives_a_network_that_draws_the_same_picture(network):
    found = decode(encode(network))
    before, after = (
        render(one.architecture, one.parameters(), 13, 8, one.coordinates).int() for one in (network, found)
    )
    assert (before - after).abs().max() <= 1


@drawn
@given(st.integers(0, 999))
def test_encode_writes_one_file_for_mirrored_and_shuffled_networks(seed):
    """The symmetries of a SIREN: its neurons in any order, each with either sign."""
    generator, architecture = torch.Generator().manual_seed(seed), Architecture(3, 9)
    symbols = torch.randint(-500, 500, (1, architecture.n_parameters), generator=generator)
    pairs = layers(architecture, symbols)
    for _, bias in pairs[:-1]:
        bias[0, :, 0] = 1 + 7 * torch.arange(9)  # ties would be anybody's
    steps, turned = torch.arange(8), symbols.clone()
    pairs = layers(architecture, turned)
    for layer in range(3):
        order = torch.randperm(9, generator=generator)
        sign = torch.randint(0, 2, (9,), generator=generator) * 2 - 1
        pairs[layer][0][0] = pairs[layer][0][0][order] * sign[:, None]
        pairs[layer][1][0, :, 0] = pairs[layer][1][0, :, 0][order] * sign
        pairs[layer + 1][0][0] = pairs[layer + 1][0][0][:, order] * sign
    assert encode(Quantised(architecture, turned[0], steps)) == encode(Quantised(architecture, symbols[0], steps))


def test_parameters_are_steps_times_symbols():
    network, sizes = tiny(), [6, 3, 9, 3, 9, 3]  # of W_0, b_0, W_1, ...
    steps = np.repeat(2.0 ** (-network.steps.numpy() / 16), sizes)
    np.testing.assert_allclose(network.parameters().numpy(), network.symbols.numpy() * steps, rtol=2e-7)


@pytest.mark.parametrize(("depth", "wide"), [(8, 0), (8, 3), (8, 7), (40, 3)])
def test_encode_writes_one_layer_much_wider_than_the_others_or_refuses_at_once(depth, wide):
    """The full rectangle of the widest layer has 2 or 10 million parameters, of which 2,000 are written."""
    architecture = Architecture(depth, 512)
    symbols = torch.zeros(1, architecture.n_parameters, dtype=torch.int64)
    for layer, (weight, bias) in enumerate(layers(architecture, symbols)):
        out = 512 if layer == wide else (3 if layer == depth else 1)
        inp = 512 if layer == wide + 1 else (1 if layer else 2)
        weight[0, :out, :inp] = 1 + torch.arange(out * inp).view(out, inp) % 3
        bias[0, :out, 0] = torch.arange(out) + 1
    network = Quantised(architecture, symbols[0], torch.full((2 * depth + 2,), 100))
    if depth == 8:
        assert encode(decode(encode(network))) == encode(network)
    else:
        with pytest.raises(ValueError, match="absurd size: a 40x512"):
            encode(network)


# Lengths --------------------------------------------------------------------------------------------------------------


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


def ideal_bits(kind: str, values: np.ndarray, scale: float) -> float:
    """Cost of whole numbers that are not 0 under a distribution of this scale, without zero."""
    if kind == "laplace":  # a sign, and a magnitude that is geometrically distributed
        return len(values) - stats.geom(1 - math.exp(-1 / scale)).logpmf(np.abs(values)).sum() / math.log(2)
    cdf = stats.norm(scale=scale).cdf
    mass = cdf(values + 0.5) - cdf(values - 0.5)
    return -np.log2(mass / (1 - cdf(0.5) + cdf(-0.5))).sum()


@pytest.mark.parametrize(
    ("kind", "scale"), [*(("gaussian", d) for d in (0.8, 4, 30, 500, 5000)), *(("laplace", s) for s in (1.5, 20, 800))]
)
def test_values_cost_little_more_than_their_entropy(kind, scale):
    architecture, rng = Architecture(2, 69), np.random.default_rng(1)  # 5,106 weights
    if kind == "gaussian":
        values = np.rint(rng.normal(0, scale, 20 * architecture.n_parameters)).astype(np.int64)
        values = values[values != 0][: architecture.n_parameters]
    else:
        sizes = rng.geometric(1 - math.exp(-1 / scale), architecture.n_parameters)
        values = sizes * rng.choice((-1, 1), len(sizes))
    network = with_biases(architecture, torch.from_numpy(values), 0)
    kept, sections = network.symbols[network.symbols != 0].numpy(), encode(network)
    ideal, found = ideal_bits(kind, kept, scale) / 8, len(sections["values"])
    assert len(kept) == 5106 and sections["positions"] == b""
    assert ideal * 0.99 < found < ideal * 1.01 + 16
    if kind == "laplace" and scale > 10:  # a Gaussian of the same mean square: log2(sqrt(pi / e)) = 0.104 bits each
        gaussian = ideal_bits("gaussian", kept, float(np.sqrt((kept.astype(float) ** 2).mean())))
        assert found < (gaussian - 0.08 * len(kept)) / 8


@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("halves", [False, True])
def test_positions_cost_little_more_than_their_entropy(density, halves):
    """In the large matrix; the outer ones are whole, so that no neuron dies."""
    architecture, rng = Architecture(2, 80), np.random.default_rng(2)
    symbols = without_zeros(rng.normal(0, 30, architecture.n_parameters))
    hidden = layers(architecture, symbols[None])[1][0]
    hidden *= torch.from_numpy(rng.random((1, 80, 80)) < density)
    network = with_biases(architecture, symbols, 5)
    network = Halves(architecture, network.symbols.half()) if halves else network
    share = float((hidden != 0).double().mean())
    ideal, sections = 6400 * stats.entropy([share, 1 - share], base=2) / 8, encode(network)
    assert 0 < ideal - 4 < len(sections["positions"]) < 1.005 * ideal + 6
    if halves and density >= 0.5:  # two bytes a value, one byte a matrix; no neuron is dead
        assert len(sections["weights"]) == 2 * int((network.values != 0).sum()) and len(sections["tables"]) == 6 + 6


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
    promised = math.log2(math.factorial(40)) + 40
    assert promised - 8 < (400 * math.log2(2 * most) - sorted_bits) / 10 < promised + 3


def test_encode_leaves_dead_neurons_out():
    architecture = Architecture(4, 20)
    symbols = without_zeros(np.random.default_rng(0).normal(0, 30, architecture.n_parameters))
    cut, steps = symbols.clone()[None], torch.full((10,), 100)
    pairs = layers(architecture, cut)
    pairs[2][0][0, :, 3:] = 0  # only units 0, 1, 2 of layer 1 are read
    pairs[3][0][0, 5, :], pairs[3][1][0, 5, 0] = 0, 0  # unit 5 of layer 3 is 0
    sections, whole = (encode(Quantised(architecture, s, steps)) for s in (cut[0], symbols))
    assert macs_per_pixel(whole) == 2 * 20 + 3 * 400 + 60
    assert macs_per_pixel(sections) == 2 * 20 + 20 * 3 + 3 * 20 + 20 * 19 + 19 * 3
    assert sections["tables"][6:10] == bytes([20, 3, 20, 19]) and sections["tables"][1] & 0x80
    assert len(whole["tables"]) + 4 == len(sections["tables"]) and sections["positions"] == b""
    assert len(sections["values"]) < 0.55 * len(whole["values"])


def test_encode_makes_a_header_of_an_empty_network():
    architecture = Architecture(10, 40)
    nothing = torch.zeros(architecture.n_parameters)
    for network in (Quantised(architecture, nothing.long(), torch.zeros(22).long()), Halves(architecture, nothing)):
        sections = encode(network)
        assert set(sections.values()) - {sections["tables"]} == {b""} and macs_per_pixel(sections) == 0
        assert sections["tables"][:6] == bytes([10, 0x80, 1, 0]) + np.float16(30).tobytes()
        assert not decode(sections).parameters().any()
    assert network_weights.PARAMETERS_PER_BYTE * 64 > architecture.n_parameters, "the paper's largest may be empty"


# The format is what it was --------------------------------------------------------------------------------------------


def test_encode_writes_the_golden_files_byte_by_byte():
    """Written with constriction 0.5.0; a change here is a change of the format."""
    network = tiny()
    assert network.symbols[:12].tolist() == [-8, 2, -8, -4, -3, -5, 7, -1, 5, 8, 8, 5]
    assert {name: body.hex() for name, body in encode(network).items()} == {
        "tables": "02000300804f" + "60ff2b64ff2268ff2c6cff2370ff2b74ff2b",  # w0 = 30 is 0x4f80
        "positions": "",
        "values": "dbc6763bc7281670eefa7b479daf3ae85afc721c",
    }
    sparse = tiny(symbols=network.symbols * (torch.arange(33) % 3 > 0))  # one neuron of either layer is dead
    assert {name: body.hex() for name, body in encode(sparse).items()} == {
        "tables": "02000200804f60ac2c64ff2368ff2d6cff2870ff2b749c28",
        "positions": "64e39c59",
        "values": "044b507a0c860d51ea71ff80",
    }
    assert decode(encode(sparse)).architecture.width == 2
    halves = Halves(network.architecture, (network.symbols / 8).half(), "coin")
    raw = (network.symbols.numpy() / 8).astype("<f2").tobytes()
    assert encode(halves) == {"tables": b"\2\1\3\0\x80\x4f" + 6 * b"\xff", "positions": b"", "weights": raw}


def tables_of(kind: str) -> list[np.ndarray]:
    """Made anew: the caches would keep 40 MB until the end of the tests."""
    if kind == "differences":
        return [differences.__wrapped__(index) for index in range(SCALES)]
    return [magnitudes.__wrapped__(kind, index) for index in range(SCALES)]


TABLES = {  # SHA-256 of all lengths and counts
    "gaussian": "15dd01e7faae4b66689a1f9280a077e74049d44c8bbbb57074397ec9e445b1fd",
    "laplace": "bdaf921afa191eebe26d8c1e7ea37e9e9cb5a6b9743f1b237fddab652d84ccef",
    "differences": "598180073d925d9bcbbecb3c0b7fac84aedf686e43433bba0dd667c12054ef67",
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_the_same_everywhere_and_near_the_distributions_they_are_named_after(kind):
    """What is lost by them: the divergence of the exact distribution, with exponentials, from the table, in bits."""
    digest = hashlib.sha256()
    for index, counts in enumerate(tables_of(kind)):
        assert counts.dtype == np.int64 and counts.sum() == TOTAL == 2**24
        assert counts.min() >= 1, "a symbol that cannot be written"
        digest.update(len(counts).to_bytes(4, "little") + counts.astype("<i8").tobytes())
        scale, q = 2 ** (index / 8 - 3), np.arange(len(counts), dtype=float)
        assert scale_of(index) == pytest.approx(scale, rel=1e-14)
        log = {
            "gaussian": -((q + 1) ** 2) / (2 * scale**2),
            "laplace": -(q + 1) / scale,
            "differences": q * math.log(scale / (1 + scale)),
        }[kind]
        exact = np.exp(log - log.max())
        exact = (exact / exact.sum())[exact > 0]
        lost = (exact * np.log2(exact * TOTAL / counts[: len(exact)])).sum()
        assert 0 <= lost + 1e-12 < (1e-3 if index < 104 else 1e-2), index
    assert digest.hexdigest() == TABLES[kind]
    assert len(counts) >= {"gaussian": 52_586, "laplace": MOST, "differences": MOST + 1}[kind]


def test_densities_are_pinned_and_ascend_from_none_to_all():
    densities = [density_of(index) for index in range(256)]
    assert densities[0] == 0 and densities[255] == 1
    assert all(a < b for a, b in zip(densities[:-1], densities[1:], strict=True))
    assert densities[51] == pytest.approx(0.104, abs=1e-12)  # x = 1/5: 1/25 (3 - 2/5)
    assert all(densities[i] + densities[255 - i] == pytest.approx(1, abs=1e-12) for i in range(128))


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (tiny(symbols=torch.zeros(32).long()), "32 symbols"), (tiny(symbols=torch.zeros(1, 33).long()), "symbols"),
        (tiny(steps=torch.zeros(5).long()), "5 steps"),
        *((tiny(steps=torch.tensor([0, 0, step, 0, 0, 0])), "steps must be") for step in (256, -1)),
        (tiny(coordinates="polar"), "coordinates must be .*got 'polar'"),
        (Halves(Architecture(2, 3), torch.zeros(33).half(), "polar"), "coordinates must be .*got 'polar'"),
        (Halves(Architecture(2, 3), torch.zeros(32).half()), "33 finite values"),
        *((Halves(Architecture(2, 3), torch.full((33,), odd).half()), "finite") for odd in (math.nan, -math.inf)),
        # what the header cannot hold: the flags have 0 to 7 frequencies, w0 is fp16, colours are 3
        *((ones(n_in=n), f"n_in must be .*got {n}") for n in (3, 5, 34)),
        *((ones(n_out=n), f"n_out must be .*got {n}") for n in (1, 4)),
        *((ones(w0=w0), f"w0 must be .*got {w0}") for w0 in (1e-8, 44.4)),
    ],
)  # fmt: skip
def test_encode_refuses_networks_that_are_none(network, message):
    with pytest.raises(ValueError, match=message) as caught:
        encode(network)
    assert not isinstance(caught.value, BitstreamError)


SECTIONS = encode(tiny())
TABLES_OF_TINY = SECTIONS["tables"]


def header(depth: int = 2, flags: int = 0, width: int = 3, w0: float = 30.0, behind: bytes = TABLES_OF_TINY[6:]):
    return {"tables": struct.pack("<BBHe", depth, flags, width, w0) + behind}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({}, "sections tables, positions, and values or weights"),
        (SECTIONS | {"weights": b""}, "no other"),
        (SECTIONS | {"payload": b""}, "no other"),
        *(({k: v for k, v in SECTIONS.items() if k != name}, "no other") for name in SECTIONS),
        (SECTIONS | {"tables": TABLES_OF_TINY[:5]}, "tables of 5 bytes are too short"),
        (SECTIONS | {"tables": TABLES_OF_TINY[:-1]}, "tables of 23 bytes, not 24"),
        *((SECTIONS | header(depth=depth), f"depth must be .*got {depth}") for depth in (0, 65)),
        (SECTIONS | header(depth=3), "tables of 24 bytes, not 30"),
        *((SECTIONS | header(width=width), f"width must be .*got {width}") for width in (0, 513)),
        *((SECTIONS | header(w0=w0), f"w0 must be .*got {w0}") for w0 in (0.0, -30.0, 1001.0, math.nan, math.inf)),
        *((SECTIONS | header(flags=flags), f"unknown flags {flags:#x}") for flags in (0x10, 0x20, 0x41)),
        *((SECTIONS | header(depth=depth, width=w), "absurd size: .* bytes") for depth, w in ((64, 512), (10, 100))),
        (SECTIONS | header(depth=40, width=512, flags=0x80, behind=b"\x80\4" + b"\1" * 39), "absurd size: a 40x512"),
        (SECTIONS | header(flags=0x80, behind=bytes([4, 3]) + TABLES_OF_TINY[6:]), "4 neurons left of 3"),
        (SECTIONS | header(flags=0x80, behind=bytes([3, 3]) + TABLES_OF_TINY[6:]), "no encoder"),
        (SECTIONS | header(flags=2), "damaged"), (SECTIONS | header(width=4), "damaged"),
        (SECTIONS | header(flags=0x80, width=4, behind=bytes([3, 3]) + TABLES_OF_TINY[6:]), "no encoder"),
        *((encode(Halves(Architecture(2, 3), torch.arange(1, 34).half())) | {"weights": body}, "damaged")
          for odd in (math.nan, math.inf, -math.inf, 0.0, -0.0)
          for body in [np.array([*range(1, 21), odd, *range(22, 34)], "<f2").tobytes()]),
    ],
)  # fmt: skip
def test_decode_says_what_is_wrong(sections, message):
    with pytest.raises(BitstreamError, match=message):
        decode(sections)


def test_decode_reads_values_for_which_no_gaussian_table_is_wide_enough():
    """By hand: the widest Laplace table writes 12 values, for which a Gaussian wider than all there are would do."""
    sizes = np.array([99_000, *range(20_000, 42_000, 2_000)], np.int32)
    stream, even = constriction.stream.queue.RangeEncoder(), np.array([TOTAL // 2, TOTAL // 2])
    for symbols, counts in (
        (np.zeros(12), even), (sizes - 1, magnitudes("laplace", 127)), (np.zeros(18), even),
        (np.zeros(18), magnitudes("gaussian", 16)),  # of all that are tried it gives 1 the highest probability
    ):  # fmt: skip
        model = constriction.stream.model.Categorical(counts / TOTAL, perfect=False)
        stream.encode(symbols.astype(np.int32), model)
    values = stream.get_compressed().astype("<u4").tobytes().rstrip(b"\0")
    tables = header(1, 0, 6, behind=bytes([9, 255, 0x80 | 127, 9, 0, 0, 9, 255, 16, 9, 0, 0]))
    found = decode(tables | {"positions": b"", "values": values})
    assert found.symbols.tolist() == [*sizes.tolist(), *[0] * 6, *[1] * 18, *[0] * 3]

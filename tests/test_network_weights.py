"""Sparse networks as bytes: one file for equal networks, bytes and tables pinned, and what no encoder writes.

Round trips to what should be left of a network, and damage of every kind: contracts/test_coders.py.
"""

from __future__ import annotations

import hashlib
import math
import struct

import numpy as np
import pytest
import torch
from coding_strategies import drawn
from hypothesis import given
from hypothesis import strategies as st

from sparsecomp.coding.container import BitstreamError
from sparsecomp.coding.range_coder import SCALES, TOTAL, density_of, differences, magnitudes, scale_of
from sparsecomp.models.siren import Architecture, layers
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


@pytest.mark.parametrize(("depth", "wide"), [(8, 3), (40, 3)])
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


def test_encode_leaves_dead_neurons_out():
    architecture = Architecture(4, 20)
    symbols = torch.arange(architecture.n_parameters) * 37 % 91 - 45
    symbols[symbols == 0] = 1
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


TABLES = {  # SHA-256 of all lengths and counts
    "gaussian": "15dd01e7faae4b66689a1f9280a077e74049d44c8bbbb57074397ec9e445b1fd",
    "laplace": "bdaf921afa191eebe26d8c1e7ea37e9e9cb5a6b9743f1b237fddab652d84ccef",
    "differences": "598180073d925d9bcbbecb3c0b7fac84aedf686e43433bba0dd667c12054ef67",
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_the_same_everywhere_and_near_the_distributions_they_are_named_after(kind):
    """What is lost by them: the divergence of the exact distribution, with exponentials, from the table, in bits."""
    digest = hashlib.sha256()
    for index in range(SCALES):  # past the caches, which would keep 40 MB until the end of the tests
        counts = differences.__wrapped__(index) if kind == "differences" else magnitudes.__wrapped__(kind, index)
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
    assert densities[0] == 0 and densities[255] == 1 and densities == sorted(set(densities))
    assert densities[51] == pytest.approx(0.104, abs=1e-12)  # x = 1/5: 1/25 (3 - 2/5)


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (tiny(symbols=torch.zeros(32).long()), "32 symbols"),
        (tiny(steps=torch.zeros(5).long()), "5 steps"),
        (tiny(steps=torch.tensor([0, 0, 256, 0, 0, 0])), "steps must be"),
        (tiny(coordinates="polar"), "coordinates must be .*got 'polar'"),
        (Halves(Architecture(2, 3), torch.zeros(32).half()), "33 finite values"),
        (Halves(Architecture(2, 3), torch.full((33,), math.nan).half()), "finite"),
        # what the header cannot hold: the flags have 0 to 7 frequencies, w0 is fp16, colours are 3
        *((ones(n_in=n), f"n_in must be .*got {n}") for n in (3, 34)),
        (ones(n_out=4), "n_out must be .*got 4"),
        *((ones(w0=w0), f"w0 must be .*got {w0}") for w0 in (1e-8, 44.4)),
    ],
)
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
        (SECTIONS | {"weights": b""}, "no other"),
        ({k: v for k, v in SECTIONS.items() if k != "values"}, "no other"),
        (SECTIONS | {"tables": TABLES_OF_TINY[:5]}, "tables of 5 bytes are too short"),
        (SECTIONS | {"tables": TABLES_OF_TINY[:-1]}, "tables of 23 bytes, not 24"),
        (SECTIONS | header(depth=65), "depth must be .*got 65"),
        (SECTIONS | header(width=513), "width must be .*got 513"),
        (SECTIONS | header(w0=math.nan), "w0 must be .*got nan"),
        (SECTIONS | header(flags=0x10), "unknown flags 0x10"),
        (SECTIONS | header(depth=64, width=512), "absurd size: .* bytes"),
        (SECTIONS | header(depth=40, width=512, flags=0x80, behind=b"\x80\4" + b"\1" * 39), "absurd size: a 40x512"),
        (SECTIONS | header(flags=0x80, behind=bytes([4, 3]) + TABLES_OF_TINY[6:]), "4 neurons left of 3"),
        (SECTIONS | header(flags=0x80, behind=bytes([3, 3]) + TABLES_OF_TINY[6:]), "no encoder"),
        (SECTIONS | header(flags=2), "damaged"),
        *((encode(Halves(Architecture(2, 3), torch.arange(1, 34).half())) | {"weights": body}, "damaged")
          for odd in (math.inf, -0.0)
          for body in [np.array([*range(1, 21), odd, *range(22, 34)], "<f2").tobytes()]),
    ],
)  # fmt: skip
def test_decode_says_what_is_wrong(sections, message):
    with pytest.raises(BitstreamError, match=message):
        decode(sections)

"""What the coders' tests draw: tables, symbols, networks, tensors, files, and damage; and every coder as one object."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from reproduce import sparse_weights
from sparsecomp import network_weights
from sparsecomp.coding import contexts, integer_latents, latents, quantize
from sparsecomp.coding.container import SECTIONS, Container, pack, unpack
from sparsecomp.coding.latents import CELLS, COARSEST, FINEST, LEAST
from sparsecomp.coding.range_coder import TOTAL
from sparsecomp.models.siren import Architecture, initial_parameters, layers, tensor_of
from sparsecomp.network_weights import MOST, Halves, Quantised

drawn = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])  # with the profile's rest


# Tables and symbols ---------------------------------------------------------------------------------------------------


def spiked(cell: int) -> np.ndarray:
    counts = np.full(CELLS, LEAST)
    counts[cell] += TOTAL - counts.sum()
    return counts


def uneven(seed: int) -> np.ndarray:
    share = np.random.default_rng(seed).dirichlet(np.full(CELLS, 0.1))
    counts = LEAST + np.floor((TOTAL - LEAST * CELLS) * share).astype(np.int64)
    counts[7] += TOTAL - counts.sum()
    return counts


FLAT = np.full(CELLS, TOTAL // CELLS)
counts = st.just(FLAT) | st.builds(spiked, st.integers(0, CELLS - 1)) | st.builds(uneven, st.integers(0, 99))
shapes = st.tuples(st.integers(1, 4), st.integers(1, 17), st.integers(1, 11))


@st.composite
def symbols(draw, shape: tuple[int, int, int], most: int) -> np.ndarray:
    """Of each channel all are alike, or all but one are zero, or they are spread to some width."""
    found, value = np.zeros(shape, np.int32), st.sampled_from([0, -most, most]) | st.integers(-most, most)
    for channel in found:
        match draw(st.sampled_from(("alike", "one", "spread"))):
            case "alike":
                channel[:] = draw(value)
            case "one":
                channel.flat[draw(st.integers(0, channel.size - 1))] = draw(value)
            case "spread":
                width, rng = draw(st.sampled_from([0.5, 3, 150, 1e6])), np.random.default_rng(draw(st.integers(0, 999)))
                channel[:] = rng.laplace(0, width, channel.shape).round().clip(-most, most)
    return found


@st.composite
def step_latents(draw) -> tuple[np.ndarray, np.ndarray, int]:
    """Symbols, counts, step."""
    step = draw(st.sampled_from([FINEST, FINEST + 1, 256, 32_640, 32_641, COARSEST]) | st.integers(FINEST, COARSEST))
    shape = draw(shapes)
    return draw(symbols(shape, latents.largest_symbol(step))), np.stack([draw(counts) for _ in range(shape[0])]), step


@st.composite
def codes(draw) -> tuple[np.ndarray, np.ndarray, int]:
    """Symbols, counts, threshold."""
    threshold = draw(st.sampled_from([1, 2, 7, 254, 255, 256, 257, 32_767]) | st.integers(1, 32_767))
    shape = draw(shapes)
    found = draw(symbols(shape, integer_latents.MOST))
    found[np.abs(found) < threshold] = 0
    return found, np.stack([draw(counts) for _ in range(shape[0])]), threshold


@st.composite
def in_context(draw) -> tuple[np.ndarray, contexts.Contexts]:
    """Symbols, and a context model that was fitted to others of as many channels, or knows nothing."""
    shape = draw(shapes)
    seen = np.random.default_rng(draw(st.integers(0, 999)))
    others = seen.laplace(0, draw(st.sampled_from([0.1, 2, 90])), (2, shape[0], 40, 37)).cumsum(2).round()
    return draw(symbols(shape, contexts.MOST)), contexts.Contexts.fit(others.clip(-300, 300).astype(np.int32))


# Networks and tensors -------------------------------------------------------------------------------------------------


@st.composite
def networks(draw, kinds=("siren", "gaussian", "alike", "halves"), most_width: int = 20) -> Quantised | Halves:
    """``siren`` as after a fit, ``gaussian`` at any scale, beyond what is written too, ``alike``: one value."""
    architecture = Architecture(
        draw(st.integers(1, 12)), draw(st.integers(1, most_width)),
        w0=draw(st.sampled_from([30.0, 0.5, 1000.0])), n_in=draw(st.sampled_from([2, 14, 30])),
    )  # fmt: skip
    kind, seed = draw(st.sampled_from(kinds)), draw(st.integers(0, 999))
    coordinates = draw(st.sampled_from(("per_axis", "coin")))
    size, generator = architecture.n_parameters, torch.Generator().manual_seed(seed)
    mask = torch.rand(size, generator=generator) < draw(st.sampled_from([1, 0, 0.02, 0.3, 0.9]))
    theta = initial_parameters(architecture, seed)
    if kind == "halves":
        return Halves(architecture, (theta * mask).half(), coordinates)
    steps = torch.randint(0, 256, (2 * (architecture.depth + 1),), generator=generator)
    if kind == "siren":  # steps of 1/350 to 1/1,900
        steps = 135 + steps % 40
        found = theta / quantize.step_of(steps)[tensor_of(architecture)]
    elif kind == "gaussian":
        found = draw(st.sampled_from([0.5, 3, 100, 8_000, 40_000, 1e9])) * torch.randn(size, generator=generator)
    else:
        found = torch.full((size,), float(draw(st.sampled_from([1, -1, 52_586, 52_587, MOST, -MOST]))))
    found = found.round().long() * mask
    if kind != "siren" and draw(st.booleans()):
        found[draw(st.integers(0, size - 1))] = draw(st.sampled_from([10**9, -MOST - 1]))
    return Quantised(architecture, found, steps, coordinates)


def canonical(network: Quantised | Halves) -> tuple:
    """All that a file should hold of a network: a row of weights and a bias for every neuron that is not dead; of
    `Quantised` with biases that are not negative, in ascending order.
    """
    architecture, halves = network.architecture, isinstance(network, Halves)
    values = network.values.double() if halves else network.symbols.clamp(-MOST, MOST)
    rows = [torch.cat(pair, 2)[0].numpy() for pair in layers(architecture, values[None])]
    changed = True
    while changed:
        changed = False
        for layer in range(architecture.depth):
            alive = rows[layer].any(1) & rows[layer + 1][:, :-1].any(0)
            changed |= not alive.all()
            rows[layer], rows[layer + 1] = rows[layer][alive], rows[layer + 1][:, [*alive, True]]
    for layer in range(0 if halves else architecture.depth):
        sign = np.where(rows[layer][:, -1] < 0, -1, 1)
        order = np.argsort(sign * rows[layer][:, -1], kind="stable")
        rows[layer] = (sign[:, None] * rows[layer])[order]
        rows[layer + 1][:, :-1] = (rows[layer + 1][:, :-1] * sign)[:, order]
    steps = None if halves else network.steps.tolist()
    return network.coordinates, architecture.w0, architecture.n_in, steps, [row.tolist() for row in rows]


@st.composite
def tensors(draw) -> dict[str, torch.Tensor]:
    """Named tensors of any density; some filters and inputs are zero as a whole."""
    found = {}
    for name in draw(st.lists(st.text(max_size=8), unique=True, max_size=4)):
        shape = draw(st.lists(st.integers(1, 6), max_size=5))
        generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
        found[name] = torch.randn(shape, generator=generator)
        found[name] *= torch.rand(shape, generator=generator) < draw(st.sampled_from([0.3, 0, 0.03, 0.97, 1]))
        for dimension in range(min(2, len(shape)) if draw(st.booleans()) else 0):
            found[name].index_fill_(dimension, torch.tensor([draw(st.integers(0, shape[dimension] - 1))]), 0)
    return found


# Containers and damage ------------------------------------------------------------------------------------------------


containers = st.builds(
    Container, st.integers(1, 255),
    *2 * [st.sampled_from([1, 127, 128, 2**13]) | st.integers(1, 2**13)],
    st.dictionaries(st.sampled_from(sorted(SECTIONS)), st.binary(max_size=200), min_size=1),
)  # fmt: skip


def seal(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def harmed(data: bytes, rng: random.Random, others: Sequence[bytes] = (b"",)) -> bytes:
    """Flip, overwrite, cut, put in, take out, repeat bytes, or take another file's; headers are harmed most."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(min(len(data), rng.choice((12, 64, len(data)))) + 1)
        span = rng.randrange(17)
        match rng.randrange(8):
            case 0 | 1 if at < len(data):
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 2:
                odd = rng.choice((b"\0", b"\1", b"\x7f", b"\x80", b"\xff", b"\xff\xff\xff\xff\x0f", bytes(span)))
                data = data[:at] + odd + data[at + len(odd) :]
            case 3:
                data = data[:at]
            case 4:
                data = data[:at] + rng.randbytes(span) + data[at:]
            case 5:
                data = data[:at] + data[at + span :]
            case 6:
                data = data[: at + span] + data[at:]
            case 7:
                data = data[:at] + rng.choice(others)[at:]
    return data


# Every coder ----------------------------------------------------------------------------------------------------------

Parts = dict[str, bytes]


@dataclass(frozen=True)
class Coder:
    """A way to write something as bytes. A case is what is written, with all that a reader needs beside the bytes.

    ``same`` makes of a case what ``said`` must make of that which was read; ``again`` writes what was read.
    """

    cases: st.SearchStrategy
    write: Callable[[object], Parts]
    read: Callable[[object, Parts], object]
    same: Callable[[object], object]
    said: Callable[[object], object]
    again: Callable[[object, object], Parts]
    bits: Callable[[object], float] | None = None
    sealed: bool = False  # behind a checksum


def _array(found: np.ndarray) -> tuple:
    return found.dtype, found.shape, found.tolist()


def _of_symbols(module) -> dict:
    return {
        "write": lambda case: {"": module.encode(*case)},
        "read": lambda case, parts: module.decode(parts[""], case[0].shape, *case[1:]),
        "same": lambda case: _array(case[0]),
        "said": _array,
        "again": lambda case, found: {"": module.encode(found, *case[1:])},
        "bits": lambda case: module.bits(*case),
    }


CODERS = {
    "container": Coder(
        containers,
        lambda case: {"": pack(case)}, lambda case, parts: unpack(parts[""]),
        lambda case: (case, list(case.sections)), lambda found: (found, list(found.sections)),
        lambda case, found: {"": pack(found)}, sealed=True,
    ),
    "latents": Coder(step_latents(), **_of_symbols(latents)),
    "codes": Coder(codes(), **_of_symbols(integer_latents)),
    "contexts": Coder(in_context(), **_of_symbols(contexts)),
    "networks": Coder(
        networks(),
        network_weights.encode, lambda case, parts: network_weights.decode(parts), canonical, canonical,
        lambda case, found: network_weights.encode(found),
    ),
    "tensors": Coder(
        tensors(),
        lambda case: {"": sparse_weights.encode(case)}, lambda case, parts: sparse_weights.decode(parts[""]),
        lambda case: [(name, _array(t.half().numpy() + np.float16(0))) for name, t in case.items()],
        lambda found: [(name, _array(t.numpy())) for name, t in found.items()],
        lambda case, found: {"": sparse_weights.encode(found)}, sealed=True,
    ),
}  # fmt: skip

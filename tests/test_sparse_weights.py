"""Sparse tensors as bytes: what comes back, how many bytes, and that nothing else is ever read."""

from __future__ import annotations

import math
import random
import tracemalloc
import zlib

import numpy as np
import pytest
import torch

from sparsecomp.coding import sparse_weights
from sparsecomp.coding.bitstream import BitstreamError, varint
from sparsecomp.coding.sparse_weights import MAGIC, MOST_ENTRIES, decode, encode, reduction
from sparsecomp.complexity import count_parameters
from sparsecomp.models.sparse_cae import Encoder, Shape

HEAD = 4 + 1 + 1 + 4  # magic, version, number of tensors (below 128), checksum


def masked(*shape: int, density: float = 0.3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < density)


def some() -> dict[str, torch.Tensor]:
    structured = masked(12, 10, 3, 3)
    structured[[1, 4, 5]], structured[:, 7] = 0, 0
    return {
        "conv.weight": structured, "conv.bias": masked(12, density=0.8), "all": torch.ones(3, 4),
        "none": torch.zeros(5, 2), "linear": masked(7, 9), "scalar": torch.tensor(2.5), "line": masked(2, 3, 4, 5, 6),
        "ä": torch.zeros(1),
    }  # fmt: skip


def seal(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def header(name: str, shape: tuple[int, ...], densities: bytes = bytes(3)) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([len(shape)]) + b"".join(map(varint, shape)) + densities


def file(*heads: bytes, positions: bytes = b"", values: bytes = b"") -> bytes:
    return seal(MAGIC + varint(len(heads)) + b"".join(heads) + varint(len(positions)) + positions + values)


# There and back -------------------------------------------------------------------------------------------------------


def test_what_comes_back():
    tensors = some()
    back = decode(encode(tensors))
    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == torch.float16 and back[name].shape == tensor.shape
        assert torch.equal(back[name], tensor.half())
    assert encode(back) == encode(tensors)


@pytest.mark.parametrize("density", [0.0, 0.003, 0.1, 0.5, 0.97, 1.0])
def test_every_density_comes_back(density):
    tensors = {"w": masked(40, 30, 3, 3, density=density, seed=3)}
    assert torch.equal(decode(encode(tensors))["w"], tensors["w"].half())


def test_no_tensors_and_other_layouts():
    assert decode(encode({})) == {} and len(encode({})) == HEAD + 1
    tensor = masked(6, 4, 3, 3)
    assert encode({"w": tensor.to(memory_format=torch.channels_last)}) == encode({"w": tensor})
    assert encode({"w": tensor.double().requires_grad_()}) == encode({"w": tensor})


def test_what_fp16_makes_zero_is_zero():
    tensor = torch.tensor([1.0, -0.0, 1e-9, -1e-9, 2.0**-24, 65504.0])
    back = decode(encode({"x": tensor}))["x"]
    assert back.tolist() == [1.0, 0.0, 0.0, 0.0, 2.0**-24, 65504.0]
    assert not np.signbit(back.numpy()).any()


# Bytes ----------------------------------------------------------------------------------------------------------------


def test_bytes_by_hand():
    own = len(header("w", (8, 6, 3, 3)))
    assert len(encode({"w": torch.zeros(8, 6, 3, 3)})) == HEAD + own + 1
    assert len(encode({"w": torch.ones(8, 6, 3, 3)})) == HEAD + own + 1 + 2 * 432
    assert encode({"w": torch.zeros(8, 6, 3, 3)}) == file(header("w", (8, 6, 3, 3)))
    assert encode({"b": torch.tensor([0.0, 0.0])}) == file(header("b", (2,)))
    half_one = np.float16(1).tobytes()
    assert encode({"b": torch.ones(2)}) == file(header("b", (2,), bytes([255] * 3)), values=2 * half_one)


def test_positions_cost_their_entropy():
    tensor = masked(128, 128, 3, 3, density=0.15)
    share = float((tensor.half() != 0).float().mean())
    entropy = -(share * math.log2(share) + (1 - share) * math.log2(1 - share)) * tensor.numel() / 8
    values = 2 * round(share * tensor.numel())
    assert values + entropy < len(encode({"w": tensor})) < values + 1.002 * entropy + 50


def test_whole_filters_and_inputs_are_nearly_free():
    """The same number of weights, but in a quarter of the filters and half of the inputs."""
    spread, packed = masked(128, 64, 3, 3, density=0.125), torch.zeros(128, 64, 3, 3)
    packed[torch.randperm(128)[:32, None], torch.randperm(64)[None, :32]] = 1.0
    values = 2 * int((packed != 0).sum())
    assert len(encode({"w": packed})) < values + 16 + 8 + 40
    assert len(encode({"w": spread})) > 2 * int((spread != 0).sum()) + 4000


def test_the_reduction_is_that_of_the_file():
    encoder = Encoder(Shape(32, 8)).requires_grad_(False)
    for seed, parameter in enumerate(encoder.parameters()):
        parameter.copy_(masked(*parameter.shape, density=0.17 if parameter.dim() > 1 else 1.0, seed=seed))
    tensors = encoder.state_dict()
    assert reduction(tensors) == 1 - len(encode(tensors)) / (2 * count_parameters(encoder)), "of 16 bits each"
    # 17 % of 16 bits, and 0.66 bits for each position: 82 to 83 % of zeros do not make 82 % less memory.
    assert 0.76 < reduction(tensors) < 0.80
    assert reduction({"w": torch.ones(2)}) < 0


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"w" * 256: torch.ones(1)}, "a short name"),
        ({"w": torch.ones(1, 1, 1, 1, 1, 1, 1, 1, 1)}, "1 to 8 dimensions"),
        ({"w": torch.ones(3, 0)}, "some entries"),
        ({"w": torch.tensor([1.0, torch.nan])}, "'w' holds numbers that are not finite"),
        ({"w": torch.tensor([1e6])}, "not finite as fp16"),
        ({"w": torch.zeros(1).expand(MOST_ENTRIES + 1)}, "16777217 entries are more than"),
    ],
)
def test_what_cannot_be_written(tensors, message):
    with pytest.raises(ValueError, match=message):
        encode(tensors)


def test_every_flip_and_every_cut_is_an_error():
    data = encode({"w": masked(5, 4, 3), "b": masked(5)})
    for at in range(len(data)):
        for bit in range(8):
            harmed = bytearray(data)
            harmed[at] ^= 1 << bit
            with pytest.raises(BitstreamError, match="the checksum does not match" if at > 4 else "not a file"):
                decode(bytes(harmed))
        with pytest.raises(BitstreamError):
            decode(data[:at])
    with pytest.raises(BitstreamError):
        decode(data + b"\0")


@pytest.mark.parametrize("seed", range(6))
def test_forged_files_are_an_error_or_what_they_say(seed):
    """Harm behind a checksum that fits: `BitstreamError`, or another file that `encode` writes."""
    rng, data = random.Random(seed), encode(some())
    for _ in range(400):
        body = bytearray(data[:-4])
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(5, 120 if rng.random() < 0.6 else len(body))
            match rng.randrange(4):
                case 0:
                    body[at] ^= 1 << rng.randrange(8)
                case 1:
                    body[at] = rng.randrange(256)
                case 2:
                    del body[at : at + rng.randrange(1, 5)]
                case _:
                    body[at:at] = rng.randbytes(rng.randrange(1, 4))
        try:
            tensors = decode(seal(bytes(body)))
        except BitstreamError as error:
            assert "\n" not in str(error)
        else:
            assert encode(tensors) == seal(bytes(body))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"SPW", MAGIC, seal(MAGIC), seal(b"SPW\x1a\x02\x00\x00"),
        file(header("w", (0,))), file(header("w", (2, 0, 3))), file(header("w", (1,) * 9)),
        file(header("w", (1,) * 200)),
        file(header("w", (2**31, 2**31))), file(header("w", (MOST_ENTRIES + 1,))),
        file(*(header(f"w{i}", (2**21,)) for i in range(9))),
        file(header("w", (2,)), header("w", (2,))), file(header("w", (2,), bytes([255] * 3)), values=b"\0<"),
        file(header("w", (2,), bytes([255] * 3)), values=b"\0<\0\0"),  # a zero among the nonzeros
        file(header("w", (1,), bytes([255] * 3)), values=b"\0|"),  # infinity
        file(header("w", (2,), bytes([255, 0, 0]))), file(header("w", (2,), b"\0\0\1")),
        file(header("w", (2,)), values=b"\0"), file(header("w", (2,)), positions=b"\1"),
        seal(MAGIC + b"\xff\xff\xff\xff\x0f"), seal(MAGIC + b"\1\5wwwww"), seal(MAGIC + b"\1\1\xff\1\2\0\0\0\0"),
    ],
)  # fmt: skip
def test_impossible_files(data):
    with pytest.raises(BitstreamError):
        decode(data)


def test_the_largest_file_takes_bounded_memory_and_absurd_ones_none():
    tracemalloc.start()
    try:
        with pytest.raises(BitstreamError, match="impossible tensor"):
            decode(file(*(header(f"w{i}", (2**20,)) for i in range(17))))
        for shape in ((0, 2**31), (2**31, 0), (2**31, 2**31)):  # nothing, of many inputs or filters
            with pytest.raises(BitstreamError, match="impossible tensor"):
                decode(file(header("w", shape, bytes([255] * 3))))
        assert tracemalloc.get_traced_memory()[1] < 2**20
        back = decode(file(header("w", (MOST_ENTRIES // 2**12, 2**12))))
        assert back["w"].shape == (2**12, 2**12) and tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()


def test_matrices_of_any_shape():
    found = [sparse_weights._matrix(shape) for shape in ((), (4,), (4, 3), (4, 3, 2), (4, 3, 2, 5))]
    assert found == [(1, 1, 1), (4, 1, 1), (4, 3, 1), (4, 3, 2), (4, 3, 10)]

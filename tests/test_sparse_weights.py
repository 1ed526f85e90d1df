"""Sparse tensors as bytes: how many, and what is refused. Round trips and damage: contracts/test_coders.py."""

from __future__ import annotations

import hashlib
import math
import tracemalloc

import numpy as np
import pytest
import torch
from coding_strategies import seal

from reproduce.sparse_weights import MAGIC, MOST_ENTRIES, decode, encode
from sparsecomp.coding.container import BitstreamError, varint


def masked(*shape: int, density: float = 0.3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) < density)


def header(name: str, shape: tuple[int, ...], densities: bytes = bytes(3)) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([len(shape)]) + b"".join(map(varint, shape)) + densities


def file(*heads: bytes, positions: bytes = b"", values: bytes = b"") -> bytes:
    return seal(MAGIC + varint(len(heads)) + b"".join(heads) + varint(len(positions)) + positions + values)


def test_encode_writes_the_format_byte_by_byte():
    one = np.float16(1).tobytes()
    assert MAGIC == b"SPW\x1a\x01" and encode({}) == file() and decode(file()) == {}
    assert encode({"w": torch.zeros(8, 6, 3, 3)}) == file(header("w", (8, 6, 3, 3)))
    assert encode({"ä": torch.ones(2)}) == file(b"\2\xc3\xa4\1\2" + bytes([255] * 3), values=2 * one)
    tensor = ((torch.arange(16 * 12 * 3) * 37 % 11) < 3).float().view(16, 12, 3)
    tensor[::3], tensor[:, 5] = 0, 0
    found = encode({"w": tensor})  # filters, inputs and taps are range-coded
    assert hashlib.sha256(found).hexdigest()[:16] == "c3424c3bc9bb9e5b" and len(found) == 242


def test_encode_takes_any_layout_and_rounds_to_fp16():
    tensor = masked(6, 4, 3, 3)
    assert encode({"w": tensor.to(memory_format=torch.channels_last)}) == encode({"w": tensor})
    assert encode({"w": tensor.double().requires_grad_()}) == encode({"w": tensor})
    back = decode(encode({"x": torch.tensor([1.0, -0.0, 1e-9, -1e-9, 2.0**-24, 65504.0])}))["x"]
    assert back.tolist() == [1.0, 0.0, 0.0, 0.0, 2.0**-24, 65504.0] and not np.signbit(back.numpy()).any()
    assert torch.equal(decode(encode({"w": masked(40, 30, 3, 3)}))["w"], masked(40, 30, 3, 3).half())


def test_encode_spends_the_entropy_on_positions():
    tensor = masked(128, 128, 3, 3, density=0.15)
    share = float((tensor.half() != 0).float().mean())
    entropy = -(share * math.log2(share) + (1 - share) * math.log2(1 - share)) * tensor.numel() / 8
    values = 2 * round(share * tensor.numel())
    assert values + entropy < len(encode({"w": tensor})) < values + 1.002 * entropy + 50


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"w" * 256: torch.ones(1)}, "a short name"),
        ({"w": torch.ones(3, 0)}, "some entries"),
        ({"w": torch.tensor([1.0, torch.nan])}, "'w' holds numbers that are not finite"),
        ({"w": torch.tensor([1e6])}, "not finite as fp16"),
        ({"w": torch.zeros(1).expand(MOST_ENTRIES + 1)}, "16777217 entries are more than"),
    ],
)
def test_encode_refuses_what_cannot_be_written(tensors, message):
    with pytest.raises(ValueError, match=message):
        encode(tensors)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"SPW", MAGIC, seal(MAGIC), seal(b"SPW\x1a\x02\x00\x00"),
        file(header("w", (0,))), file(header("w", (2, 0, 3))), file(header("w", (1,) * 9)),
        file(header("w", (2,)), header("w", (2,))), file(header("w", (2,), bytes([255] * 3)), values=b"\0<"),
        file(header("w", (2,), bytes([255] * 3)), values=b"\0<\0\0"),  # a zero among the nonzeros
        file(header("w", (1,), bytes([255] * 3)), values=b"\0|"),  # infinity
        file(header("w", (2,), bytes([255, 0, 0]))), file(header("w", (2,), b"\0\0\1")),
        file(header("w", (2,)), values=b"\0"), file(header("w", (2,)), positions=b"\1"),
        seal(MAGIC + b"\xff\xff\xff\xff\x0f"), seal(MAGIC + b"\1\5wwwww"), seal(MAGIC + b"\1\1\xff\1\2\0\0\0\0"),
    ],
)  # fmt: skip
def test_decode_refuses_impossible_files(data):
    with pytest.raises(BitstreamError):
        decode(data)


def test_decode_takes_bounded_memory_for_the_largest_file_and_none_for_absurd_ones():
    tracemalloc.start()
    try:
        absurd = [file(*(header(f"w{i}", (2**20,)) for i in range(17))), file(header("w", (MOST_ENTRIES + 1,)))]
        for shape in ((0, 2**31), (2**31, 0), (2**31, 2**31)):  # nothing, of many inputs or filters
            absurd.append(file(header("w", shape, bytes([255] * 3))))
        for data in absurd:
            with pytest.raises(BitstreamError, match="impossible tensor"):
                decode(data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        back = decode(file(header("w", (MOST_ENTRIES // 2**12, 2**12))))
        assert back["w"].shape == (2**12, 2**12) and tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()

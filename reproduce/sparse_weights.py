"""Sparse tensors as bytes: what "memory" comes to when the encoder of an autoencoder is really written down.

Gille et al. (2022) state a reduction of memory. Here it is the length of a file against 16 bits a weight: every value
that is not zero as fp16, and the positions of the zeros range-coded. ::

    magic "SPW\\x1a", version u8, number of tensors (varint)
    per tensor: length of the name u8, name (UTF-8), dimensions u8, each one (varint), three densities u8
    length of the positions (varint), positions, values, CRC-32 of everything before (u32, little endian)

A tensor is seen as ``(filters, inputs, taps)``. First it says which filters have a weight that is not zero, then which
inputs have, then for all pairs of these two which taps are not zero: three sequences of binary symbols, each with one
density a tensor (`range_coder.density_of`; where none or all are there nothing is written). So a whole zero filter or
input costs one symbol, not one a weight. Values stand in the order of positions.

Decoding ends by encoding again: a stream that no encoder writes is refused.
"""

from __future__ import annotations

import math
import zlib

import constriction
import numpy as np
import torch

from sparsecomp.checks import InputError
from sparsecomp.coding.container import BitstreamError, read_varint, varint
from sparsecomp.coding.range_coder import binary, density_near, reader, words

MAGIC = b"SPW\x1a\x01"  # the last byte is the version
MOST_ENTRIES, MOST_DIMENSIONS = 2**24, 8  # of all tensors together; of one: a forged file must not ask for more


def encode(tensors: dict[str, torch.Tensor]) -> bytes:
    """Tensors as a file that holds what is not zero.

    Parameters
    ----------
    tensors : dict of str to float tensor
        Such as ``encoder.state_dict()``. Rounded to fp16; what that makes zero counts as zero, and so does -0.

    Raises
    ------
    ValueError
        If a name takes more than 255 bytes, a tensor is empty, has more than 8 dimensions or a value that is not finite
        as fp16, or there are more than 2^24 entries.
    """
    if (entries := sum(tensor.numel() for tensor in tensors.values())) > MOST_ENTRIES:
        raise InputError(f"{entries} entries are more than the {MOST_ENTRIES} that can be written")
    coder, values = constriction.stream.queue.RangeEncoder(), []
    header = bytearray(MAGIC + varint(len(tensors)))
    for name, tensor in tensors.items():
        called, shape = name.encode(), tuple(tensor.shape)
        if len(called) > 255 or len(shape) > MOST_DIMENSIONS or not tensor.numel():
            raise InputError(f"{name[:40]!r} {shape}: a short name, 1 to 8 dimensions and some entries are needed")
        halves = tensor.detach().cpu().to(torch.float16).contiguous().numpy().reshape(_matrix(shape))
        if not np.isfinite(halves).all():
            raise InputError(f"{name!r} holds numbers that are not finite as fp16")
        header += bytes([len(called)]) + called + bytes([len(shape)]) + b"".join(map(varint, shape))
        there = halves != 0
        filters, inputs = there.any((1, 2)), there.any((0, 2))
        for present in (filters, inputs, there[filters][:, inputs].ravel()):
            density = 0 if not present.any() else 255 if present.all() else density_near(present.mean())
            if density not in (0, 255):
                coder.encode(present.astype(np.int32), binary(density))
            header.append(density)
        values.append(halves[there].astype("<f2").tobytes())
    positions = words(coder)
    written = bytes(header) + varint(len(positions)) + positions + b"".join(values)
    return written + zlib.crc32(written).to_bytes(4, "little")


def decode(data: bytes) -> dict[str, torch.Tensor]:
    """The tensors, fp16, in the order they were written.

    Raises
    ------
    BitstreamError
        If these are not bytes that `encode` writes.
    """
    body = data[:-4]
    if data[: len(MAGIC)] != MAGIC:
        raise BitstreamError("not a file of sparse tensors of version 1")
    if zlib.crc32(body) != int.from_bytes(data[-4:], "little"):
        raise BitstreamError("the checksum does not match: the file is damaged or cut off")
    try:
        tensors = _decode(body)
        same = encode(tensors) == data
    except BitstreamError:
        raise
    # AssertionError: constriction knows no symbol of this code; the others: the file ends early, or says nonsense.
    except (AssertionError, ValueError, IndexError) as error:
        raise BitstreamError(f"the tensors are damaged: {error}") from error
    if not same:
        raise BitstreamError("the tensors are damaged: no encoder writes these bytes")
    return tensors


def _decode(body: bytes) -> dict[str, torch.Tensor]:
    count, at = read_varint(body, len(MAGIC))
    heads: dict[str, tuple[tuple[int, ...], bytes]] = {}
    entries = 0
    for _ in range(count):
        name = body[at + 1 : at + 1 + body[at]].decode()  # a ValueError if this is not UTF-8
        at += 1 + body[at]
        dimensions, at = body[at], at + 1
        shape: tuple[int, ...] = ()
        for _ in range(dimensions):
            side, at = read_varint(body, at)
            shape += (side,)
        entries += math.prod(shape)
        if not 0 < math.prod(shape) or entries > MOST_ENTRIES:
            raise BitstreamError(f"impossible tensor {name[:40]!r} {shape}, after {len(heads)} others")
        heads[name], at = (shape, body[at : at + 3]), at + 3
    length, at = read_varint(body, at)
    positions, values = reader(body[at : at + length]), body[at + length :]

    def present(entries: int, density: int) -> np.ndarray:
        if density in (0, 255) or not entries:
            return np.full(entries, density == 255)
        return positions.decode(binary(density), entries).astype(bool)

    tensors, at = {}, 0
    for name, (shape, (of_filters, of_inputs, of_taps)) in heads.items():
        there = np.zeros(_matrix(shape), bool)
        filters, inputs = present(there.shape[0], of_filters), present(there.shape[1], of_inputs)
        block = int(filters.sum()), int(inputs.sum()), there.shape[2]
        there[np.ix_(filters, inputs)] = present(math.prod(block), of_taps).reshape(block)
        halves, kept = np.zeros(there.shape, np.float16), int(there.sum())
        halves[there] = np.frombuffer(values[at : at + 2 * kept], "<f2")  # a ValueError if there are fewer
        tensors[name], at = torch.from_numpy(halves.reshape(shape)), at + 2 * kept
    return tensors


def _matrix(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Any shape as (filters, inputs, taps)."""
    filters, inputs, *taps = (*shape, 1, 1)[: max(2, len(shape))]
    return filters, inputs, math.prod(taps)


def reduction(tensors: dict[str, torch.Tensor]) -> float:
    """By what share the file is shorter than all values as fp16: ``1 - bytes / (2 entries)``; below 0 if it is not."""
    return 1 - len(encode(tensors)) / (2 * sum(tensor.numel() for tensor in tensors.values()))

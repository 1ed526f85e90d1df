"""The ``.spc`` container: one picture, one codec, a few sections, one checksum.

==========  =======================  ==========================================================
bytes       field                    note
==========  =======================  ==========================================================
4           magic ``SPC\\x1a``        the 0x1A stops a terminal from printing the rest
1           version                  1
1           codec                    its number, from 1 on (`codecs.base` knows the names)
1 to 5      height                   varint, at least 1
1 to 5      width                    varint, at least 1
1           number of sections       at least 1
2 to 6      per section: id, length  number from `SECTIONS`, varint
the rest    the sections' bytes      in the order of the table, nothing between or behind them
4           CRC-32                   over everything before it, little endian
==========  =======================  ==========================================================

A varint is an unsigned LEB128 number below 2^32 in its shortest form, so that one container has one
sequence of bytes. For a Kodak picture in one section the container costs 18 or 19 bytes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from sparsecomp.checks import InputError, refuse, whole

MAGIC = b"SPC\x1a"
VERSION = 1
MAX_PIXELS = 2**26
SECTIONS = {"payload": 1, "network": 2, "weights": 3, "tables": 4, "positions": 5, "values": 6}

_SECTION_NAMES = {number: name for name, number in SECTIONS.items()}
_CHECKSUM_BYTES = 4


class BitstreamError(InputError):
    """A file that is not a whole, unharmed, plausible ``.spc``; the message says what is wrong with it."""


@dataclass(frozen=True)
class Container:
    """What an ``.spc`` file holds: the codec's number, the picture's size in pixels, named sections."""

    codec: int
    height: int
    width: int
    sections: dict[str, bytes]


def pack(container: Container) -> bytes:
    """Write a container as the bytes of an ``.spc`` file.

    Raises
    ------
    ValueError
        If the codec's number is outside 1 .. 255, there is no section, a section has no number in `SECTIONS`, or a
        side or a section's length is outside 1 (a section: 0) .. 2^32 - 1.
    """
    if container.codec not in range(1, 256):
        refuse("codec", "a number in 1 .. 255", container.codec)
    if not container.sections or not set(container.sections) <= set(SECTIONS):
        refuse("sections", f"some of {', '.join(SECTIONS)}", list(container.sections))
    for side in ("height", "width"):
        whole(side, getattr(container, side), 1, 2**32 - 1)
    header = bytearray(MAGIC)
    header += bytes([VERSION, container.codec])
    header += varint(container.height) + varint(container.width)
    header.append(len(container.sections))
    for name, body in container.sections.items():
        header.append(SECTIONS[name])
        header += varint(len(body))
    written = bytes(header) + b"".join(container.sections.values())
    return written + zlib.crc32(written).to_bytes(_CHECKSUM_BYTES, "little")


def unpack(data: bytes, max_pixels: int = MAX_PIXELS) -> Container:
    """Read an ``.spc`` file; nothing is allocated that is not already there in `data`.

    Parameters
    ----------
    data : bytes
        The whole file.
    max_pixels : int
        A picture of more pixels than this is refused, before anything is decoded.

    Raises
    ------
    BitstreamError
        On anything malformed: foreign magic, unknown version or section, wrong checksum, a varint that is cut off,
        too long or not minimal, an empty or oversized picture, a section twice, lengths that do not add up to the
        bytes there are. (Which codecs are known is up to `codecs.base`.)
    """
    return _parse(data, max_pixels)[0]


def layout(data: bytes, max_pixels: int = MAX_PIXELS) -> list[tuple[str, int]]:
    """List what an ``.spc`` file spends its bytes on: header, each section, checksum.

    Returns
    -------
    list of (str, int)
        Names and bytes in file order; the bytes sum to ``len(data)``.

    Raises
    ------
    BitstreamError
        As `unpack`.
    """
    container, header = _parse(data, max_pixels)
    sections = [(name, len(body)) for name, body in container.sections.items()]
    return [("header", header), *sections, ("checksum", _CHECKSUM_BYTES)]


def _parse(data: bytes, max_pixels: int) -> tuple[Container, int]:
    """Give the container and the length of its header."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise BitstreamError(f"an .spc file is bytes, not {type(data).__name__}")
    data = bytes(data)
    if data[:4] != MAGIC:
        raise BitstreamError("not an .spc file: it does not begin with the magic bytes")
    if len(data) < len(MAGIC) + 2 + _CHECKSUM_BYTES:
        raise BitstreamError(f"the file ends after {len(data)} bytes, inside its header")
    if data[4] != VERSION:
        raise BitstreamError(f"unknown version {data[4]} of the .spc format; this reader knows {VERSION}")
    body, checksum = data[:-_CHECKSUM_BYTES], int.from_bytes(data[-_CHECKSUM_BYTES:], "little")
    if zlib.crc32(body) != checksum:
        raise BitstreamError("the checksum does not match: the file is damaged or cut off")
    if body[5] == 0:
        raise BitstreamError("no codec has number 0")
    height, at = read_varint(body, 6)
    width, at = read_varint(body, at)
    if height < 1 or width < 1:
        raise BitstreamError(f"the picture is empty: {height} x {width}")
    if height * width > max_pixels:
        raise BitstreamError(f"the picture of {height} x {width} is over the limit of {max_pixels} pixels")
    count, at = _read_byte(body, at)
    if count < 1:
        raise BitstreamError("the file has no sections")
    lengths: dict[str, int] = {}
    for _ in range(count):
        number, at = _read_byte(body, at)
        if number not in _SECTION_NAMES:
            raise BitstreamError(f"unknown section number {number}")
        if _SECTION_NAMES[number] in lengths:
            raise BitstreamError(f"section {_SECTION_NAMES[number]!r} occurs twice")
        lengths[_SECTION_NAMES[number]], at = read_varint(body, at)
    declared, there = sum(lengths.values()), len(body) - at
    if declared != there:
        raise BitstreamError(f"the sections declare {declared} bytes, the file has {there}")
    header, sections = at, {}
    for name, length in lengths.items():
        sections[name] = body[at : at + length]
        at += length
    return Container(body[5], height, width, sections), header


def varint(value: int) -> bytes:
    """Write 0 <= value < 2^32 as LEB128: seven bits a byte, lowest first, all but the last marked by 0x80."""
    if not 0 <= value < 2**32:
        refuse("value", "in 0 .. 2^32 - 1", value)
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a varint at `at`; give its value and the place behind it."""
    value = 0
    for shift in range(0, 35, 7):
        byte, at = _read_byte(data, at)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift or value >= 2**32:
                raise BitstreamError(f"a number before byte {at} is not a minimal varint below 2^32")
            return value, at
    raise BitstreamError(f"a number before byte {at} is longer than 5 bytes")


def _read_byte(data: bytes, at: int) -> tuple[int, int]:
    if at >= len(data):
        raise BitstreamError("the file ends inside its header")
    return data[at], at + 1

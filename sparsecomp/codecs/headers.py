"""The headers of foreign streams: what JPEG, JPEG 2000, WebP, AVIF and JPEG XL files say of their size.

A foreign decoder never sees bytes that were not looked at first. Each function reads one format's own header, accepts
only the kind of stream that the encoders of `codecs.standard` write (one picture of three 8-bit channels; no metadata,
alpha or tiles), and gives height and width. `BitstreamError` says what is unusual; a stream that is cut off within its
header may also raise `struct.error` or `IndexError`, or `KeyError` where a part is missing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sparsecomp.coding.container import BitstreamError


def _require(condition: bool, codec: str, what: str) -> None:
    if not condition:
        raise BitstreamError(f"not a plain {codec} payload: {what}")


def jpeg(payload: bytes) -> tuple[int, int]:
    """Read height and width from the frame header of a JPEG stream (ITU-T T.81, B.2)."""
    _require(payload[:2] == b"\xff\xd8", "jpeg", "no start of image")
    # A scan may cost a walk over the whole picture for a few bytes; libjpeg's own progression has ten.
    _require(payload.count(b"\xff\xda") <= 32, "jpeg", "too many scans")
    at = 2
    size: tuple[int, int] | None = None
    while True:
        marker, length = struct.unpack_from(">HH", payload, at)
        if marker == 0xFFDA and size is not None:
            return size
        known = (0xFFE0, 0xFFDB, 0xFFC4, 0xFFC0, 0xFFC2)
        _require(marker in known, "jpeg", f"marker {marker:04X} in its header")
        if marker in (0xFFC0, 0xFFC2):  # baseline, progressive
            precision, height, width, channels = struct.unpack_from(">BHHB", payload, at + 4)
            _require((precision, channels) == (8, 3), "jpeg", "not three channels of 8 bits")
            size = height, width
        at += 2 + length


def jpeg2000(payload: bytes) -> tuple[int, int]:
    """Read height and width from a JPEG 2000 codestream of one tile, one layer (ITU-T T.800, annex A)."""
    _require(payload[:4] == b"\xff\x4f\xff\x51", "jpeg2000", "no start of codestream")
    length, _, width, height, *origin_and_tile, channels = struct.unpack_from(">HHIIIIIIIIH", payload, 4)
    _require(origin_and_tile == [0, 0, width, height, 0, 0], "jpeg2000", "more than one tile")
    plain = (length, channels, payload[42:51]) == (47, 3, b"\7\1\1" * 3)
    _require(plain, "jpeg2000", "not three channels of 8 bits")
    at = 51
    while True:
        marker, length = struct.unpack_from(">HH", payload, at)
        if marker == 0xFF90:
            break
        _require(marker in (0xFF52, 0xFF5C, 0xFF64), "jpeg2000", f"marker {marker:04X} in its header")
        if marker == 0xFF52:  # small code-blocks, precincts or many layers would be memory for nothing
            style, order, layers, _, _, *blocks, passes, _ = struct.unpack_from(">BBHBBBBBB", payload, at + 4)
            plain = (length, style, order, layers, *blocks, passes) == (12, 0, 0, 1, 4, 4, 0)
            _require(plain, "jpeg2000", "an unusual coding style")
        at += 2 + length
    tile, size, part, _, marker = struct.unpack_from(">HIBBH", payload, at + 4)
    whole = (tile, at + size + 2, part, marker) == (0, len(payload), 0, 0xFF93)
    _require(whole, "jpeg2000", "the one tile is not all there is")
    return height, width


def webp(payload: bytes) -> tuple[int, int]:
    """Read height and width from a simple lossy WebP file (RFC 9649, 2.5; RFC 6386, 9.1)."""
    riff, length, form, chunk = struct.unpack_from("<4sI8sI", payload)
    _require((riff, form) == (b"RIFF", b"WEBPVP8 "), "webp", "no RIFF file of one VP8 chunk")
    _require(length + 8 == len(payload) == 20 + chunk + chunk % 2, "webp", "its lengths do not add up")
    start, width, height = struct.unpack_from("<3sHH", payload, 23)
    _require(payload[20] & 1 == 0 and start == b"\x9d\x01\x2a", "webp", "not a key frame")
    return height & 0x3FFF, width & 0x3FFF


def avif(payload: bytes) -> tuple[int, int]:
    """Read height and width of an AVIF file of one item (ISO/IEC 14496-12, 23008-12).

    The boxes and the AV1 sequence header both state the size; they must agree, because the decoder allocates
    by the one and then scales to the other.
    """
    top = list(_boxes(payload, 0, len(payload)))
    _require([kind for kind, *_ in top] == [b"ftyp", b"meta", b"mdat"], "avif", "not one ftyp, meta and mdat")
    (_, start, stop), (_, at, end) = top[1:]
    meta = {kind: (first, last) for kind, first, last in _boxes(payload, start + 4, stop)}
    _require(set(meta) == {b"hdlr", b"pitm", b"iloc", b"iinf", b"iprp"}, "avif", "unusual boxes in meta")
    location = payload[slice(*meta[b"iloc"])]
    plain = struct.pack(">IHHHHHII", 0, 0x4400, 1, 1, 0, 1, at, end - at)
    _require(location == plain, "avif", "its one item is not the whole of mdat")
    properties = {kind: span for kind, *span in _boxes(payload, *meta[b"iprp"])}
    sizes = []
    for kind, first, _ in _boxes(payload, *properties[b"ipco"]):
        _require(kind in (b"ispe", b"pixi", b"av1C", b"colr"), "avif", "unusual properties")
        if kind == b"ispe":
            sizes.append(struct.unpack_from(">II", payload, first + 4)[::-1])
    while at < end:  # the open bitstream units of the AV1 specification, 5.3
        header, length, shift = payload[at], 0, 0
        _require(header & 0x87 == 0x02, "avif", "an unusual AV1 unit")
        while True:
            at += 1
            _require(shift < 56, "avif", "a length of more than 8 bytes")
            length, shift = length | (payload[at] & 0x7F) << shift, shift + 7
            if payload[at] < 0x80:
                break
        at += 1
        if header >> 3 == 1:
            sizes.append(_av1(payload[at : at + length]))
        at += length
    agree = at == end and len(sizes) == 2 and sizes[0] == sizes[1]
    _require(agree, "avif", "not one size in its boxes and its AV1 stream")
    return sizes[0]


def _boxes(payload: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Walk the boxes between two places: kind, first byte of the body, the byte after it."""
    while at < end:
        length, kind = struct.unpack_from(">I4s", payload, at)
        _require(8 <= length <= end - at, "avif", "a box longer than what holds it")
        yield kind, at + 8, at + length
        at += length


def _av1(unit: bytes) -> tuple[int, int]:
    """Read height and width from the sequence header of an AV1 still picture (AV1 specification, 5.5)."""
    word, left = int.from_bytes(unit[:8].ljust(8, b"\0"), "big"), 64

    def take(bits: int) -> int:
        nonlocal left
        left -= bits
        return word >> left & (1 << bits) - 1

    take(3)  # profile
    _require(take(2) == 3, "avif", "not a still picture")
    take(5)  # level
    width_bits, height_bits = take(4) + 1, take(4) + 1
    width, height = take(width_bits) + 1, take(height_bits) + 1
    return height, width


def jpegxl(payload: bytes) -> tuple[int, int]:
    """Read height and width from a bare JPEG XL codestream (ISO/IEC 18181-1, annexes D, F and G).

    The image metadata must be the default: XYB, 8 bits, no alpha, animation, preview or profile. Frames are as
    libjxl writes them: one that fills the picture, and at most one before it with the patches it repeats, which
    may not be much larger than the picture itself.
    """
    _require(payload[:2] == b"\xff\x0a", "jpegxl", "no bare codestream")
    at = 16

    def take(bits: int) -> int:
        nonlocal at
        word = int.from_bytes(payload[at // 8 : at // 8 + 5], "little") >> at % 8
        at += bits
        return word & (1 << bits) - 1

    def number(*kinds: tuple[int, int]) -> int:
        offset, bits = kinds[take(2)]
        return offset + take(bits)

    def side() -> int:
        return 8 * (take(5) + 1) if small else number((1, 9), (1, 13), (1, 18), (1, 30))

    small = take(1)
    height, ratio = side(), take(3)
    wide, high = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    width = height * wide // high if ratio else side()
    _require(take(2) == 3, "jpegxl", "metadata that is not the default")
    first = True
    while True:
        at += -at % 8
        if take(1):  # all default: fills the picture and is the last
            return height, width
        kind, flags = take(3), number((0, 0), (1, 4), (17, 8), (48, 0))
        _require(not flags & 48, "jpegxl", "splines, or a frame drawn on another")
        if kind == 0:  # regular, VarDCT: upsampling and scales; one pass, no crop, no blending, the last
            take(8)
            _require(take(6) == 0b100000, "jpegxl", "a frame that is not the whole picture")
            return height, width
        # For reference only, modular: not upsampled, cropped; saved as number 3, not filtered, sections in order.
        upsampling, group, crop = take(2), 128 << take(2), take(1)
        _require((first, kind, upsampling, crop) == (True, 6, 0, 1), "jpegxl", "an unusual frame")
        columns, rows = (number((0, 8), (256, 11), (2304, 14), (18688, 30)) for _ in range(2))
        _require(rows * columns <= 2 * height * width + 4096, "jpegxl", "patches larger than the picture")
        _require(take(14) == 0b111, "jpegxl", "an unusual frame of patches")
        at += -at % 8
        parts, whole = (-(-rows // size) * -(-columns // size) for size in (group, 8 * group))
        sections = 1 if parts == 1 else 2 + whole + parts
        length = sum(number((0, 10), (1024, 14), (17408, 22), (4211712, 30)) for _ in range(sections))
        at += -at % 8 + 8 * length
        first = False

"""The container, byte by byte and from the wrong side."""

from __future__ import annotations

import zlib

import pytest

from sparsecomp.coding import bitstream
from sparsecomp.coding.bitstream import BitstreamError, Container, layout, pack, unpack

# version 1, codec 1 (jpeg), height 200 = 0xC8 0x01, width 3, two sections: payload of 2 bytes, weights of 0.
GOLDEN_HEADER = b"SPC\x1a" + bytes([1, 1, 0xC8, 0x01, 3, 2, 1, 2, 3, 0])


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


def test_golden_file_byte_by_byte():
    container = Container(1, 200, 3, {"payload": b"ab", "weights": b""})
    assert pack(container) == sealed(GOLDEN_HEADER + b"ab")
    assert unpack(sealed(GOLDEN_HEADER + b"ab")) == container
    # CRC-32 of "123456789" is the check value of the polynomial used by zlib, PNG and Ethernet.
    assert zlib.crc32(b"123456789") == 0xCBF43926


@pytest.mark.parametrize("codec", [1, 20, 255])
@pytest.mark.parametrize("size", [(1, 1), (127, 128), (16383, 16), (2**26, 1), (1, 2**26)])
def test_round_trip(codec, size):
    container = Container(codec, *size, {name: name.encode() for name in bitstream.SECTIONS})
    assert unpack(pack(container)) == container


def test_layout_sums_to_the_file():
    data = pack(Container(16, 512, 768, {"network": b"1234", "weights": bytes(5000)}))
    assert layout(data) == [("header", len(data) - 5008), ("network", 4), ("weights", 5000), ("checksum", 4)]
    assert sum(size for _, size in layout(data)) == len(data)


def test_overhead_on_kodak_is_small():
    assert len(pack(Container(1, 512, 768, {"payload": bytes(10_000)}))) - 10_000 == 18


@pytest.mark.parametrize(
    ("container", "message"),
    [
        (Container(0, 1, 1, {"payload": b""}), "codec must be a number in 1 .. 255, got 0"),
        (Container(256, 1, 1, {"payload": b""}), "got 256"),
        (Container("jpeg", 1, 1, {"payload": b""}), "got 'jpeg'"),
        (Container(1, 0, 1, {"payload": b""}), "height=0"),
        (Container(1, 1, -1, {"payload": b""}), "width=-1"),
        (Container(1, 1, 2**32, {"payload": b""}), "4294967296"),
        (Container(1, 1, 1, {}), "sections"),
        (Container(1, 1, 1, {"thumbnail": b""}), "thumbnail"),
    ],
)
def test_pack_refuses(container, message):
    with pytest.raises(ValueError, match=message):
        pack(container)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"SPC\x1a\x02" + GOLDEN_HEADER[5:] + b"ab", "version 2"),
        (b"SPC\x1a\1\1" + b"\x80\x00" + b"\1\1\1\0", "minimal"),
        (b"SPC\x1a\1\1" + b"\xff\xff\xff\xff\x1f" + b"\1\1\1\0", "minimal varint below"),
        (b"SPC\x1a\1\1" + b"\xff" * 6 + b"\1\1\1\0", "longer than 5 bytes"),
        (b"SPC\x1a\1\1" + b"\xff\xff", "inside its header"),
        (b"SPC\x1a\1\1" + b"\0\1" + b"\1\1\0", "empty: 0 x 1"),
        (b"SPC\x1a\1\1" + b"\1\0" + b"\1\1\0", "empty: 1 x 0"),
        (b"SPC\x1a\1\1" + b"\x80\x80\x80\x20\x02" + b"\1\1\0", "over the limit"),
        (b"SPC\x1a\1\1" + b"\1\1" + b"\0", "no sections"),
        (b"SPC\x1a\1\1" + b"\1\1" + b"\1\x09\0", "section number 9"),
        (b"SPC\x1a\1\1" + b"\1\1" + b"\2\1\0\1\0", "occurs twice"),
        (b"SPC\x1a\1\1" + b"\1\1" + b"\2\1\0", "inside its header"),
        (GOLDEN_HEADER + b"a", "declare 2 bytes, the file has 1"),
        (GOLDEN_HEADER + b"abc", "declare 2 bytes, the file has 3"),
        (b"SPC\x1a\1\1" + b"\1\1" + b"\1\1\xff\xff\xff\xff\x0f", "declare 4294967295 bytes"),
    ],
)
def test_malformed_behind_a_good_checksum(body, message):
    with pytest.raises(BitstreamError, match=message):
        unpack(sealed(body))


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "magic"), (b"\xff\xd8\xff", "magic"), (b"SPC\x1a", "ends after 4 bytes"), (None, "not NoneType")],
)
def test_not_a_file_at_all(data, message):
    with pytest.raises(BitstreamError, match=message):
        unpack(data)


def test_every_cut_and_every_flipped_bit_is_noticed():
    data = pack(Container(3, 40, 24, {"payload": b"some bytes"}))
    broken = [data[:n] for n in range(len(data))] + [data + b"\0"]
    for i in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[i // 8] ^= 1 << i % 8
        broken.append(bytes(flipped))
    for candidate in broken:
        with pytest.raises(BitstreamError):
            unpack(candidate)


def test_the_limit_of_pixels_is_the_callers():
    data = pack(Container(1, 10, 10, {"payload": b"x"}))
    assert unpack(data, max_pixels=100).height == 10
    with pytest.raises(BitstreamError, match="limit of 99 pixels"):
        unpack(data, max_pixels=99)

"""The container, byte by byte and from the wrong side. Round trips and damage: contracts/test_coders.py."""

from __future__ import annotations

import pytest
from coding_strategies import seal

from sparsecomp.coding.container import SECTIONS, BitstreamError, Container, layout, pack, read_varint, unpack, varint

# version 1, codec 1 (jpeg), height 200 = 0xC8 0x01, width 3, two sections: payload of 2 bytes, weights of 0.
GOLDEN_HEADER = b"SPC\x1a" + bytes([1, 1, 0xC8, 0x01, 3, 2, 1, 2, 3, 0])


def test_pack_writes_the_golden_file_byte_by_byte():
    container = Container(1, 200, 3, {"payload": b"ab", "weights": b""})
    assert pack(container) == seal(GOLDEN_HEADER + b"ab")
    assert unpack(seal(GOLDEN_HEADER + b"ab")) == container


def test_numbers_of_sections_stay_what_they_are():
    assert SECTIONS == {"payload": 1, "network": 2, "weights": 3, "tables": 4, "positions": 5, "values": 6}


@pytest.mark.parametrize("value", [0, 127, 128, 16_383, 16_384, 2**26, 2**32 - 1])
def test_varint_is_read_back_from_where_it_stands(value):
    assert read_varint(b"\x80" + varint(value) + b"\0", 1) == (value, 1 + len(varint(value)))
    assert len(varint(value)) == max(1, -(-value.bit_length() // 7))


def test_layout_sums_to_the_file():
    data = pack(Container(16, 512, 768, {"network": b"1234", "weights": bytes(5000)}))
    assert layout(data) == [("header", len(data) - 5008), ("network", 4), ("weights", 5000), ("checksum", 4)]


@pytest.mark.parametrize(
    ("container", "message"),
    [
        (Container(0, 1, 1, {"payload": b""}), "codec must be a number in 1 .. 255, got 0"),
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
        (b"SPC\x1a\x01\0" + GOLDEN_HEADER[6:] + b"ab", "no codec has number 0"),
        (b"SPC\x1a\1\1" + b"\x80\x00" + b"\1\1\1\0", "minimal"),
        (b"SPC\x1a\1\1" + b"\xff\xff\xff\xff\x1f" + b"\1\1\1\0", "minimal varint below"),
        (b"SPC\x1a\1\1" + b"\xff" * 6 + b"\1\1\1\0", "longer than 5 bytes"),
        (b"SPC\x1a\1\1" + b"\xff\xff", "inside its header"),
        (b"SPC\x1a\1\1" + b"\0\1" + b"\1\1\0", "empty: 0 x 1"),
        (b"SPC\x1a\1\1" + b"\x80\x80\x80\x20\x02" + b"\1\1\0", "over the limit"),
        (b"SPC\x1a\1\1" + b"\1\1" + b"\0", "no sections"),
        (b"SPC\x1a\1\1" + b"\1\1" + b"\1\x09\0", "section number 9"),
        (b"SPC\x1a\1\1" + b"\1\1" + b"\2\1\0\1\0", "occurs twice"),
        (b"\xff\xd8\xff" + GOLDEN_HEADER, "magic"),
        (GOLDEN_HEADER + b"a", "declare 2 bytes, the file has 1"),
        (GOLDEN_HEADER + b"abc", "declare 2 bytes, the file has 3"),
        (b"SPC\x1a\1\1" + b"\1\1" + b"\1\1\xff\xff\xff\xff\x0f", "declare 4294967295 bytes"),
    ],
)
def test_unpack_says_what_is_wrong(body, message):
    with pytest.raises(BitstreamError, match=message):
        unpack(seal(body))


def test_unpack_takes_its_limit_of_pixels_from_the_caller():
    data = pack(Container(1, 10, 10, {"payload": b"x"}))
    assert unpack(data, max_pixels=100).height == 10 == unpack(bytearray(data)).width
    with pytest.raises(BitstreamError, match="limit of 99 pixels"):
        unpack(data, max_pixels=99)
    assert unpack(pack(Container(1, 2**26, 1, {"payload": b""}))).height == 2**26

"""What every coder promises, whatever is written with it and whatever it is given to read."""

from __future__ import annotations

import copy
import random

import pytest
from coding_strategies import CODERS, Coder, Parts, drawn, harmed, seal
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsecomp.coding.container import BitstreamError

damage = settings(drawn, max_examples=30)
every_coder = pytest.mark.parametrize("coder", CODERS.values(), ids=CODERS)


def survives(coder: Coder, case: object, parts: Parts) -> bool:
    """Whether it is read; then it can be written, to the same bytes where no table could have been another one."""
    try:
        found = coder.read(case, parts)
    except BitstreamError as error:
        assert str(error) and "\n" not in str(error)
        return False
    if len(parts) == 1:
        assert coder.again(case, found) == parts, "two files for one content"
    else:
        assert coder.said(coder.read(case, coder.again(case, found))) == coder.said(found)
    return True


@every_coder
@drawn
@given(data=st.data())
def test_coder_returns_what_was_written_and_writes_it_again(coder, data):
    case = data.draw(coder.cases)
    before = copy.deepcopy(case)
    written = coder.write(case)
    assert coder.same(case) == coder.same(before), "the argument was changed"
    found = coder.read(case, written)
    assert coder.said(found) == coder.same(case)
    assert coder.again(case, found) == written == coder.write(case)
    for name in {"", "positions", "values"} & set(written):
        assert coder.sealed or not written[name].endswith(b"\0"), "zeros at the end are left out"


@every_coder
@damage
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_coder_raises_bitstream_errors_alone_for_damaged_and_foreign_bytes(coder, data, seed):
    case, rng = data.draw(coder.cases), random.Random(seed)
    written = coder.write(case)
    for _ in range(20):
        name = rng.choice(sorted(written))
        body = harmed(written[name][:-4] if coder.sealed else written[name], rng)
        survives(coder, case, written | {name: seal(body) if coder.sealed else body})
        raw = harmed(written[name], rng)
        if coder.sealed and raw != written[name]:
            assert not survives(coder, case, {name: raw}), "a wrong checksum went unnoticed"
    foreign = {name: rng.randbytes(rng.randrange(60)) for name in written}
    assert not survives(coder, case, foreign) or not coder.sealed


@every_coder
@damage
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_coder_refuses_files_that_are_cut_or_go_on(coder, data, seed):
    """What is cut may be another file where there is no checksum; it is never this one."""
    case, rng = data.draw(coder.cases), random.Random(seed)
    written = coder.write(case)
    for name, body in written.items():
        for end in {0, 1, len(body) - 1, *(rng.randrange(len(body) + 1) for _ in range(6))} & {*range(len(body))}:
            cut = written | {name: body[:end]}
            if survives(coder, case, cut):
                assert not coder.sealed and coder.said(coder.read(case, cut)) != coder.same(case)
        for more in (b"\0", bytes(8), rng.randbytes(3) + b"\1"):
            assert not survives(coder, case, written | {name: body + more}), "there is more than was written"
        for at in rng.sample(range(8 * len(body)), min(8 * len(body), 200)) if coder.sealed else ():
            flipped = bytearray(body)
            flipped[at // 8] ^= 1 << at % 8
            assert not survives(coder, case, {name: bytes(flipped)}), "a flipped bit went unnoticed"


@drawn
@given(data=st.data())
@pytest.mark.parametrize("name", [name for name, coder in CODERS.items() if coder.bits])
def test_coder_is_no_longer_than_its_estimate_and_a_few_bytes(name, data):
    coder = CODERS[name]
    case = data.draw(coder.cases)
    # Zeros at the end of a code are left out, so that it may be shorter. It is as long where the symbols are as the
    # tables expect: see the coders' own tests.
    assert len(coder.write(case)[""]) <= coder.bits(case) / 8 + 8

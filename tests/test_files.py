from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from sparsecomp.files import atomic_path, write_atomic


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_path_keeps_the_suffix_and_shows_nothing_until_the_end(tmp_path):
    with atomic_path(tmp_path / "model.safetensors") as beside:
        assert beside.suffix == ".safetensors" and not beside.exists(), "some writers look at the suffix"
        assert beside.is_relative_to(tmp_path) and os.stat(beside.parent).st_dev == os.stat(tmp_path).st_dev
        beside.write_text("x")
        assert not (tmp_path / "model.safetensors").exists()
    assert names(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_atomic_path_leaves_the_old_file_and_no_litter_after_an_error(tmp_path, error):
    target = tmp_path / "a.bin"
    for content in (b"first", b"", b"old"):
        write_atomic(target, content)
        assert target.read_bytes() == content
    with pytest.raises(error), atomic_path(target) as beside:
        beside.write_bytes(b"ne")
        raise error
    assert target.read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_write_atomic_leaves_the_old_file_if_renaming_fails(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    (tmp_path / "a.bin").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"old" and names(tmp_path) == ["a.bin"]


def test_atomic_path_is_unique_for_each_thread(tmp_path):
    """Two writers of one target are both in the middle of it before either ends."""
    target, both = tmp_path / "a.bin", Barrier(2, timeout=10)

    def write(content: bytes) -> None:
        with atomic_path(target) as beside:
            beside.write_bytes(content)
            both.wait()
            assert beside.read_bytes() == content

    contents = [b"a" * 1000, b"b" * 2000]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, contents))
    assert target.read_bytes() in contents and names(tmp_path) == ["a.bin"]


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_write_atomic_gives_the_mode_of_an_ordinary_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "a.bin", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o666 & ~mask

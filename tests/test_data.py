"""Pictures: pinned, found without a download where possible, fetched, and read in every format."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from sparsecomp import data


def made(image: Image.Image, kind: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def png(value: int) -> bytes:
    return made(Image.new("RGB", (6, 4), (value, 2 * value, 3 * value)), "PNG")


KODAK = {"kodim01.png": png(10), "kodim02.png": png(20)}
BSDS = {"train/1.jpg": png(1), "val/2.jpg": png(2), "test/3.jpg": png(3)}
NOBODY = "http://127.0.0.1:9/"


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    """No data folder and an empty cache."""
    monkeypatch.delenv("SPARSECOMP_DATA", raising=False)
    monkeypatch.setenv("SPARSECOMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path


@pytest.fixture
def server(tmp_path):
    """A web server of the folder `tmp_path/site`; yields (folder, address)."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


@pytest.fixture
def pin(monkeypatch):
    """Make a name a set of a few small files, from a source."""

    def pinned(name: str, source: str, files: dict[str, bytes]) -> None:
        hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        monkeypatch.setitem(data.SETS, name, replace(data.SETS[name], source=source, files=hashes))

    return pinned


def write(folder: Path, files: dict[str, bytes]) -> None:
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)


# Sets -----------------------------------------------------------------------------------------------------------------


def test_bundled_needs_no_download(nowhere):
    pictures = data.bundled()
    assert tuple(pictures) == data.BUNDLED and data.available("bundled") and data.fetch("bundled").is_dir()
    assert (data.load_picture("chelsea") == pictures["chelsea"]).all()
    assert [(row.name, row.pictures) for row in data.listing()] == [("bundled", 5), ("kodak", 24), ("bsds500", 475)]
    # Decoding PNG is exact: these are the same pixels on every machine.
    assert data.fingerprint(pictures) == "e852a665f4d55199cb83af814859ec3a4cdf1b59dd42cbcdfc0df7d36627a1a7"


@pytest.mark.skipif(not data.available("kodak"), reason="kodak is not on this machine (set SPARSECOMP_DATA)")
def test_kodak_is_what_it_was():
    assert data.fingerprint(data.kodak()) == "f65223dc10357ad472846ddb7fb73c9a78140295c2a061ad35b025bbac7be69f"


def test_fetch_looks_in_the_data_folder_before_the_cache(nowhere, monkeypatch, pin):
    pin("kodak", NOBODY, KODAK)
    write(nowhere / "cache" / "kodak", KODAK)
    write(nowhere / "own" / "kodak", {"kodim01.png": KODAK["kodim01.png"]})
    monkeypatch.setenv("SPARSECOMP_DATA", str(nowhere / "own"))
    assert data.fetch("kodak") == nowhere / "cache" / "kodak"  # half a set is no set
    write(nowhere / "own" / "kodak", KODAK)
    assert data.fetch("kodak") == nowhere / "own" / "kodak"
    assert [row.found for row in data.listing() if row.name == "kodak"] == [nowhere / "own" / "kodak"]
    assert {name: int(picture[0, 0, 0]) for name, picture in data.kodak().items()} == {"kodim01": 10, "kodim02": 20}


def test_kodak_absent_or_changed_says_what_to_do_in_one_line(nowhere, pin):
    pin("kodak", NOBODY, KODAK)
    assert not data.available("kodak")
    for parts in (
        ("SPARSECOMP_DATA (not set)", str(nowhere / "cache"), "r0k.us", "sparsecomp data fetch kodak"),
        ("kodim02.png is not the pinned picture of kodak", "r0k.us", "remove it"),
    ):
        with pytest.raises(data.DataUnavailable) as caught:
            data.kodak()
        message = str(caught.value)
        assert "\n" not in message and len(message) < 700 and all(part in message for part in parts)
        write(nowhere / "cache" / "kodak", KODAK | {"kodim02.png": png(21)})


def test_fetch_downloads_once_and_checks(nowhere, pin, server):
    site, address = server
    pin("kodak", address, KODAK)
    write(site, KODAK | {"kodim02.png": png(21)})
    with pytest.raises(data.DataUnavailable, match="hash"):
        data.fetch("kodak")
    assert not (nowhere / "cache" / "kodak" / "kodim02.png").exists()
    write(site, KODAK)
    assert [int(picture[0, 0, 0]) for picture in data.kodak().values()] == [10, 20]
    for file in KODAK:
        (site / file).unlink()
    assert len(data.kodak()) == 2  # from the cache: the site has them no more


def archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_fetch_takes_only_pinned_files_from_an_archive(nowhere, pin, server):
    site, address = server
    inside = {f"BSR/BSDS500/data/images/{file}": content for file, content in BSDS.items()}
    archive(site / "a.tgz", inside | {"BSR/readme": b"x", "../../train/evil.jpg": b"x"})
    pin("bsds500", address + "a.tgz", BSDS)
    folder = data.fetch("bsds500")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == set(BSDS)
    assert sorted(path.name for path in (nowhere / "cache").iterdir()) == ["bsds500"]
    assert data.bsds500("test")["3"].shape == (4, 6, 3)
    assert list(data.bsds500("paper")) == [name for part in data.SPLITS for name in data.bsds500(part)]


@pytest.mark.parametrize("fault", ["absent", "changed", "cut"])
def test_fetch_refuses_a_faulty_archive(nowhere, pin, server, fault):
    site, address = server
    files = {f"images/{file}": content for file, content in BSDS.items()}
    if fault == "absent":
        del files["images/val/2.jpg"]
    elif fault == "changed":
        files["images/val/2.jpg"] = png(9)
    archive(site / "a.tgz", files)
    whole = (site / "a.tgz").read_bytes()
    (site / "a.tgz").write_bytes(whole[: len(whole) // 2] if fault == "cut" else whole)
    pin("bsds500", address + "a.tgz", BSDS)
    with pytest.raises(data.DataUnavailable, match="could not be fetched"):
        data.fetch("bsds500")
    assert not data.available("bsds500")


# Pictures -------------------------------------------------------------------------------------------------------------


def saved(tmp_path: Path, pixels: np.ndarray | Image.Image, name: str = "p.png", **options) -> np.ndarray:
    """What `load_picture` gives of a picture that Pillow wrote."""
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(tmp_path / name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return data.load_picture(tmp_path / name)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours over white, in floating point."""
    share = alpha.astype(float)[..., None] / 255
    return share * colours.astype(float) + (1 - share) * 255


@settings(max_examples=20)
@given(rgb=arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7), st.just(3))))
def test_load_picture_makes_every_mode_8_bit_rgb(tmp_path, rgb):
    grey, opaque = rgb[..., 0], np.full(rgb.shape[:2], 255, np.uint8)
    for name in ("p.png", "p.tif"):
        assert (saved(tmp_path, rgb, name) == rgb).all()
    assert (saved(tmp_path, grey) == grey[..., None]).all()
    assert (saved(tmp_path, np.dstack([rgb, opaque])) == rgb).all()
    assert (saved(tmp_path, np.dstack([grey, opaque])) == grey[..., None]).all()
    bits = Image.fromarray(grey).convert("1")
    assert (saved(tmp_path, bits) == 255 * np.asarray(bits)[..., None]).all()
    # 257 k is exactly k of 8 bits; a little off either way rounds back to it
    for off in (-128, 0, 128):
        sixteen = np.clip(grey.astype(int) * 257 + off, 0, 65535).astype(np.uint16)
        assert (saved(tmp_path, sixteen) == grey[..., None]).all()
    assert not saved(tmp_path, Image.new("CMYK", (4, 3), (0, 0, 0, 255)), "p.jpg").any()
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned by 90 degrees clockwise
    assert (saved(tmp_path, rgb, exif=exif) == np.rot90(rgb, -1)).all()


def test_load_picture_shows_transparency_on_white(tmp_path):
    drawn = np.random.default_rng(0)
    rgb, alpha = (drawn.integers(0, 256, shape, dtype=np.uint8) for shape in ((50, 70, 3), (50, 70)))
    alpha[:10], alpha[10:20] = 0, 255
    for colours, channels in ((rgb, 3), (np.repeat(rgb[..., :1], 3, 2), 1)):
        shown = saved(tmp_path, np.dstack([colours[..., :channels], alpha])).astype(float)
        assert (shown[:10] == 255).all() and (shown[10:20] == colours[10:20]).all()
        assert abs(shown - on_white(colours, alpha)).max() <= 1, "rounded"
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([1, 2, 3, 40, 50, 60])
    for name in ("p.png", "p.gif"):
        assert saved(tmp_path, palette, name, transparency=1).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_folder_reads_every_picture(tmp_path):
    write(tmp_path, {"b.png": png(1), "a.JPG": png(2), "notes.txt": b"x"})
    assert [(name, int(picture[0, 0, 0])) for name, picture in data.folder(tmp_path).items()] == [("a", 2), ("b", 1)]
    for files in ({"a.tif": png(1)}, {"a.JPG": b"x"}):
        write(tmp_path, files)
        with pytest.raises(ValueError, match=r"\bfolder\b|\ba\.JPG\b"):
            data.folder(tmp_path)
    with pytest.raises(ValueError, match=r"\bfolder\b"):
        data.folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "format"),
        (b"just words", "format"),
        ((data.fetch("bundled") / "coffee.png").read_bytes()[:9000], ""),
        (made(Image.new("1", (2**13, 2**13 + 1)), "PNG"), f"8192x8193.*{2**26}"),  # few bytes, just over the bound
        (made(Image.fromarray(np.ones((3, 3), np.float32)), "TIFF"), "range"),
    ],
    ids=["empty", "text", "cut", "just too large", "floats"],
)
def test_load_picture_refuses_in_one_line(tmp_path, content, reason):
    path = tmp_path / "p.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"picture.*{reason}") as caught:
        data.load_picture(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    for odd in (str(tmp_path), "none.png", "x" * 5000, "nul\0byte"):
        with pytest.raises(ValueError, match=r"\bpicture\b.*chelsea"):
            data.load_picture(odd)


def test_fingerprint_sees_every_pixel_name_and_shape_but_not_the_order():
    a, b = np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.zeros((1, 1, 3), np.uint8)
    first = data.fingerprint({"a": a, "b": b})
    assert first == data.fingerprint({"b": b, "a": a.copy(order="F")})
    changed = a.copy()
    changed[1, 2, 0] += 1
    others = [{"a": changed, "b": b}, {"a": a, "c": b}, {"a": a.reshape(4, 2, 3), "b": b}, {"a": a}]
    assert len({first, *map(data.fingerprint, others)}) == 5


def test_data_refuses_other_names_and_pictures():
    for call, wrong in (
        (lambda: data.available("kodac"), "name.*kodac"),
        (lambda: data.bsds500("all"), "split.*train"),
        (lambda: data.fingerprint({"a": np.zeros((2, 2, 3))}), "images.*a"),
    ):
        with pytest.raises(ValueError, match=rf"\b{wrong}\b"):
            call()

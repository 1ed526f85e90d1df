from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsecomp import data


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 4), (value, 2 * value, 3 * value)).save(stream, "PNG")
    return stream.getvalue()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data folder and an empty cache."""
    monkeypatch.delenv("SPARSECOMP_DATA", raising=False)
    monkeypatch.setenv("SPARSECOMP_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server of the folder `tmp_path/site`; yields (folder, address)."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


def pin(monkeypatch, name: str, source: str, files: dict[str, bytes]) -> None:
    """Make `name` a set of a few small files, from `source`."""
    hashes = {file: sha(content) for file, content in files.items()}
    monkeypatch.setitem(data.SETS, name, replace(data.SETS[name], source=source, files=hashes))


KODAK = {"kodim01.png": png(10), "kodim02.png": png(20)}
BSDS = {"train/1.jpg": png(1), "val/2.jpg": png(2), "test/3.jpg": png(3)}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)


def test_bundled_pictures_are_here_without_a_download(nowhere):
    pictures = data.bundled()
    assert tuple(pictures) == data.BUNDLED
    shapes = {name: picture.shape for name, picture in pictures.items()}
    assert shapes["astronaut"] == (512, 512, 3) and shapes["coffee"] == (400, 600, 3)
    assert shapes["chelsea"] == (300, 451, 3)
    assert shapes["motorcycle_left"] == shapes["motorcycle_right"] == (500, 741, 3)
    assert all(picture.dtype == np.uint8 for picture in pictures.values())
    assert (data.load_picture("chelsea") == pictures["chelsea"]).all()
    assert data.available("bundled") and data.fetch("bundled").is_dir()
    # Decoding PNG is exact: these are the same pixels on every machine.
    assert data.fingerprint(pictures) == "e852a665f4d55199cb83af814859ec3a4cdf1b59dd42cbcdfc0df7d36627a1a7"


def test_the_sets_are_pinned_whole():
    assert [(row.name, row.pictures) for row in data.listing()] == [
        ("bundled", 5),
        ("kodak", 24),
        ("bsds500", 475),
    ]
    assert list(data.SETS["kodak"].files) == [f"kodim{number:02}.png" for number in range(1, 25)]
    splits = [file.split("/")[0] for file in data.SETS["bsds500"].files]
    assert [splits.count(split) for split in data.SPLITS] == [200, 100, 175]
    assert all(len(digest) == 64 for pictures in data.SETS.values() for digest in pictures.files.values())
    for row in data.listing():
        assert row.licence and row.home.startswith("https://")


@pytest.mark.skipif(not data.available("kodak"), reason="Kodak is not on this machine (set SPARSECOMP_DATA)")
def test_kodak_where_it_is():
    pictures = data.kodak()
    assert len(pictures) == 24
    assert {picture.shape for picture in pictures.values()} == {(512, 768, 3), (768, 512, 3)}
    assert data.fingerprint(pictures) == "f65223dc10357ad472846ddb7fb73c9a78140295c2a061ad35b025bbac7be69f"


@pytest.mark.skipif(
    not data.available("bsds500"), reason="BSDS500 is not on this machine (set SPARSECOMP_DATA)"
)
def test_bsds500_where_it_is():
    pictures = data.bsds500("val")
    assert len(pictures) == 100
    assert {picture.shape for picture in pictures.values()} == {(321, 481, 3), (481, 321, 3)}


def test_data_folder_comes_before_the_cache(nowhere, monkeypatch):
    pin(monkeypatch, "kodak", "http://127.0.0.1:9/", KODAK)
    write(nowhere / "cache" / "kodak", KODAK)
    assert data.fetch("kodak") == nowhere / "cache" / "kodak"
    write(nowhere / "own" / "kodak", {"kodim01.png": KODAK["kodim01.png"]})
    monkeypatch.setenv("SPARSECOMP_DATA", str(nowhere / "own"))
    assert data.fetch("kodak") == nowhere / "cache" / "kodak"  # half a set is no set
    write(nowhere / "own" / "kodak", KODAK)
    assert data.fetch("kodak") == nowhere / "own" / "kodak"
    assert [row.found for row in data.listing() if row.name == "kodak"] == [nowhere / "own" / "kodak"]
    assert {name: int(picture[0, 0, 0]) for name, picture in data.kodak().items()} == {
        "kodim01": 10,
        "kodim02": 20,
    }


def test_one_split_needs_only_its_own_files(nowhere, monkeypatch):
    pin(monkeypatch, "bsds500", "http://127.0.0.1:9/a.tgz", BSDS)
    write(nowhere / "cache" / "bsds500", {"val/2.jpg": BSDS["val/2.jpg"]})
    assert list(data.bsds500("val")) == ["2"]
    assert not data.available("bsds500")
    with pytest.raises(data.DataUnavailable):
        data.bsds500("train")
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'all'"):
        data.bsds500("all")


def test_a_changed_file_is_refused(nowhere, monkeypatch):
    pin(monkeypatch, "kodak", "http://127.0.0.1:9/", KODAK)
    write(nowhere / "cache" / "kodak", KODAK | {"kodim02.png": png(21)})
    with pytest.raises(data.DataUnavailable, match=r"kodim02\.png is not the pinned picture of kodak"):
        data.kodak()


def test_absent_and_offline_is_one_line_that_says_what_to_do(nowhere, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    pin(monkeypatch, "kodak", "http://127.0.0.1:9/", KODAK)
    assert not data.available("kodak")
    with pytest.raises(data.DataUnavailable) as caught:
        data.kodak()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    for part in (
        "SPARSECOMP_DATA (not set)",
        str(nowhere / "cache"),
        "r0k.us",
        "sparsecomp data fetch kodak",
    ):
        assert part in message


def test_files_are_fetched_once_and_checked(nowhere, monkeypatch, server):
    site, address = server
    write(site, KODAK)
    pin(monkeypatch, "kodak", address, KODAK)
    assert [int(picture[0, 0, 0]) for picture in data.kodak().values()] == [10, 20]
    for file in KODAK:
        (site / file).unlink()
    assert len(data.kodak()) == 2  # from the cache: the site has them no more


def test_a_wrong_download_does_not_enter_the_cache(nowhere, monkeypatch, server):
    site, address = server
    write(site, KODAK | {"kodim02.png": png(21)})
    pin(monkeypatch, "kodak", address, KODAK)
    with pytest.raises(data.DataUnavailable, match="hash"):
        data.fetch("kodak")
    assert not (nowhere / "cache" / "kodak" / "kodim02.png").exists()


def archive(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(file)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_an_archive_is_fetched_and_only_the_pinned_files_are_taken(nowhere, monkeypatch, server):
    site, address = server
    inside = {f"BSR/BSDS500/data/images/{file}": content for file, content in BSDS.items()}
    archive(site / "a.tgz", inside | {"BSR/readme": b"x", "../../train/evil.jpg": b"x"})
    pin(monkeypatch, "bsds500", address + "a.tgz", BSDS)
    folder = data.fetch("bsds500")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == set(BSDS)
    assert sorted(path.name for path in (nowhere / "cache").iterdir()) == ["bsds500"]
    assert data.bsds500("test")["3"].shape == (4, 6, 3)


@pytest.mark.parametrize("fault", ["absent", "changed", "no archive", "cut"])
def test_a_faulty_archive_is_refused(nowhere, monkeypatch, server, fault):
    site, address = server
    files = dict(BSDS)
    if fault == "absent":
        del files["val/2.jpg"]
    elif fault == "changed":
        files["val/2.jpg"] = png(9)
    archive(site / "a.tgz", {f"images/{file}": content for file, content in files.items()})
    whole = (site / "a.tgz").read_bytes()
    if fault == "no archive":
        (site / "a.tgz").write_bytes(b"<html>moved</html>")
    elif fault == "cut":
        (site / "a.tgz").write_bytes(whole[: len(whole) // 2])
    pin(monkeypatch, "bsds500", address + "a.tgz", BSDS)
    with pytest.raises(data.DataUnavailable, match="could not be fetched"):
        data.fetch("bsds500")
    assert not data.available("bsds500")


def test_unknown_sets_are_named():
    for call in (data.available, data.fetch):
        with pytest.raises(ValueError, match="name must be one of bundled, kodak, bsds500, got 'kodac'"):
            call("kodac")


def test_fingerprint_sees_every_pixel_name_and_shape_but_not_the_order():
    a, b = np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.zeros((1, 1, 3), np.uint8)
    first = data.fingerprint({"a": a, "b": b})
    assert first == data.fingerprint({"b": b, "a": a.copy(order="F")})
    changed = a.copy()
    changed[1, 2, 0] += 1
    others = [{"a": changed, "b": b}, {"a": a, "c": b}, {"a": a.reshape(4, 2, 3), "b": b}, {"a": a}]
    assert len({first, *map(data.fingerprint, others)}) == 5
    with pytest.raises(ValueError, match="uint8"):
        data.fingerprint({"a": a / 255})


def saved(tmp_path: Path, image: Image.Image, name: str = "p.png", **options) -> np.ndarray:
    image.save(tmp_path / name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return data.load_picture(tmp_path / name)


def test_every_kind_of_picture_becomes_8_bit_rgb(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    grey = rgb[..., 0]
    assert (saved(tmp_path, Image.fromarray(rgb)) == rgb).all()
    assert (saved(tmp_path, Image.fromarray(rgb), "p.tif") == rgb).all()
    assert (saved(tmp_path, Image.fromarray(grey)) == grey[..., None]).all()
    bits = Image.fromarray(grey).convert("1")
    assert (saved(tmp_path, bits) == 255 * np.asarray(bits)[..., None]).all()
    # 257 k is exactly k of 8 bits; a little off either way rounds back to it
    for off in (-128, 0, 128):
        sixteen = np.clip(grey.astype(int) * 257 + off, 0, 65535).astype(np.uint16)
        assert (saved(tmp_path, Image.fromarray(sixteen)) == grey[..., None]).all()
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([1, 2, 3, 40, 50, 60])
    assert (saved(tmp_path, palette) == [40, 50, 60]).all()
    assert (
        saved(tmp_path, Image.new("CMYK", (4, 3), (0, 0, 0, 255)), "p.jpg").tolist()
        == np.zeros((3, 4, 3)).tolist()
    )


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours over white, in floating point."""
    share = alpha.astype(float)[..., None] / 255
    return share * colours.astype(float) + (1 - share) * 255


def test_load_picture_shows_transparency_on_white(tmp_path):
    drawn = np.random.default_rng(0)
    rgb, alpha = (drawn.integers(0, 256, shape, dtype=np.uint8) for shape in ((50, 70, 3), (50, 70)))
    alpha[:10], alpha[10:20] = 0, 255
    for colours, mode in ((rgb, "RGBA"), (np.repeat(rgb[..., :1], 3, 2), "LA")):
        image = Image.fromarray(np.dstack([colours[..., : len(mode) - 1], alpha]))
        assert image.mode == mode
        for name in ("p.png", "p.tif"):
            shown = saved(tmp_path, image, name).astype(float)
            assert (shown[:10] == 255).all() and (shown[10:20] == colours[10:20]).all()
            assert abs(shown - on_white(colours, alpha)).max() <= 1, f"{name}, {mode}: rounded"
    assert (saved(tmp_path, Image.fromarray(np.dstack([rgb, alpha])), "p.webp", lossless=True)[:10] == 255).all()


def test_load_picture_leaves_an_opaque_picture_with_alpha_as_it_is(tmp_path):
    rgb = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    opaque = np.full((16, 16), 255, np.uint8)
    assert (saved(tmp_path, Image.fromarray(np.dstack([rgb, opaque]))) == rgb).all()
    assert (saved(tmp_path, Image.fromarray(np.dstack([rgb[..., 0], opaque]))) == rgb[..., :1]).all()


def test_load_picture_shows_transparent_colours_of_palettes_and_of_png_on_white(tmp_path):
    palette = Image.fromarray(np.array([[0, 1], [1, 2]], np.uint8), "P")
    palette.putpalette([1, 2, 3, 40, 50, 60, 7, 8, 9])
    white, (a, b, c) = [255, 255, 255], ([1, 2, 3], [40, 50, 60], [7, 8, 9])
    assert saved(tmp_path, palette).tolist() == [[a, b], [b, c]]
    for name in ("p.png", "p.gif"):
        assert saved(tmp_path, palette, name, transparency=1).tolist() == [[a, white], [white, c]]
    half = on_white(np.array([[b]]), np.array([[128]]))[0, 0].round().tolist()
    assert saved(tmp_path, palette, transparency=b"\x00\x80").tolist() == [[white, half], [half, c]]
    rgb = np.array([[a, b], [b, c]], np.uint8)  # one colour that stands for "nothing", without an alpha channel
    assert saved(tmp_path, Image.fromarray(rgb), transparency=(40, 50, 60)).tolist() == [[a, white], [white, c]]
    grey = np.array([[0, 7], [7, 9]], np.uint8)
    assert saved(tmp_path, Image.fromarray(grey), transparency=7)[..., 0].tolist() == [[0, 255], [255, 9]]
    sixteen = (grey.astype(np.uint16) * 257) + np.array([[0, 0], [1, 0]], np.uint16)  # one of them is another grey
    assert saved(tmp_path, Image.fromarray(sixteen), transparency=7 * 257)[..., 0].tolist() == [[0, 255], [7, 9]]


def test_exif_orientation_turns_the_picture_upright(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned by 90 degrees clockwise
    assert (saved(tmp_path, Image.fromarray(rgb), exif=exif) == np.rot90(rgb, -1)).all()


def test_a_bundled_name_wins_and_a_path_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chelsea").write_bytes(png(7))
    assert data.load_picture("chelsea").shape == (300, 451, 3)
    assert data.load_picture("./chelsea").shape == (4, 6, 3)


def huge_png() -> bytes:
    """A header that declares 60000x60000 pixels, and nothing behind it worth decoding."""
    content = bytearray(png(1))
    content[16:24] = (60000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "neither a file nor a bundled one"),
        (b"", "no picture format that Pillow knows"),
        (b"just words", "no picture format that Pillow knows"),
        ((data.fetch("bundled") / "coffee.png").read_bytes()[:9000], "cannot be read"),
        (huge_png(), "cannot be read: .*pixels"),
    ],
    ids=["missing", "empty", "text", "cut", "huge"],
)
def test_a_picture_that_cannot_be_read_is_one_clear_line(tmp_path, content, message):
    path = tmp_path / "p.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        data.load_picture(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_pictures_just_over_the_bound_and_odd_paths_are_refused(tmp_path):
    Image.new("1", (2**13, 2**13 + 1)).save(tmp_path / "p.png")  # few bytes, 2^26 + 2^13 pixels
    with pytest.raises(ValueError, match=f"8192x8193 is above {2**26} pixels"):
        data.load_picture(tmp_path / "p.png")
    Image.fromarray(np.ones((3, 3), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match="no fixed range"):
        data.load_picture(tmp_path / "f.tif")
    for odd in (tmp_path, "", "x" * 5000, "nul\0byte"):
        with pytest.raises(ValueError, match="neither a file"):
            data.load_picture(odd)

"""The command line, from a newcomer's side: what it writes, what it prints, and what it says when it cannot."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch
from PIL import Image

from sparsecomp import __version__, cli, codecs, data
from sparsecomp.codecs.base import codec_of
from sparsecomp.coding.container import Container, pack, unpack
from sparsecomp.models.pretrained import Models

SCRIPT = Path(sys.executable).with_name("sparsecomp")
COMMANDS = ("encode", "decode", "info", "compare", "data")
PHOTO = data.load_picture("chelsea")[60:156, 120:248]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder holds photo.png and its file good.spc; there are no trained models but those in `models`."""
    monkeypatch.chdir(tmp_path)
    models = Models(tmp_path / "models")
    monkeypatch.setattr("sparsecomp.codecs.trained.default_models", lambda: models)
    Image.fromarray(PHOTO).save("photo.png")
    Path("good.spc").write_bytes(codecs.get_codec("jpeg").encode(PHOTO))
    return tmp_path


def write_models(folder: Path) -> None:
    tiny_cae.write(folder / "models", "tiny")
    for codec in ("cae-admm", "cae-theis"):
        tiny_cae_admm.write(folder / "models", codec, codec=codec)


def read(path: str | Path | io.BytesIO) -> np.ndarray:
    return np.asarray(Image.open(path))


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    """A command as one text, or word by word."""
    words = arguments[0].split() if len(arguments) == 1 else map(str, arguments)
    status = cli.main(list(words))
    return status, *capsys.readouterr()


def script(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def files() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


@pytest.fixture
def evaluated(monkeypatch) -> list[codecs.Measurement]:
    """All that the command measures."""
    kept, evaluate = [], codecs.evaluate
    monkeypatch.setattr(codecs, "evaluate", lambda *a: kept.append(evaluate(*a)) or kept[-1])
    return kept


# The start ------------------------------------------------------------------------------------------------------------


def test_script_says_its_version_and_refuses_as_main_does():
    assert script("--version") == (0, f"sparsecomp {__version__}\n", "")
    status, out, err = script("info", "photo.png")
    assert (status, out) == (2, "") and re.fullmatch("sparsecomp: not an .spc file[^\n]*\n", err)


def test_help_names_every_command_and_does_not_load_pytorch(capsys):
    program = "import sys; from sparsecomp import cli; cli.main([]); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f" {command} " in done.stdout
        status, out, err = run(capsys, command, "--help")
        assert status == 0 and "Usage: sparsecomp" in out and not err


# Pictures and files ---------------------------------------------------------------------------------------------------


def test_another_process_decodes_what_the_encoder_measured(capsys, evaluated):
    status, out, _ = run(capsys, "encode photo.png -o a.spc --codec coin --bpp 1.5 --profile smoke")
    (measured,) = evaluated
    assert status == 0 and Path("a.spc").read_bytes() == measured.data
    assert len(measured.data) <= 1.5 * 96 * 128 / 8
    assert out == f"a.spc: {measured.bytes:,} bytes, {measured.bpp:.4f} bpp, {measured.psnr:.2f} dB\n"
    assert script("decode", "a.spc", "-o", "a.png") == (0, "a.png: 128 x 96 pixels\n", "")
    assert np.array_equal(read("a.png"), measured.reconstruction)


def test_encode_names_the_file_after_the_picture_but_overwrites_none_that_it_names(capsys):
    assert run(capsys, "encode photo.png --codec jpeg")[0] == 0
    assert Path("photo.spc").read_bytes() == Path("good.spc").read_bytes(), "at the codec's own setting"
    status, out, err = run(capsys, "encode photo.png --codec webp")
    assert (status, out) == (2, "") and "photo.spc" in err and "-o" in err
    assert Path("photo.spc").read_bytes() == Path("good.spc").read_bytes()


# What `info` says of a file; `encode` wrote it with these options.
SAID = {
    "--codec jpeg --bpp 2": {"codec": "jpeg", "picture": "128 x 96 pixels"},
    "--codec loonie --bpp 1.5 --profile smoke": {
        "codec": "loonie", "inputs": ".*3 frequencies.*", "network": ".*parameters not zero.*",
    },
    "--arch 3x8 --coordinates coin --profile smoke": {
        "codec": "coin", "network": "3x8, 195 parameters, w0 30", "coordinates": "coin", "cost": "168 MAC/px",
    },
    "--codec cae-theis --keep 0.25": {
        "codec": "cae-theis", "threshold": r"\d+, the least magnitude beside zero", "zeros": "75.00 % of 576 entries",
    },
}  # fmt: skip


@pytest.mark.parametrize("options", SAID)
def test_info_says_what_encode_wrote_and_accounts_for_every_byte(capsys, folder, options):
    write_models(folder)
    status, out, _ = run(capsys, f"encode photo.png -o a.spc {options}")
    written = Path("a.spc").read_bytes()
    size, rate, container = len(written), 8 * len(written) / (96 * 128), unpack(written)
    assert status == 0 and out.startswith(f"a.spc: {size:,} bytes, {rate:.4f} bpp, ")
    status, out, _ = run(capsys, "info a.spc")
    said = dict(line.strip().split(maxsplit=1) for line in out.splitlines())
    assert status == 0 and said["file"] == f"{size:,} bytes, {rate:.4f} bpp"
    for label, text in SAID[options].items():
        assert re.fullmatch(text, said[label]), (label, said[label])
    codec = codec_of(container)
    assert said == said | dict(codec.describe(container))
    parts = re.findall(r"^  (\w+) +([\d,]+) bytes", out, re.MULTILINE)
    assert [name for name, _ in parts] == ["header", *container.sections, "checksum"]
    assert sum(int(count.replace(",", "")) for _, count in parts) == size


# What cannot be done --------------------------------------------------------------------------------------------------

REFUSED = {
    "encode nope.png -o out.spc": "'nope.png' is neither",
    "encode photo.png -o out.spc --codec jpeg --bpp 0.0001": "jpeg: bpp=0.0001 is too small",
    "encode photo.png -o out.spc --arch 10x28 --bpp nan --profile smoke": "bpp must be",
    "encode photo.png -o out.spc --codec jpeg --arch 10x28": "jpeg has no option 'arch'",
    "encode photo.png -o out.spc --codec cae --bpp 0.5": "`python -m reproduce study cae --preset laptop`",
    "encode photo.png -o out.spc --codec cae-admm --keep 0.5 --bpp 1": "give one of them",
    "encode photo.png -o out.spc --device abacus": "device='abacus'",
    "encode photo.png -o out.spc --device cuda:99": "device='cuda:99'",
    "encode photo.png -o ./photo.png --codec jpeg": "'photo.png' is the input",
    "encode photo.png -o empty --codec jpeg": "'empty' is there and is no plain file",
    "decode damaged.spc -o out.png": "the checksum does not match",
    "decode good.spc -o out.jpg": "ends in .png",
    "decode orphan.spc -o out.png": "made with model 0707070707070707, which is not here; here are none",
    "info impossible.spc": "impossible network",
    "compare photo.png --bpp 0.0001 --html out.html --profile smoke": "coin: bpp=0.0001 is too small",
    "data fetch nope": "got 'nope'",
    "paint photo.png": "No such command 'paint'",
}


@pytest.mark.parametrize("command", REFUSED)
def test_refused_in_one_line_and_nothing_is_left(capsys, command):
    good = Path("good.spc").read_bytes()
    Path("damaged.spc").write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
    Path("impossible.spc").write_bytes(pack(Container(16, 8, 8, {"network": bytes(6), "weights": bytes(10)})))
    Path("orphan.spc").write_bytes(pack(Container(18, 8, 8, {"network": b"\7" * 10, "values": b"x"})))
    Path("empty").mkdir()
    before = files()
    status, out, err = run(capsys, command)
    assert (status, out) == (2, "")
    assert re.fullmatch(rf"sparsecomp: [^\n]*{re.escape(REFUSED[command])}[^\n]*\n", err), err
    assert files() == before


def test_output_is_checked_before_the_work_begins(capsys, monkeypatch):
    monkeypatch.setattr(data, "load_picture", lambda name: pytest.fail("the picture was read first"))
    for command in ("encode photo.png -o nowhere/out.spc", "compare photo.png --html nowhere/out.html"):
        status, _, err = run(capsys, command)
        assert status == 2 and "no folder 'nowhere'" in err


def test_network_over_the_budget_is_not_fitted_first(capsys, monkeypatch):
    monkeypatch.setattr("sparsecomp.codecs.network.fit", lambda *a, **k: pytest.fail("it was fitted first"))
    status, _, err = run(capsys, "encode photo.png -o a.spc --arch 10x28 --bpp 1")
    needed = float(re.search(r"coin 10x28: bpp=1 is too small.*bpp=([\d.]+)\n", err)[1])
    assert status == 2 and 8 * 2 * 7479 / (96 * 128) < needed < 8 * (2 * 7479 + 40) / (96 * 128)


# What is our fault ----------------------------------------------------------------------------------------------------


def bug(*arguments: object, **options: object) -> None:
    np.zeros(2) + np.zeros(3)  # a ValueError, as a refusal is one


BUGS = {
    "encode photo.png -o out.spc --codec jpeg": "sparsecomp.codecs.evaluate",
    "compare photo.png --bpp 1.5 --profile smoke": "sparsecomp.codecs.standard.Jpeg.at_bpp",
    "data list": "sparsecomp.data.listing",
}


@pytest.mark.parametrize("command", BUGS)
def test_bug_exits_1_and_shows_its_traceback_with_debug_alone(capsys, monkeypatch, command):
    before = files()
    monkeypatch.setattr(BUGS[command], bug)
    status, out, err = run(capsys, command)
    assert status == 1 and out == ""
    said = r"sparsecomp: internal error: ValueError: operands [^\n]+"
    assert re.fullmatch(said + r"; run again with --debug for the traceback\n", err), err
    status, out, err = run(capsys, f"--debug {command}")
    assert status == 1 and out == "" and err.startswith("Traceback (most recent call last)")
    assert "in bug" in err and re.fullmatch(said, err.splitlines()[-1]), err
    assert files() == before


OTHERS = [
    (MemoryError(), 2, "MemoryError"),
    (torch.OutOfMemoryError("CUDA out of memory. Tried\nto allocate"), 2, "CUDA out of memory. Tried to allocate"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "DefaultCPUAllocator: can't allocate memory"),
    (FileNotFoundError(2, "No such file", "a"), 2, "'a': No such file"),
    (ModuleNotFoundError("No module named 'papermill'", name="papermill"), 2, "No module named 'papermill'"),
    (ImportError("cannot import name 'x' from 'sparsecomp.codecs'", name="sparsecomp.codecs"), 1, "internal error"),
    (data.DataUnavailable("kodak is not here"), 2, "kodak is not here"),
    (RuntimeError("size mismatch"), 1, "internal error: RuntimeError: size mismatch"),
]


@pytest.mark.parametrize(("error", "status", "said"), OTHERS)
def test_errors_have_the_status_of_their_kind(capsys, monkeypatch, error, status, said):
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(data, "listing", fail)
    found, out, err = run(capsys, "data list")
    assert (found, out) == (status, "") and err.startswith(f"sparsecomp: {said}") and err.count("\n") == 1
    _, _, err = run(capsys, "--debug data list")
    assert err.startswith("Traceback (most recent call last)")


# Comparing ------------------------------------------------------------------------------------------------------------


def test_page_of_compare_needs_nothing_else_and_shows_every_picture(capsys, evaluated, folder):
    write_models(folder)
    Path("photo.png").rename("a&<b>.png")
    assert run(capsys, "compare a&<b>.png --bpp 1.5 --html a.html --profile smoke")[0] == 0
    page = Path("a.html").read_text()
    addresses = re.findall(r"(?:src|href)\s*=\s*\"([^\"]{,30})", page)
    addresses += re.findall(r"url\(|@import|<script|https?:", page)
    assert addresses and all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "a&amp;&lt;b&gt;.png" in page and "<b>" not in page and "color-scheme: light dark" in page
    shown = [read(io.BytesIO(b64decode(text))) for text in re.findall(r"base64,([^\"]+)", page)]
    assert len(shown) == 1 + len(codecs.NAMES) and np.array_equal(shown[0], PHOTO)
    for picture, measured in zip(shown[1:], evaluated, strict=True):
        assert np.array_equal(picture, measured.reconstruction)
        assert f"{measured.bytes:,} bytes, {measured.bpp:.4f} bpp, {measured.psnr:.2f} dB" in page


def test_data_says_where_each_set_is(capsys):
    status, out, _ = run(capsys, "data", "list")
    assert status == 0
    for row in data.listing():
        place = str(row.found) if row.found else f"sparsecomp data fetch {row.name}"
        assert re.search(rf"^{row.name} +{row.pictures} pictures  .*{re.escape(place)}$", out, re.M) and row.home in out
    assert run(capsys, "data", "fetch", "bundled")[:2] == (0, f"{data.fetch('bundled')}\n")

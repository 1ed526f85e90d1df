"""The command line, from a newcomer's side: what it writes, what it prints, and what it says when it cannot."""

from __future__ import annotations

import functools
import io
import os
import re
import signal
import subprocess
import sys
import time
from base64 import b64decode
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch
from PIL import Image

from sparsecomp import __version__, checks, cli, codecs, data, results, studies
from sparsecomp.codecs.base import codec_of
from sparsecomp.codecs.trained import read_symbols
from sparsecomp.coding.container import Container, pack, unpack
from sparsecomp.models.pretrained import Models
from sparsecomp.training.loop import Paused
from sparsecomp.training.processes import side_by_side

SCRIPT = Path(sys.executable).with_name("sparsecomp")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current folder with one small photograph, photo.png, in it; and no trained models.

    The command line knows the default models alone.
    """
    monkeypatch.chdir(tmp_path)
    models = Models(tmp_path / "models")
    monkeypatch.setattr("sparsecomp.codecs.trained.default_models", lambda: models)
    Image.fromarray(photo()).save("photo.png")
    return tmp_path


def photo() -> np.ndarray:
    return data.load_picture("chelsea")[60:156, 120:248]


def read(path: str | Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def cost_of(written: bytes) -> float:
    container = unpack(written)
    return codec_of(container).macs_per_pixel(container)


def files() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


# The start ------------------------------------------------------------------------------------------------------------


def test_script_says_its_version():
    done = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"sparsecomp {__version__}\n" and not done.stderr


def test_help_names_every_command_and_does_not_load_pytorch():
    program = "import sys; from sparsecomp import cli; cli.main([]); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("encode", "decode", "info", "compare", "study", "run", "data", "bench"):
        assert f" {command} " in done.stdout
    assert "sparsecomp encode astronaut -o astronaut.spc" in done.stdout


@pytest.mark.parametrize("command", ["encode", "decode", "info", "compare", "study", "run", "data", "bench"])
def test_every_command_explains_itself(capsys, command):
    status, out, err = run(capsys, command, "--help")
    assert status == 0 and "Usage: sparsecomp" in out and not err


# Pictures and files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["jpeg", "coin"])
def test_another_process_decodes_what_the_encoder_measured(capsys, monkeypatch, codec):
    kept, evaluate = [], codecs.evaluate
    monkeypatch.setattr(codecs, "evaluate", lambda *a: kept.append(evaluate(*a)) or kept[-1])
    status, out, _ = run(
        capsys, "encode", "photo.png", "-o", "a.spc", "--codec", codec, "--bpp", 1.5, "--profile", "smoke"
    )
    (measured,) = kept
    assert status == 0 and Path("a.spc").read_bytes() == measured.data
    assert len(measured.data) <= 1.5 * photo().size / 3 / 8
    assert out == f"a.spc: {measured.bytes:,} bytes, {measured.bpp:.4f} bpp, {measured.psnr:.2f} dB\n"
    done = subprocess.run([SCRIPT, "decode", "a.spc", "-o", "a.png"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.png: 128 x 96 pixels\n", "")
    assert np.array_equal(read("a.png"), measured.reconstruction)


def test_codec_without_a_budget_uses_its_own_setting(capsys):
    status, _, _ = run(capsys, "encode", "photo.png", "-o", "a.spc", "--codec", "jpeg")
    assert status == 0 and Path("a.spc").read_bytes() == codecs.get_codec("jpeg").encode(photo())


def test_network_seed_and_coordinates_by_hand(capsys):
    options = ("--arch", "3x8", "--profile", "smoke", "--coordinates", "coin")
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert run(capsys, "encode", "photo.png", "-o", f"{name}.spc", "--seed", seed, *options)[0] == 0
    a, b, c = (Path(f"{name}.spc").read_bytes() for name in "abc")
    assert a == b != c
    _, out, _ = run(capsys, "info", "a.spc")
    assert re.search(r"network +3x8, 195 parameters, w0 30\n", out)
    assert re.search(r"coordinates +coin\n", out) and re.search(r"cost +168 MAC/px\n", out)


def test_info_accounts_for_every_byte(capsys):
    run(capsys, "encode", "photo.png", "-o", "a.spc", "--codec", "jpeg", "--bpp", 2)
    status, out, _ = run(capsys, "info", "a.spc")
    size = Path("a.spc").stat().st_size
    assert status == 0 and re.search(rf"file +{size:,} bytes, {8 * size / (96 * 128):.4f} bpp\n", out)
    parts = re.findall(r"^  (\w+) +([\d,]+) bytes", out, re.MULTILINE)
    assert [name for name, _ in parts] == ["header", "payload", "checksum"]
    assert sum(int(count.replace(",", "")) for _, count in parts) == size


def test_progress_is_short_where_there_is_no_terminal(capsys):
    _, _, err = run(capsys, "encode", "photo.png", "-o", "a.spc", "--arch", "2x8", "--profile", "smoke")
    lines = err.splitlines()
    assert 1 <= len(lines) <= 10 and re.fullmatch(r"step 300 of 300: \d+\.\d\d dB", lines[-1])


def test_progress_on_a_terminal_is_a_bar_that_goes(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with cli._progress(300) as on_score:
        on_score(100, {"psnr": [21.5]})
    shown = sys.stderr.getvalue()
    assert "fit 21.50 dB" in shown and "100/300" in shown
    assert shown.endswith("\x1b[2K"), "the last thing written erases the line"


# What cannot be done --------------------------------------------------------------------------------------------------

REFUSED = {
    "missing picture": "encode nope.png -o out.spc",
    "unreadable picture": "encode text.txt -o out.spc",
    "picture is a folder": "encode . -o out.spc",
    "zero budget": "encode photo.png -o out.spc --bpp 0",
    "negative budget": "encode photo.png -o out.spc --bpp -0.5 --codec jpeg",
    "budget that is no number": "encode photo.png -o out.spc --bpp much",
    "budget nan": "encode photo.png -o out.spc --bpp nan",
    "budget too small for any file": "encode photo.png -o out.spc --bpp 0.0001 --codec jpeg",
    "budget too small for any network": "encode photo.png -o out.spc --bpp 0.0001",
    "network over the budget": "encode photo.png -o out.spc --arch 10x28 --bpp 0.3",
    "network of no shape": "encode photo.png -o out.spc --arch big",
    "option of another codec": "encode photo.png -o out.spc --arch 10x28 --codec jpeg",
    "autoencoder without a model": "encode photo.png -o out.spc --codec cae --bpp 0.5",
    "unknown model": "encode photo.png -o out.spc --codec cae --model nope",
    "model for another codec": "encode photo.png -o out.spc --codec jpeg --model nope",
    "pruning autoencoder without a model": "encode photo.png -o out.spc --codec cae-admm --keep 0.5",
    "nothing kept": "encode photo.png -o out.spc --codec cae-theis --keep 0",
    "a share for another codec": "encode photo.png -o out.spc --codec cae --keep 0.5",
    "a share and a budget": "encode photo.png -o out.spc --codec cae-admm --keep 0.5 --bpp 1",
    "unknown codec": "encode photo.png -o out.spc --codec gif",
    "unknown profile": "encode photo.png -o out.spc --profile huge",
    "unknown coordinates": "encode photo.png -o out.spc --coordinates polar",
    "unknown device": "encode photo.png -o out.spc --device abacus",
    "device that is not here": "encode photo.png -o out.spc --device cuda:99",
    "negative seed": "encode photo.png -o out.spc --seed -1",
    "no such folder": "encode photo.png -o nowhere/out.spc --codec jpeg",
    "output is the input": "encode photo.png -o ./photo.png --codec jpeg",
    "output is a folder": "encode photo.png -o empty --codec jpeg",
    "missing file": "decode nope.spc -o out.png",
    "file is a folder": "decode empty -o out.png",
    "foreign file": "decode photo.png -o out.png",
    "empty file": "decode empty.spc -o out.png",
    "damaged file": "decode damaged.spc -o out.png",
    "cut file": "decode cut.spc -o out.png",
    "lossy output": "decode good.spc -o out.jpg",
    "decode into no folder": "decode good.spc -o nowhere/out.png",
    "info of a foreign file": "info photo.png",
    "info of a damaged file": "info damaged.spc",
    "comparing nothing": "compare nope.png --html out.html",
    "comparing at no rate": "compare photo.png --bpp 0 --html out.html",
    "no codec so small": "compare photo.png --bpp 0.0001 --html out.html --profile smoke",
    "page into no folder": "compare photo.png --html nowhere/out.html",
    "unknown study": "study nope --out runs",
    "study of an unknown profile": "study coin --profile nope --out runs",
    "study of unknown pictures": "study coin --profile smoke --data nope --out runs",
    "study that trains nothing": "study coin --profile smoke --data bundled --train photos --out runs",
    "pictures for a study that has its own": "study gallery --profile smoke --data kodak --out runs",
    "no minutes": "study coin --max-minutes 0 --out runs",
    "no workers": "study coin --workers 0 --out runs",
    "study into a file": "study coin --profile smoke --data bundled --out photo.png",
    "unknown set": "data fetch nope",
    "unknown command": "paint photo.png",
    "unknown option": "info good.spc --loud",
    "no command": "bench",
}


@pytest.mark.parametrize("command", REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line_and_nothing_is_left(capsys, command):
    good = bytes(codecs.get_codec("jpeg").encode(photo()))
    Path("good.spc").write_bytes(good)
    Path("cut.spc").write_bytes(good[:-9])
    Path("damaged.spc").write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
    Path("empty.spc").touch()
    Path("text.txt").write_text("no picture")
    Path("empty").mkdir()
    before = files()
    status, out, err = run(capsys, *command.split())
    assert status == 2 and out == ""
    assert re.fullmatch(r"sparsecomp: [^\n]+\n", err), err
    assert files() == before and not Path("runs").exists()


# What is our fault ----------------------------------------------------------------------------------------------------


def numpy_bug(*arguments: object, **options: object) -> None:
    np.zeros(2) + np.zeros(3)  # a ValueError, as a refusal is one


def python_bug(*arguments: object, **options: object) -> None:
    {}["absent"].attribute  # noqa: B018


def torch_bug(*arguments: object, **options: object) -> None:
    torch.zeros(2) @ torch.zeros(3)  # a RuntimeError


BUGS = {
    "encode photo.png -o out.spc --codec jpeg": "sparsecomp.codecs.evaluate",
    "decode good.spc -o out.png": "sparsecomp.codecs.decode",
    "info good.spc": "sparsecomp.coding.container.layout",
    "compare photo.png --profile smoke": "sparsecomp.codecs.evaluate",
    "study coin --profile smoke --data bundled --out runs": "sparsecomp.studies.base.data.fingerprint",
    "run chapter.py --out out.ipynb": "sparsecomp.notebooks.run",
    "data list": "sparsecomp.data.listing",
    "data fetch bundled": "sparsecomp.data.fetch",
    "bench fit": "sparsecomp.bench.bench_fit",
    "bench projections": "sparsecomp.bench.bench_projections",
    "verify": "sparsecomp.verdicts.verify",
}


@pytest.mark.parametrize("command", BUGS)
@pytest.mark.parametrize("bug", [numpy_bug, python_bug, torch_bug])
def test_bug_exits_1_and_shows_its_traceback_with_debug_alone(capsys, monkeypatch, command, bug):
    Path("good.spc").write_bytes(codecs.get_codec("jpeg").encode(photo()))
    Path("chapter.py").touch()
    before = files()
    monkeypatch.setattr(BUGS[command], bug)
    status, out, err = run(capsys, *command.split())
    assert status == 1 and out == ""
    said = r"sparsecomp: internal error: (ValueError|KeyError|RuntimeError): [^\n]+"
    assert re.fullmatch(said + r"; run again with --debug for the traceback\n", err), err
    status, out, err = run(capsys, "--debug", *command.split())
    assert status == 1 and out == "" and err.startswith("Traceback (most recent call last)")
    assert f"in {bug.__name__}" in err and re.fullmatch(said, err.splitlines()[-1]), err
    assert files() == before


def test_bug_of_a_worker_is_a_bug(capsys, monkeypatch):
    def study(setup):
        side_by_side([("a", functools.partial(int, "x"))], 1, lambda key, result: None)

    monkeypatch.setitem(studies.STUDIES, "coin", study)
    status, _, err = run(capsys, "--debug", "study", "coin", "--out", "runs")
    assert status == 1 and "_RemoteTraceback" in err and "invalid literal for int" in err.splitlines()[-1]


def test_refusal_of_a_worker_is_bad_input(capsys, monkeypatch):
    def study(setup):
        side_by_side([("a", functools.partial(checks.whole, "steps", 0, 1))], 1, lambda key, result: None)

    monkeypatch.setitem(studies.STUDIES, "coin", study)
    status, _, err = run(capsys, "study", "coin", "--out", "runs")
    assert (status, err) == (2, "sparsecomp: steps must be a whole number of at least 1, got 0\n")


def test_bad_input_shows_its_traceback_with_debug(capsys):
    status, out, err = run(capsys, "--debug", "info", "photo.png")
    assert (status, out) == (2, "") and err.startswith("Traceback (most recent call last)")
    assert err.splitlines()[-1].startswith("sparsecomp: not an .spc file")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MemoryError(), 2, "MemoryError"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried\nto allocate"), 2, "CUDA out of memory. Tried to allocate"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, "DefaultCPUAllocator: can't allocate memory"),
        (OSError(28, "No space left on device"), 2, "[Errno 28] No space left on device"),
        (FileNotFoundError(2, "No such file", "a"), 2, "'a': No such file"),
        (ModuleNotFoundError("No module named 'papermill'", name="papermill"), 2, "No module named 'papermill'"),
        (ImportError("cannot import name 'x' from 'sparsecomp.codecs'", name="sparsecomp.codecs"), 1, "internal error"),
        (AttributeError("module 'numpy' has no attribute 'x'"), 1, "internal error: AttributeError: module 'numpy'"),
        (AssertionError(), 1, "internal error: AssertionError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_errors_of_others_are_told_apart_by_their_kind(capsys, monkeypatch, error, status, said):
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(data, "listing", fail)
    found, out, err = run(capsys, "data", "list")
    assert (found, out) == (status, "") and err.startswith(f"sparsecomp: {said}") and err.count("\n") == 1


def test_compare_does_not_take_a_bug_for_a_codec_that_cannot(capsys, monkeypatch):
    monkeypatch.setattr(codecs.get_codec("jpeg").__class__, "at_bpp", numpy_bug)
    status, out, err = run(capsys, "compare", "photo.png", "--bpp", 1.5, "--profile", "smoke")
    assert (status, out) == (1, "") and "sparsecomp: internal error: ValueError: operands" in err


# Files that are there -------------------------------------------------------------------------------------------------


def test_encode_names_its_file_after_the_picture_and_overwrites_none(capsys):
    assert run(capsys, "encode", "photo.png", "--codec", "jpeg")[:2][0] == 0
    before = Path("photo.spc").read_bytes()
    assert codecs.decode(before).shape == photo().shape
    status, out, err = run(capsys, "encode", "photo.png", "--codec", "webp")
    assert (status, out) == (2, "") and "photo.spc" in err and "-o" in err
    assert Path("photo.spc").read_bytes() == before


def test_loonie_keeps_the_budget_and_info_says_what_is_in_the_file(capsys):
    status, out, _ = run(capsys, "encode", "photo.png", "--codec", "loonie", "--bpp", 1.5, "--profile", "smoke")
    written = Path("photo.spc").read_bytes()
    rate = 8 * len(written) / (photo().shape[0] * photo().shape[1])
    assert status == 0 and f"{rate:.4f} bpp" in out and 0.95 * 1.5 <= rate <= 1.5
    status, out, _ = run(capsys, "info", "photo.spc")
    said = dict(line.strip().split(maxsplit=1) for line in out.splitlines())
    assert status == 0 and said["codec"] == "loonie" and "3 frequencies" in said["inputs"]
    assert "parameters not zero" in said["network"] and {"tables", "positions", "values"} <= set(said)


def test_autoencoder_from_picture_to_file_and_back(capsys, folder):
    tiny_cae.write(folder / "models", "tiny")
    tiny_cae.write(folder / "models", "other", seed=1)
    for options in (("--bpp", 0.5), ("--bpp", 0.5, "--model", "other"), ("--model", "other")):
        status, out, _ = run(capsys, "encode", "photo.png", "-o", "a.spc", "--codec", "cae", *options)
        rate = 8 * Path("a.spc").stat().st_size / (96 * 128)
        assert status == 0 and f"{rate:.4f} bpp" in out and (rate <= 0.5 or "--bpp" not in options)
        _, out, _ = run(capsys, "info", "a.spc")
        said = dict(line.strip().split(maxsplit=1) for line in out.splitlines())
        name = said["model"].split(",")[0]
        assert name == "other" or "--model" not in options
        stored = Models(folder / "models").find(name)
        assert said["model"] == f"{name}, {stored.key}, width 8, latent 3" and {"network", "values"} <= set(said)
        step = int(re.fullmatch(r"(\d+) / 16384 = \d\.\d{5}", said["step"])[1])
        assert step == stored.step or "--bpp" in options
        cost = cost_of(Path("a.spc").read_bytes())
        assert said["cost"] == f"{cost:,.0f} MAC/px"
        assert run(capsys, "decode", "a.spc", "-o", "a.png")[0] == 0 and read("a.png").shape == photo().shape
    (folder / "models" / "other.safetensors").unlink()
    for command in (("decode", "a.spc", "-o", "b.png"), ("info", "a.spc")):
        status, out, err = run(capsys, *command)
        assert (status, out) == (2, "") and f"made with model {stored.key}, which is not here; here are tiny" in err


@pytest.mark.parametrize("codec", ["cae-admm", "cae-theis"])
def test_pruning_autoencoder_from_picture_to_file_and_back(capsys, folder, codec):
    tiny_cae_admm.write(folder / "models", "tiny", codec=codec)
    tiny_cae_admm.write(folder / "models", "other", codec=codec, seed=1, search=False)
    for options in (("--bpp", 0.2), ("--bpp", 0.2, "--model", "other"), ("--model", "other"), ("--keep", 0.25)):
        status, out, _ = run(capsys, "encode", "photo.png", "-o", "a.spc", "--codec", codec, *options)
        written = Path("a.spc").read_bytes()
        rate = 8 * len(written) / (96 * 128)
        assert status == 0 and f"{rate:.4f} bpp" in out and (rate <= 0.2 or "--bpp" not in options)
        _, out, _ = run(capsys, "info", "a.spc")
        said = dict(line.strip().split(maxsplit=1) for line in out.splitlines())
        stored, symbols = read_symbols(unpack(written))[:2]
        assert stored.name == ("other" if "other" in options else "tiny") and said["codec"] == codec
        assert said["model"] == f"{stored.name}, {stored.key}, width 8, latent 3, depth 2"
        smallest = np.abs(symbols[symbols != 0]).min()
        assert said["threshold"] == f"{smallest}, the least magnitude beside zero"
        assert said["zeros"] == f"{100 * np.mean(symbols == 0):.2f} % of 576 entries" and symbols.size == 576
        assert "--keep" not in options or said["zeros"].startswith("75.00 %")
        assert said["cost"] == f"{cost_of(written):,.0f} MAC/px"
        assert run(capsys, "decode", "a.spc", "-o", "a.png")[0] == 0
        assert np.array_equal(read("a.png"), codecs.decode(written))
    (folder / "models" / "tiny.safetensors").unlink()
    for command in (("decode", "a.spc", "-o", "b.png"), ("info", "a.spc")):
        status, out, err = run(capsys, *command)
        assert (status, out) == (2, "") and f"made with model {stored.key}, which is not here; here are other" in err


def test_names_that_are_known_without_pytorch():
    assert cli.STUDIES == tuple(studies.STUDIES)


def test_refusal_is_the_same_from_outside():
    done = subprocess.run([SCRIPT, "info", "photo.png"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "") and re.fullmatch(
        "sparsecomp: not an .spc file[^\n]*\n", done.stderr
    )


def test_output_is_checked_before_the_work_begins(capsys, monkeypatch):
    monkeypatch.setattr(data, "load_picture", lambda name: pytest.fail("the picture was read first"))
    assert run(capsys, "encode", "photo.png", "-o", "nowhere/out.spc")[0] == 2
    assert run(capsys, "compare", "photo.png", "--html", "nowhere/out.html")[0] == 2


def test_network_over_the_budget_is_not_fitted_first(capsys, monkeypatch):
    monkeypatch.setattr("sparsecomp.codecs.network.fit", lambda *a, **k: pytest.fail("it was fitted first"))
    status, _, err = run(capsys, "encode", "photo.png", "-o", "a.spc", "--arch", "10x28", "--bpp", 1)
    assert status == 2 and "coin 10x28: bpp=1 is too small" in err
    needed = float(re.search(r"bpp=([\d.]+)\n", err)[1])
    assert 8 * 2 * 7479 / (96 * 128) < needed < 8 * (2 * 7479 + 40) / (96 * 128)


@pytest.mark.parametrize("what", ["write", "rename"])
def test_failed_write_leaves_the_old_file(capsys, monkeypatch, what):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    Path("a.spc").write_bytes(b"old")
    before = files()
    monkeypatch.setattr(*((Path, "write_bytes", full) if what == "write" else (os, "replace", full)))
    status, out, err = run(capsys, "encode", "photo.png", "-o", "a.spc", "--codec", "jpeg")
    assert (status, out) == (2, "") and "No space left" in err and files() == before


# Comparing ------------------------------------------------------------------------------------------------------------


def test_compare_has_a_dash_for_a_codec_that_cannot_go_so_low(capsys):
    status, out, _ = run(capsys, "compare", "photo.png", "--bpp", 0.2, "--html", "a.html", "--profile", "smoke")
    cells = [line.split() for line in out.splitlines()]
    rows = {first: rest for first, *rest in filter(None, cells) if first in codecs.NAMES}
    assert status == 0 and tuple(rows) == codecs.NAMES
    assert rows["jpeg"] == ["-"] * 8 and "jpeg: bpp=0.2 is too small" in out
    for name, study in (("cae", "cae"), ("cae-admm", "cae_admm"), ("cae-theis", "cae_admm")):
        assert rows[name] == ["-"] * 8
        assert re.search(rf"^{name}: .*`sparsecomp study {study} --profile laptop` trains them$", out, re.MULTILINE)
    assert float(rows["coin"][1]) <= 0.2 and int(rows["coin"][-1]) > 0
    assert "coin: 300 steps; loonie: 300 steps (profile smoke), seed 0" in out


def test_page_of_compare_needs_nothing_else_and_shows_every_picture(capsys, monkeypatch, folder):
    tiny_cae.write(folder / "models", "tiny")
    for codec in ("cae-admm", "cae-theis"):
        tiny_cae_admm.write(folder / "models", codec, codec=codec)
    kept, evaluate = [], codecs.evaluate
    monkeypatch.setattr(codecs, "evaluate", lambda *a: kept.append(evaluate(*a)) or kept[-1])
    Path("photo.png").rename("a&<b>.png")
    assert run(capsys, "compare", "a&<b>.png", "--bpp", 1.5, "--html", "a.html", "--profile", "smoke")[0] == 0
    page = Path("a.html").read_text()
    addresses = re.findall(r"(?:src|href)\s*=\s*\"([^\"]{,30})", page) + re.findall(
        r"url\(|@import|<script|https?:", page
    )
    assert addresses and all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "a&amp;&lt;b&gt;.png" in page and "<b>" not in page and "color-scheme: light dark" in page
    shown = [read(io.BytesIO(b64decode(text))) for text in re.findall(r"base64,([^\"]+)", page)]
    assert len(shown) == 1 + len(codecs.NAMES) and np.array_equal(shown[0], photo())
    for picture, measured in zip(shown[1:], kept, strict=True):
        assert np.array_equal(picture, measured.reconstruction)
        assert f"{measured.bytes:,} bytes, {measured.bpp:.4f} bpp, {measured.psnr:.2f} dB" in page


# Studies and pictures -------------------------------------------------------------------------------------------------


def test_study_makes_its_record_once_and_packs_it(capsys):
    command = ("study", "coin", "--profile", "smoke", "--data", "bundled", "--out", "runs", "--workers", 1, "--pack")
    status, out, err = run(capsys, *command)
    (record,) = Path("runs/coin").glob("*.json")
    written = record.read_bytes()
    assert status == 0 and "done: 1 records" in out and not err
    assert "packed: " in out and Path("runs/records.tar.gz.00").stat().st_size > 0
    status, out, _ = run(capsys, *command)
    assert status == 0 and "the record is there" in out and record.read_bytes() == written


def test_options_reach_the_study(capsys, monkeypatch):
    seen = []
    monkeypatch.setitem(
        studies.STUDIES, "coin", lambda setup, pictures_of="kodak": seen.append((setup, pictures_of)) or []
    )
    options = "--profile paper --max-minutes 9.5 --out runs --data bundled --workers 3 --seed 5 --commit abc"
    assert run(capsys, "study", "coin", *options.split())[0] == 0
    ((setup, pictures_of),) = seen
    found = (setup.profile.name, setup.max_minutes, setup.out, setup.workers, setup.seed, setup.commit, setup.device)
    assert found == ("paper", 9.5, Path("runs"), 3, 5, "abc", "cpu") and pictures_of == "bundled"
    assert run(capsys, "study", "coin", "--out", "runs")[0] == 0
    assert seen[1][0].workers == results.cores() and seen[1][1] == "kodak"


def test_pause_is_no_error_and_ctrl_c_says_how_to_go_on(capsys, monkeypatch):
    def ends(reason):
        def study(setup):
            raise reason

        monkeypatch.setitem(studies.STUDIES, "coin", study)
        return run(capsys, "study", "coin", "--out", "runs")

    assert ends(Paused("the time is over")) == (0, "paused: the time is over; the same command goes on from here\n", "")
    status, out, err = ends(KeyboardInterrupt())
    assert (status, out) == (130, "") and re.fullmatch("sparsecomp: stopped; the same command goes on[^\n]*\n", err)


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a group of processes are POSIX's")
def test_ctrl_c_ends_a_study_and_its_workers_at_once():
    command = [SCRIPT, "study", "coin", "--profile", "laptop", "--data", "bundled", "--out", "runs", "--workers", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(command, start_new_session=True, **pipes)
    try:
        deadline = time.monotonic() + 30
        while not list(Path().glob("runs/coin/.partial/*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of them
        out, err = running.communicate(timeout=30)  # until nobody, worker or not, holds the pipes any more
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert (running.returncode, out) == (130, "") and "sparsecomp: stopped" in err.splitlines()[-1]


def test_data_says_where_each_set_is(capsys):
    status, out, _ = run(capsys, "data", "list")
    assert status == 0
    for row in data.listing():
        place = str(row.found) if row.found else f"sparsecomp data fetch {row.name}"
        assert re.search(rf"^{row.name} +{row.pictures} pictures  .*{re.escape(place)}$", out, re.M) and row.home in out
    assert run(capsys, "data", "fetch", "bundled")[:2] == (0, f"{data.fetch('bundled')}\n")


def test_container_with_a_network_that_cannot_be_is_refused(capsys):
    network = {"network": bytes(6), "weights": bytes(10)}
    Path("a.spc").write_bytes(pack(Container(16, 8, 8, network)))
    status, out, err = run(capsys, "info", "a.spc")
    assert (status, out) == (2, "") and err.startswith("sparsecomp: impossible network")

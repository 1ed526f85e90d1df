"""Records: written whole, read once, found by their configuration; curves; and what made them."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import subprocess
import tarfile
from dataclasses import replace

import pytest
import torch

from reproduce import records, revision
from reproduce.records import Curve, Records, RunRecord

CONFIG = {"profile": "smoke", "seed": 0, "fit": {"lr": 2e-3, "batch_pixels": None}, "grid": ["quality", 1, 5.5]}
ROWS = [
    {"picture": "a", "setting": 1, "bpp": 0.25, "psnr": 20.0, "ms_ssim": None},
    {"picture": "b", "setting": 1, "bpp": 0.75, "psnr": 23.0, "ms_ssim": 0.9},
    {"picture": "a", "setting": 5, "bpp": 0.1, "psnr": 30.0, "ms_ssim": 0.8},
    {"picture": "b", "setting": 5, "bpp": 0.2, "psnr": 31.0, "ms_ssim": 0.6},
]
RECORD = RunRecord("coin", "some-name", CONFIG, ROWS, 12.5, {"commit": None, "versions": {"torch": "2"}})
LAPTOP = replace(RECORD, name="a-name", config=CONFIG | {"profile": "laptop"})


@pytest.fixture
def two(tmp_path) -> Records:
    """RECORD and LAPTOP."""
    for record in (RECORD, LAPTOP):
        records.write(record, tmp_path)
    return Records(tmp_path)


# One record -----------------------------------------------------------------------------------------------------------


def test_write_and_read_give_a_record_back(tmp_path, monkeypatch):
    path = tmp_path / "coin" / f"some-name-{RECORD.key}.json"
    for record in (replace(RECORD, rows=[]), replace(RECORD, result={"history": {"step": [1]}}), RECORD):
        assert records.write(record, tmp_path) == path, "rows and results decide no name"
        assert records.read(path) == record
    assert [*path.parent.iterdir()] == [path], "something was left beside it"
    assert sum(line.lstrip().startswith('{"picture"') for line in path.read_text().splitlines()) == 4, "one line a row"
    written = json.loads(path.read_text())
    del written["result"]
    path.write_text(json.dumps(written))
    assert records.read(path) == RECORD, "older records have no result"
    monkeypatch.setattr(os, "replace", lambda *arguments: os.stat(tmp_path / "disk full"))
    with pytest.raises(OSError, match="disk full"):
        records.write(replace(RECORD, rows=ROWS[:1]), tmp_path)
    assert records.read(path) == RECORD, "whole or not at all"


def test_config_key_is_of_the_configuration_alone():
    assert records.config_key(dict(reversed(CONFIG.items()))) == RECORD.key
    for change in ({"seed": 1}, {"fit": {"lr": 2e-3, "batch_pixels": 256}}, {"more": None}):
        assert records.config_key(CONFIG | change) != RECORD.key
    assert records.config_key(CONFIG | {"grid": ("quality", 1, 5.5)}) == RECORD.key, "a tuple is a list in JSON"
    # Committed records are found by this name: another way of hashing would orphan them.
    assert records.config_key({"b": [1, 2.5, None], "a": "x"}) == "b649bb1171"


def test_write_refuses_what_is_no_number_and_rows_that_are_too_long(tmp_path):
    long = {"rows": [ROWS[0], {"picture": "a", "history": "x" * 20_000}]}
    with pytest.raises(ValueError, match="row of a is over 20000 bytes"):
        records.write(replace(RECORD, **long), tmp_path)
    for wrong in ({"rows": [{"psnr": math.nan}]}, {"result": {"history": {"loss": [1.0, -math.inf]}}}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            records.write(replace(RECORD, **wrong), tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_read_refuses_an_edited_or_broken_record(tmp_path):
    path = records.write(RECORD, tmp_path)
    text, whole = path.read_text(), json.loads(path.read_text())
    for message, content in [
        ("was it edited", json.dumps(whole | {"config": CONFIG | {"seed": 1}})),
        ("was it edited", json.dumps(whole | {"name": "other"})),
        ("schema 2, this reader knows 1", json.dumps(whole | {"schema": 2})),
        ("cannot be read", json.dumps({k: v for k, v in whole.items() if k != "rows"})),
        ("cannot be read", json.dumps(whole | {"more": 1})),
        ("cannot be read", json.dumps([whole])),
        ("cannot be read", text[:-3]),
        ("cannot be read", "\udcff"),
    ]:
        path.write_text(content, errors="surrogateescape")
        for look in (lambda: records.read(path), lambda: Records(tmp_path).find("coin", seed=7)):
            with pytest.raises(ValueError, match=message):
                look()


def test_mean_and_curve_are_of_the_rows_that_match():
    assert (RECORD.mean("psnr"), RECORD.mean("bpp", picture="b", setting=5)) == (26.0, 0.2)
    for column, where in (("psnr", {"picture": "c"}), ("nothing", {}), ("ms_ssim", {})):
        with pytest.raises(ValueError, match="no mean of"):
            RECORD.mean(column, **where)
    assert RECORD.curve("psnr") == (pytest.approx([0.15, 0.5]), [30.5, 21.5]), "sorted by rate"
    assert RECORD.only(["a"]).mean("psnr") == 25.0


# Many records ---------------------------------------------------------------------------------------------------------


def test_records_find_by_configuration_and_preset_or_say_what_makes_them(two):
    assert two.find("coin") == [LAPTOP, RECORD] == two.some("coin", seed=0), "by the names of their files"
    assert two.find("coin", profile="laptop", seed=0) == [LAPTOP] and two.find("nothing") == []
    view = two.at("smoke")
    assert view.one("coin") == RECORD and view.at(None).find("coin") == [LAPTOP, RECORD]
    assert view.find("coin", profile="laptop") == [LAPTOP], "a question may name another preset"
    for look in (two.one, two.some):
        with pytest.raises(LookupError, match="'coin' with {'seed': 2}: make it with `python -m reproduce study coin`"):
            look("coin", seed=2)
    with pytest.raises(LookupError, match="`python -m reproduce bench`"):
        two.one("bench")
    with pytest.raises(ValueError, match="2 records of study 'coin' with {'seed': 0}: a-name, some-name"):
        two.one("coin", seed=0)


# Curves ---------------------------------------------------------------------------------------------------------------


def test_curve_at_is_linear_over_the_logarithm_of_the_rate():
    curve = Curve.of([(0.8, 40.0), (0.1, 20.0), (0.2, 30.0)])
    known = {0.1: 20, 0.1 * 2**0.5: 25, 0.2: 30, 0.4: 35, 0.8: 40}
    assert [curve.at(rate) for rate in known] == pytest.approx(list(known.values()))
    for rate in (0.0999, 0.801):
        with pytest.raises(LookupError, match=f"it is known from 0.100 to 0.800 bpp, not at {rate:.3f}"):
            curve.at(rate, "it")
    with pytest.raises(LookupError, match="known nowhere"):
        Curve([], []).at(1.0)
    # Beyond the ends the first and the last line are continued: 10 dB and 5 dB for a doubling.
    assert curve.at(0.05, beyond=1.0) == pytest.approx(10) and curve.at(1.6, beyond=1.0) == pytest.approx(45)
    assert Curve([1.0], [7.0]).at(1.04, beyond=0.05) == 7
    for rate in (0.049, 1.61):
        with pytest.raises(LookupError):
            curve.at(rate, beyond=1.0)


def test_curve_better_and_longer_are_distances_to_a_shifted_curve():
    """5 dB for a doubling of the rate, so ``shift`` dB are worth 2 to the power of shift / 5."""
    shift = -1.5
    rates = [0.25, 0.5, 1.0, 2.0, 4.0]
    line = Curve(rates, [30 + 5 * math.log2(rate) for rate in rates])
    above = Curve(rates[1:], [quality + shift for quality in line.qualities[1:]])
    gained, longer = above.better(line), above.longer(line)
    assert (gained.value, *gained.overlap) == pytest.approx((shift, 0.5, 4.0))
    percent = 100 * (2 ** (-shift / 5) - 1)
    assert (longer.value, *longer.overlap) == pytest.approx((percent, 25 + shift, 40 + min(shift, 0)), abs=1e-6)
    for other, message in ((Curve(rates[:3], line.qualities[:3]), "at least 4 points"),
                           (Curve([16 * rate for rate in rates], line.qualities), "must overlap")):  # fmt: skip
        with pytest.raises(LookupError, match=message):
            above.better(other)


# Writing, and what made a record --------------------------------------------------------------------------------------


def test_environment_names_the_device_and_its_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU at {device}")
    found, cpu = records.environment("cuda", precision="tf32"), records.environment("cpu")
    assert (found["device"], found["device_name"], found["precision"]) == ("cuda", "GPU at cuda", "tf32")
    assert cpu["device_name"] not in ("", "cpu") and cpu["precision"] == "float32"
    assert found["versions"]["torch"] == torch.__version__


def test_environment_has_the_commit_of_the_repository_that_tracks_the_package(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    for role in ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL"):
        monkeypatch.setenv(f"GIT_{role}", "someone@example.org")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True)

    def found(root: str, **given: str) -> tuple[str | None, bool | None]:
        module = tmp_path / root / "reproduce" / "records.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.touch()
        monkeypatch.setattr(revision, "__file__", str(module))
        environment = records.environment("cpu", **given)
        return environment["commit"], environment["clean"]

    assert found(".") == (None, None), "there is no repository"
    git("init")
    git("commit", "--allow-empty", "-m", "Another project")
    assert found(".") == (None, None) == found("venv/site-packages"), "they lie there, but git does not track them"
    git("add", "--force", "venv", "reproduce")
    git("commit", "-m", "Both")
    assert found("venv/site-packages") == (None, None), "not at the top"
    commit, clean = found(".")
    assert len(commit) == 40 and clean is True and found(".", commit="abc") == ("abc", None)
    (tmp_path / "reproduce" / "records.py").write_text("changed = True")
    assert found(".") == (commit, False)


def test_pack_holds_everything_that_the_studies_made_in_parts(two, monkeypatch):
    monkeypatch.setattr(records, "PART_BYTES", 700)
    out = two.folder
    for name in ("coin/.partial/half", "other/left-out.json", "records.tar.gz.99"):  # the last of a larger archive
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(os.urandom(6000))
    packed = records.pack(out, ("coin", "absent"))
    assert packed == sorted(out.glob("records.tar.gz.*")) and len(packed) > 7
    assert all(path.stat().st_size <= 700 for path in packed)
    with tarfile.open(fileobj=io.BytesIO(b"".join(path.read_bytes() for path in packed))) as archive:
        found = {out / of.name: archive.extractfile(of).read() for of in archive if of.isfile()}
    every = {path: path.read_bytes() for path in (out / "coin").rglob("*") if path.is_file()}
    assert found == every and len(found) == 3


def test_values_of_names_records_and_settings_only_where_there_are_several(tmp_path):
    def record(name: str, *settings: int) -> RunRecord:
        rows = [{"picture": "p", "setting": s, "bpp": s / 10, "psnr": 30.0 + s, "ssim": None} for s in settings]
        return RunRecord("coin", name, {}, rows, 1.0, {})

    one, several = record("one", 1), record("two", 1, 2)
    assert records.values_of([one]) == {"bpp": 0.1, "psnr": 31.0}
    assert records.values_of([one, several]) == {
        "one bpp": 0.1, "one psnr": 31.0,
        "two bpp, 1": 0.1, "two psnr, 1": 31.0, "two bpp, 2": 0.2, "two psnr, 2": 32.0,
    }  # fmt: skip

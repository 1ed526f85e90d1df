"""Records: written whole, read back, found by their configuration; and what made them."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sparsecomp import results
from sparsecomp.results import RunRecord

CONFIG = {"profile": "smoke", "seed": 0, "fit": {"lr": 2e-3, "batch_pixels": None}, "grid": ["quality", 1, 5.5]}
ROWS = [
    {"picture": "a", "setting": 1, "bpp": 0.25, "psnr": 20.0, "ms_ssim": None},
    {"picture": "b", "setting": 1, "bpp": 0.75, "psnr": 23.0, "ms_ssim": 0.9},
    {"picture": "a", "setting": 5, "bpp": 0.1, "psnr": 30.0, "ms_ssim": 0.8},
    {"picture": "b", "setting": 5, "bpp": 0.2, "psnr": 31.0, "ms_ssim": 0.6},
]
RECORD = RunRecord("coin", "some-name", CONFIG, ROWS, 12.5, {"commit": None, "versions": {"torch": "2"}})


def test_write_and_read_give_a_record_back(tmp_path):
    result = {"macs": 12.5, "radius": None, "history": {"step": [1, 2], "psnr": [20.0, 0.0]}, "model": "ab"}
    path = results.path_of(tmp_path, "coin", "some-name", CONFIG)
    assert path == tmp_path / "coin" / f"some-name-{RECORD.key}.json"
    for record in (RECORD, replace(RECORD, rows=[]), replace(RECORD, result=result)):
        assert results.write(record, tmp_path) == path, "rows and results decide no name"
        assert results.read(path) == record
        assert [p.name for p in path.parent.iterdir()] == [path.name], "something was left beside it"
    text = results.write(RECORD, tmp_path).read_text()
    assert sum(line.lstrip().startswith('{"picture"') for line in text.splitlines()) == 4, "one line a row"
    written = json.loads(text)
    assert written.pop("result") == {} == RECORD.result
    path.write_text(json.dumps(written))
    assert results.read(path) == RECORD, "older records have no result"


def test_config_key_is_of_the_configuration_alone():
    shuffled = dict(reversed(CONFIG.items()))
    assert results.config_key(shuffled) == RECORD.key == replace(RECORD, rows=[], wall_seconds=0.0).key
    assert len(RECORD.key) == 10 and int(RECORD.key, 16) >= 0
    for change in ({"seed": 1}, {"fit": {"lr": 2e-3, "batch_pixels": 256}}, {"more": None}):
        assert results.config_key(CONFIG | change) != RECORD.key
    # A tuple is a list in JSON: written and read again the key is the same.
    assert results.config_key(CONFIG | {"grid": ("quality", 1, 5.5)}) == RECORD.key
    # Committed records are found by this name: another way of hashing would orphan them.
    assert results.config_key({"b": [1, 2.5, None], "a": "x"}) == "b649bb1171"


def test_write_leaves_the_old_record_where_it_fails(tmp_path, monkeypatch):
    results.write(RECORD, tmp_path)

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        results.write(replace(RECORD, rows=ROWS[:1]), tmp_path)
    assert results.records("coin", tmp_path) == [RECORD], "what is half written is not a record"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": [ROWS[0], {"picture": "a", "history": "x" * 20_000}]}, "row of a is over 20000 bytes"),
        ({"rows": [{"psnr": math.nan}]}, "not JSON compliant"),
        ({"config": {"lr": math.inf}}, "not JSON compliant"),
        ({"environment": {"x": -math.inf}}, "not JSON compliant"),
        ({"wall_seconds": math.nan}, "not JSON compliant"),
        ({"result": {"history": {"loss": [1.0, math.nan]}}}, "not JSON compliant"),
    ],
)
def test_write_refuses_what_is_no_number_and_rows_that_are_too_long(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        results.write(replace(RECORD, **wrong), tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_read_refuses_an_edited_or_broken_record(tmp_path):
    path = results.write(RECORD, tmp_path)
    text = path.read_text()
    whole = json.loads(text)
    for message, content in [
        ("was it edited", json.dumps(whole | {"config": CONFIG | {"seed": 1}})),
        ("was it edited", json.dumps(whole | {"name": "other"})),
        ("schema 2", json.dumps(whole | {"schema": 2})),
        ("cannot be read", json.dumps({k: v for k, v in whole.items() if k != "rows"})),
        ("cannot be read", json.dumps(whole | {"more": 1})),
        ("cannot be read", json.dumps([whole])),
        ("cannot be read", ""),
        ("cannot be read", text[:-3]),
        ("cannot be read", "\udcff"),
    ]:
        path.write_text(content, errors="surrogateescape")
        for look in (lambda: results.read(path), lambda: results.records("coin", tmp_path)):
            with pytest.raises(ValueError, match=message):
                look()
    with pytest.raises(ValueError, match="cannot be read"):
        results.read(tmp_path / "absent.json")


def test_mean_and_curve_are_of_the_rows_that_match():
    assert RECORD.mean("psnr") == 26.0
    assert RECORD.mean("bpp", picture="b", setting=5) == 0.2
    assert RECORD.mean("ms_ssim", setting=5) == pytest.approx(0.7)
    for column, where in (("psnr", {"picture": "c"}), ("nothing", {}), ("ms_ssim", {})):
        with pytest.raises(ValueError, match="no mean of"):
            RECORD.mean(column, **where)
    assert RECORD.curve("psnr") == (pytest.approx([0.15, 0.5]), [30.5, 21.5]), "sorted by rate"
    assert RECORD.curve("psnr", by="picture") == (pytest.approx([0.175, 0.475]), [25.0, 27.0])
    assert RECORD.only(["a"]).mean("psnr") == 25.0 and RECORD.only(None) is RECORD


def test_records_are_found_by_their_configuration(tmp_path):
    other = replace(RECORD, name="a-name", config=CONFIG | {"seed": 1})
    for made in (RECORD, other):
        results.write(made, tmp_path)
    assert results.records("coin", tmp_path) == [other, RECORD] == results.some("coin", tmp_path)
    assert results.records("coin", tmp_path, profile="smoke", seed=1) == [other]
    assert results.records("nothing", tmp_path) == []
    assert results.record("coin", tmp_path, seed=0) == RECORD
    for look in (results.record, results.some):
        with pytest.raises(LookupError, match="sparsecomp study coin"):
            look("coin", tmp_path, seed=2)
    with pytest.raises(ValueError, match="2 records of study 'coin'.*a-name, some-name"):
        results.record("coin", tmp_path, profile="smoke")


@pytest.mark.parametrize("points", [0, 1, 2, 199, 200, 201, 1000])
def test_thin_keeps_200_points_evenly_and_the_last(points):
    history = [(250 * (i + 1), 20 + i / 7) for i in range(points)]
    thin = results.thin(history)
    assert list(thin) == ["step", "psnr"] and len(thin["step"]) == min(points, 200)
    assert thin["psnr"] == [round(20 + (step / 250 - 1) / 7, 3) for step in thin["step"]]
    assert not points or (thin["step"][0], thin["step"][-1]) == (250, 250 * points)
    gaps = {b - a for a, b in zip(thin["step"], thin["step"][1:], strict=False)}
    assert not gaps or max(gaps) - min(gaps) <= 250


def test_thin_has_the_columns_that_are_named_and_rounds_db_alone():
    history = [[10 * i, 1 / (i + 1), 20.00049 if i else -math.inf] for i in range(500)]
    thin = results.thin(history, ("step", "loss", "psnr"))
    assert {len(column) for column in thin.values()} == {200}
    assert thin["loss"] == [1 / (step // 10 + 1) for step in thin["step"]]
    assert thin["psnr"] == [0.0] + 199 * [20.0], "a score that was no number can be recorded"
    assert list(results.thin(history, ("step", "primal", "zeros"))) == ["step", "primal", "zeros"]


# What made a record ---------------------------------------------------------------------------------------------------


def test_environment_names_commit_device_and_versions(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "__file__", str(tmp_path / "sparsecomp" / "results.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for given, commit in (({"commit": "abc"}, "abc"), ({}, None)):
        told = results.environment("cuda", **given)
        assert (told["commit"], told["clean"], told["device"]) == (commit, None, "cuda")
        assert told["versions"]["torch"] == torch.__version__


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with one commit, and a function that says what `environment` finds for a package in it."""
    if shutil.which("git") is None:
        pytest.skip("there is no git here")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    roles = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
    who = {f"GIT_{role}": "someone@example.org" for role in roles}

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True, env=os.environ | who)

    def found(root: Path) -> tuple[str | None, bool | None]:
        module = root / "sparsecomp" / "results.py"
        module.parent.mkdir(parents=True, exist_ok=True)
        module.touch()
        monkeypatch.setattr(results, "__file__", str(module))
        environment = results.environment("cpu")
        return environment["commit"], environment["clean"]

    git("init")
    (tmp_path / "somebody.txt").write_text("another project")
    git("add", ".")
    git("commit", "-m", "Another project")
    return tmp_path, git, found


def test_environment_ignores_a_repository_around_the_package(repository):
    """As where the package is installed in a virtual environment inside somebody's repository."""
    root, git, found = repository
    assert found(root / "venv" / "lib" / "site-packages") == (None, None)
    git("add", "--force", "venv")
    git("commit", "-m", "Even where the package itself is in it")
    assert found(root / "venv" / "lib" / "site-packages") == (None, None)


def test_environment_takes_a_repository_that_holds_the_package(repository):
    root, git, found = repository
    assert found(root) == (None, None), "the package lies there, but git does not track it"
    git("add", "sparsecomp")
    git("commit", "-m", "Our package")
    commit, clean = found(root)
    assert len(commit) == 40 and clean is True
    (root / "sparsecomp" / "results.py").write_text("changed = True")
    assert found(root) == (commit, False)


def test_published_figures_are_numbers():
    rows = results.published("coin", metric="psnr", setting="10x28", series="COIN")
    assert rows and all(row["paper"] == "COIN" for row in rows)
    assert [(row["x"], row["value"]) for row in rows] == [(0.3074, 26.412125)]
    assert len(results.published("coin")) > len(rows)
    assert results.published("coin", metric="no such") == []
    with pytest.raises(FileNotFoundError):
        results.published("no such paper")
    every = [row for file in (results.folder() / "published").glob("*.csv") for row in results.published(file.stem)]
    assert all(math.isfinite(row["value"]) and (row["x"] is None or math.isfinite(row["x"])) for row in every)

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


def test_a_record_comes_back_as_it_was(tmp_path):
    path = results.write(RECORD, tmp_path)
    assert path == tmp_path / "coin" / f"some-name-{RECORD.key}.json"
    assert path == results.path_of(tmp_path, "coin", "some-name", CONFIG)
    assert results.read(path) == RECORD
    assert [p.name for p in path.parent.iterdir()] == [path.name], "something was left beside it"
    assert results.write(replace(RECORD, rows=[]), tmp_path) == path
    assert results.read(path).rows == []
    text = results.write(RECORD, tmp_path).read_text()
    assert sum(line.lstrip().startswith('{"picture"') for line in text.splitlines()) == 4, "one line a row"


def test_the_key_is_of_the_configuration_alone():
    shuffled = dict(reversed(CONFIG.items()))
    assert results.config_key(shuffled) == RECORD.key == replace(RECORD, rows=[], wall_seconds=0.0).key
    assert len(RECORD.key) == 10 and int(RECORD.key, 16) >= 0
    for change in ({"seed": 1}, {"fit": {"lr": 2e-3, "batch_pixels": 256}}, {"more": None}):
        assert results.config_key(CONFIG | change) != RECORD.key
    # A tuple is a list in JSON: written and read again the key is the same.
    assert results.config_key(CONFIG | {"grid": ("quality", 1, 5.5)}) == RECORD.key


def test_keys_of_existing_records_stay():
    """Committed records are found by this name: another way of hashing would orphan them."""
    assert results.config_key({"b": [1, 2.5, None], "a": "x"}) == "b649bb1171"


def test_a_record_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = results.write(RECORD, tmp_path)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError):
        results.write(replace(RECORD, rows=ROWS[:1]), tmp_path)
    assert path.read_bytes() == before
    monkeypatch.undo()
    assert results.records("coin", tmp_path) == [RECORD], "what is half written is not a record"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["rows", "config", "environment", "wall_seconds", "result"])
def test_what_is_no_number_is_not_written(tmp_path, where, value):
    bad = {
        "rows": [{"psnr": value}],
        "config": {"lr": value},
        "environment": {"x": value},
        "wall_seconds": value,
        "result": {"history": {"loss": [1.0, value]}},
    }
    with pytest.raises(ValueError):
        results.write(replace(RECORD, **{where: bad[where]}), tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_a_row_has_a_limit(tmp_path):
    fat = {"picture": "a", "history": "x" * 20_000}
    with pytest.raises(ValueError, match="row of a is over 20000 bytes"):
        results.write(replace(RECORD, rows=[ROWS[0], fat]), tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_an_edited_or_broken_record_is_told(tmp_path):
    path = results.write(RECORD, tmp_path)
    whole = json.loads(path.read_text())
    edited = [
        ("was it edited", whole | {"config": CONFIG | {"seed": 1}}),
        ("was it edited", whole | {"name": "other"}),
        ("schema 2", whole | {"schema": 2}),
        ("cannot be read", {k: v for k, v in whole.items() if k != "rows"}),
        ("cannot be read", whole | {"more": 1}),
        ("cannot be read", [whole]),
    ]
    for message, content in edited:
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=message):
            results.read(path)
    for broken in (b"", b"{", path.read_bytes()[:-3], b"\xff\xfe"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="cannot be read"):
            results.read(path)
        with pytest.raises(ValueError, match="cannot be read"):
            results.records("coin", tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        results.read(tmp_path / "absent.json")


def test_means_are_of_rows():
    assert RECORD.mean("psnr") == 26.0
    assert RECORD.mean("psnr", picture="a") == 25.0
    assert RECORD.mean("bpp", picture="b", setting=5) == 0.2
    assert RECORD.mean("ms_ssim", setting=5) == pytest.approx(0.7)
    for column, where in (("psnr", {"picture": "c"}), ("nothing", {}), ("ms_ssim", {})):
        with pytest.raises(ValueError, match="no mean of"):
            RECORD.mean(column, **where)


def test_curves_are_sorted_by_rate():
    rate, quality = RECORD.curve("psnr")
    assert rate == pytest.approx([0.15, 0.5]) and quality == [30.5, 21.5]
    by_picture = RECORD.curve("psnr", by="picture")
    assert by_picture == (pytest.approx([0.175, 0.475]), [25.0, 27.0])


def test_records_are_found_by_their_configuration(tmp_path):
    other = replace(RECORD, name="a-name", config=CONFIG | {"seed": 1})
    for made in (RECORD, other):
        results.write(made, tmp_path)
    assert results.records("coin", tmp_path) == [other, RECORD]
    assert results.records("coin", tmp_path, profile="smoke", seed=1) == [other]
    assert results.records("nothing", tmp_path) == []
    assert results.record("coin", tmp_path, seed=0) == RECORD
    with pytest.raises(LookupError, match="sparsecomp study coin"):
        results.record("coin", tmp_path, seed=2)
    with pytest.raises(ValueError, match="2 records of study 'coin'.*a-name, some-name"):
        results.record("coin", tmp_path, profile="smoke")


@pytest.mark.parametrize("points", [0, 1, 2, 199, 200, 201, 1000])
def test_histories_are_thinned(points):
    history = [(250 * (i + 1), 20 + i / 7) for i in range(points)]
    thin = results.thin(history)
    assert len(thin["step"]) == len(thin["psnr"]) == min(points, 200)
    if points:
        assert thin["step"][0] == 250 and thin["step"][-1] == 250 * points
        assert thin["psnr"][-1] == round(history[-1][1], 3)
    gaps = {b - a for a, b in zip(thin["step"], thin["step"][1:], strict=False)}
    assert not gaps or max(gaps) - min(gaps) <= 250


def test_a_score_that_was_no_number_can_be_recorded(tmp_path):
    thin = results.thin([(10, 20.0), (20, -math.inf), (30, 21.0)])
    assert thin == {"step": [10, 20, 30], "psnr": [20.0, 0.0, 21.0]}
    made = replace(RECORD, rows=[{"picture": "a", "history": thin}])
    assert results.read(results.write(made, tmp_path)) == made


def test_a_record_may_say_what_belongs_to_no_picture(tmp_path):
    result = {"macs": 12.5, "radius": None, "history": {"step": [1, 2], "psnr": [20.0, 21.5]}, "model": "ab"}
    made = replace(RECORD, result=result)
    assert results.read(results.write(made, tmp_path)) == made != RECORD
    assert made.key == RECORD.key, "it decides nothing"
    path = results.write(RECORD, tmp_path)
    written = json.loads(path.read_text())
    assert written.pop("result") == {} == RECORD.result
    path.write_text(json.dumps(written))
    assert results.read(path) == RECORD, "older records have none"


def test_other_histories_have_their_own_columns():
    history = [[10 * i, 1 / (i + 1), 2.0 + i, 20.00049 if i else -math.inf] for i in range(500)]
    thin = results.thin(history, ("step", "loss", "estimated_bpp", "psnr"))
    assert set(thin) == {"step", "loss", "estimated_bpp", "psnr"} and {len(c) for c in thin.values()} == {200}
    assert (thin["step"][0], thin["step"][-1]) == (0, 4990) and (thin["psnr"][0], thin["psnr"][-1]) == (0.0, 20.0)
    for step, loss, rate in zip(thin["step"], thin["loss"], thin["estimated_bpp"], strict=True):
        assert loss == pytest.approx(1 / (step / 10 + 1), abs=1e-4) and rate == 2.0 + step / 10


@pytest.mark.parametrize("points", [0, 1, 500])
def test_a_history_without_db(points):
    names = ("step", "primal", "zeros")
    thin = results.thin([[20 * i, 1 / (i + 1), 0.12345] for i in range(points)], names)
    assert tuple(thin) == names and {len(column) for column in thin.values()} == {min(points, 200)}
    if points:
        assert thin["step"][-1] == 20 * (points - 1) and thin["primal"][-1] == 1 / points, "nothing is rounded"
        assert set(thin["zeros"]) == {0.12345}


def test_the_environment_says_what_made_a_record():
    told = results.environment("cuda", commit="abc")
    assert told["commit"] == "abc" and told["clean"] is None and told["device"] == "cuda"
    assert told["versions"]["torch"] == torch.__version__
    here = results.environment("cpu")
    root = Path(results.__file__).resolve().parent.parent
    if (root / ".git").exists():
        assert len(here["commit"]) == 40 and here["clean"] in (True, False)
    else:
        assert here["commit"] is None and here["clean"] is None


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


def test_environment_without_a_repository(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "__file__", str(tmp_path / "sparsecomp" / "results.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    told = results.environment("cpu")
    assert told["commit"] is None and told["clean"] is None


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

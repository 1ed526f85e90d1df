"""What is particular to the studies of COIN, L0onie and the standard codecs. What all promise: contracts/."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from tiny_studies import HEIGHT, PICTURES, SHOWN, WIDTH, files, forget, plans, run, tiny

from reproduce import records
from reproduce.papers import baselines, loonie
from reproduce.pictures import pictures
from reproduce.runner import Work
from sparsecomp import data
from sparsecomp.models.siren import Architecture
from sparsecomp.training.fit import fit


@pytest.fixture
def small():
    with tiny() as patch:
        yield patch


# Plans ----------------------------------------------------------------------------------------------------------------


def test_loonie_plans_are_the_papers_at_preset_paper(small, tmp_path):
    """Ramirez & Gallego-Posada 2022, the released code: starts, dual rates, 50,000 steps at 1e-3, gates at 7e-4."""
    printed = {
        0.07: ("5x30", "5x20", 7e-3), 0.15: ("10x28", "5x30", 3e-3), 0.3: ("10x40", "10x28", 1e-3),
        0.6: ("13x40", "10x40", 8e-4),
    }  # fmt: skip
    planned = {(p.more["label"], p.name.split("-")[1]): p for p in plans("loonie", tmp_path, "bundled", "paper")}
    assert len(planned) == 16
    for bpp, (start, dense, dual_lr) in printed.items():
        file, gated, pruned, coin = (planned[label, f"{bpp:g}"] for label in ("file", "nonzeros", "magnitude", "dense"))
        assert (str(gated.architecture), str(pruned.architecture), str(coin.architecture)) == (start, start, dense)
        sparsity = gated.fitting.config["sparsity"]
        assert (sparsity["dual_lr"], sparsity["gate_lr"], sparsity["rate"]) == (dual_lr, 7e-4, "nonzeros")
        assert all(plan.fitting.config["bpp"] == bpp for plan in (file, gated, pruned))
        for plan, steps, lr in ((gated, 50_000, 1e-3), (coin, 50_000, 1e-3), (pruned, 100_000, 2e-4)):
            budget = plan.budget
            assert (budget.steps, budget.lr, budget.optimiser, budget.batch_pixels) == (steps, lr, "adam", None)


def test_loonie_race_is_of_adam_at_constant_rates_from_random_values(small, tmp_path):
    gated, *coins = plans("loonie_race", tmp_path, "kodak", "paper")
    assert [(p.budget.lr, str(p.architecture)) for p in (gated, *coins)] == [
        (1e-3, "10x40"), (1e-3, "10x28"), (2e-4, "10x28")]  # fmt: skip
    assert [p.fitting.config["codec"] for p in (gated, *coins)] == ["loonie", "coin", "coin"]
    assert {(p.budget.optimiser, p.budget.schedule, p.budget.start) for p in (gated, *coins)} == {
        ("adam", "constant", "random")}  # fmt: skip


def test_plans_have_the_names_they_had(small, tmp_path):
    """A record is found by its name: these never change."""
    names = {
        "coin": "coin-10x28-kodak-laptop", "gallery": "loonie-nonzeros-0.05-bundled-laptop",
        "search": "depth-02-0.3-kodak-laptop", "ingredients": "adam-in-place-of-soap-seed-2-bundled-laptop",
        "loonie": "magnitude-0.07-kodak-laptop", "loonie_race": "coin-at-2e-4-kodak-laptop",
        "loonie_parts": "our-file-no-frequencies-gates-kodak-laptop",
        "baselines": "jpeg2000-no-transform-kodak-laptop",
    }  # fmt: skip
    for study, name in names.items():
        assert name in [plan.name for plan in plans(study, tmp_path, None, "laptop")], study


def test_fit_plans_on_a_gpu_have_a_batch_for_each_size(small, tmp_path):
    """One piece is all pictures of one number of pixels, upright ones too: they train, and pause, together."""
    a, b = PICTURES["astronaut"], PICTURES["coffee"][:100]
    small.setattr(data, "bundled", lambda: {"a": a, "b": b, "c": a.transpose(1, 0, 2).copy(), "d": b})
    small.setitem(loonie.PRESETS, "smoke", loonie.replace(loonie.PRESETS["smoke"], pictures=4))
    forget()
    (plan, _), asked = plans("coin", tmp_path, device="cuda"), []
    assert plan.pieces() == ("a", "b") and plans("coin", tmp_path)[0].pieces() == ("a", "b", "c", "d")

    def on_cpu(images, *of, device, **how):
        asked.append(device)
        return fit(images, *of, **how)

    small.setattr(loonie, "fit", on_cpu)
    rows = plan.measure(Work(tmp_path, tmp_path), "a")
    assert [row["picture"] for row in rows] == ["a", "c"] and asked == ["cuda"]


# Records --------------------------------------------------------------------------------------------------------------


def test_gallery_keeps_a_file_for_every_row_and_no_other(made):
    own = made("gallery")
    rows = [(record.config, row) for record in own.records("gallery") for row in record.rows]
    assert len(list((own.out / "gallery" / "files" / "smoke").iterdir())) == len(rows)
    assert {config["codec"] for config, _ in rows} == {"coin", "loonie", *baselines.GRIDS}
    for config, row in rows:
        if config["codec"] == "coin":
            assert row["estimated_bits"] == 16 * Architecture.parse(config["architecture"]).n_parameters
            assert row["history"]["step"] == [10, 20, 30] and row["best_step"] in (10, 20, 30)
        assert row["bpp"] <= row.get("setting", 9), "of a standard codec"


def test_loonie_compares_four_methods_at_one_budget(made):
    found = {record.config["label"]: record for record in made("loonie").records("loonie")}
    assert list(found) == ["file", "nonzeros", "magnitude", "dense"]
    methods = {label: record.config.get("sparsity", {}).get("rate", record.config.get("pruning"))
               for label, record in found.items()}  # fmt: skip
    assert methods == {"file": "file", "nonzeros": "nonzeros", "magnitude": "magnitude", "dense": None}
    for label, record in found.items():
        for row in record.rows:
            limit = 16 * Architecture.parse("5x12").n_parameters if label == "dense" else 0.6 * HEIGHT * WIDTH
            assert 0.5 * limit < row["estimated_bits"] <= limit
            assert (8 * row["bytes"] == row["estimated_bits"]) == (label == "file"), "positions are not in the paper's"
            assert ("course" in row) == (label in ("file", "nonzeros"))


def test_baselines_measure_every_setting(made):
    found = {record.config["label"]: record for record in made("baselines").records("baselines")}
    high = {"jpeg-high", "jpeg-444-high", "jpeg2000-high"}
    assert set(found) == {*baselines.GRIDS, "jpeg-444", "avif-444", "jpeg2000-no-transform", *high}
    for label, record in found.items():
        _, *settings = record.config["grid"]
        assert [(r["picture"], r["setting"]) for r in record.rows] == [(n, s) for n in SHOWN for s in settings]
        rate, quality = record.curve("psnr")
        assert rate == sorted(rate) and quality == sorted(quality), f"{label}: more bits, fewer dB"


def test_study_says_whose_psnr_is_infinite(small, tmp_path):
    small.setattr(data, "bundled", lambda: {"grey": np.full((HEIGHT, WIDTH, 3), 128, np.uint8)})
    forget()
    with pytest.raises(ValueError, match="^jpeg-high-bundled-smoke grey: a number is not finite, so no record holds"):
        run("baselines", tmp_path, only="jpeg-high")
    assert not list(tmp_path.rglob("jpeg-high*.json"))


# Sets and archives ----------------------------------------------------------------------------------------------------


def test_pictures_are_of_a_set_or_a_folder_evenly_spread(small, tmp_path):
    assert list(pictures("kodak", 2)) == ["kodak0", "kodak1"] and list(pictures("bsds500/val", 1)) == ["val0"]
    (tmp_path / "mine").mkdir()
    for name in "ba":
        data.Image.fromarray(PICTURES["coffee"]).save(tmp_path / "mine" / f"{name}.png")
    assert list(pictures(str(tmp_path / "mine"))) == ["a", "b"]
    with pytest.raises(ValueError, match="there are no pictures in it"):
        pictures("no/such/folder")


def test_pack_holds_everything_in_parts(monkeypatch, tmp_path):
    monkeypatch.setattr(records, "PART_BYTES", 700)
    out = tmp_path / "out"
    for name, content in {
        "coin/a.json": b"{}", "coin/.partial/half/p.safetensors": np.random.default_rng(0).bytes(5000),
        "other/left-out.json": b"{}", "records.tar.gz.99": b"of an older, larger archive",
    }.items():  # fmt: skip
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    parts = records.pack(out, ("coin", "absent"))
    assert parts == sorted(out.glob("records.tar.gz.*")) and len(parts) > 7
    assert all(path.stat().st_size <= 700 for path in parts)
    with tarfile.open(fileobj=io.BytesIO(b"".join(path.read_bytes() for path in parts))) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    content = {name: body for name, (_, body) in files(tmp_path / "there").items()}
    assert content == {f"coin/{name}": body for name, (_, body) in files(out / "coin").items()} and len(content) == 2


def test_pictures_of_a_known_set_are_not_taken_from_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "bundled").mkdir()
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photos" / "black.png")
    monkeypatch.chdir(tmp_path)
    pictures.cache_clear()
    assert len(pictures("bundled")) > 1 and set(pictures("photos")) == {"black"}
    pictures.cache_clear()

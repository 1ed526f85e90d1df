from __future__ import annotations

import io
import json
import math
import tarfile
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sparsecomp import codecs, data, metrics, results, studies
from sparsecomp.codecs.network import Coin
from sparsecomp.models.siren import Architecture
from sparsecomp.profiles import FitBudget, Profile, as_dict
from sparsecomp.studies import autoencoders, base, cae_admm, networks
from sparsecomp.training import fit as fits
from sparsecomp.training import loop, processes
from sparsecomp.training.fit import FitResult, fit
from sparsecomp.training.loop import Paused

# Named smoke: a study knows by the name that it has to be short.
QUICK = FitBudget(steps=30, lr=5e-3, batch_pixels=256, score_every=10)
TINY = Profile("smoke", QUICK, ("2x6", "1x4"), 2, QUICK, QUICK, QUICK)
SECONDS = ("encode_seconds", "decode_seconds")


def picture(height: int, width: int, seed: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([127 + 100 * np.sin(x / 9 + y / 7 + c + seed) for c in range(3)], -1).round().astype(np.uint8)


PICTURES = {name: picture(96, 128, i) for i, name in enumerate(("astronaut", "chelsea", "coffee"))}


class HereAndNow:
    """Stands in for a pool of processes and does the work at once."""

    def __init__(self, workers, **options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Three tiny pictures, and no time spent on starting processes."""
    monkeypatch.setattr(data, "bundled", lambda: dict(PICTURES))
    monkeypatch.setattr(processes, "ProcessPoolExecutor", HereAndNow)


def setup(out: Path, **options) -> studies.Setup:
    return studies.Setup(TINY, out, **({"report": lambda line: None} | options))


def timeless(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in SECONDS} for row in rows]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_study_makes_records_of_real_files(tmp_path):
    made = networks.coin(setup(tmp_path, seed=3, commit="abc"), "bundled")
    assert [path.parent for path in made] == [tmp_path / "coin"] * 2
    for path, name in zip(made, TINY.architectures, strict=True):
        record, architecture = results.read(path), Architecture.parse(name)
        assert record.name == f"coin-{name}-bundled-smoke"
        assert record.environment["commit"] == "abc"
        assert record.config == {
            "profile": "smoke", "seed": 3, "device": "cpu", "data": "bundled", "pictures": 2,
            "data_sha256": data.fingerprint({p: PICTURES[p] for p in ("astronaut", "chelsea")}),
            "codec": "coin", "architecture": name, "coordinates": "per_axis", "fit": as_dict(TINY.fit),
        }  # fmt: skip
        assert [row["picture"] for row in record.rows] == ["astronaut", "chelsea"]
        for row in record.rows:
            image = PICTURES[row["picture"]]
            (fitted,) = fit([image], architecture, TINY.fit, seeds=[3])
            written = Coin.write(architecture, fitted.parameters, 96, 128)
            shown = codecs.decode(written)
            assert row["bytes"] == len(written)
            assert row["bpp"] == round(8 * len(written) / (96 * 128), 5)
            assert row["estimated_bits"] == 16 * architecture.n_parameters < 8 * row["bytes"]
            assert row["psnr"] == pytest.approx(metrics.psnr(reference=image, reconstruction=shown), abs=1e-5)
            assert row["psnr"] == pytest.approx(max(row["history"]["psnr"]), abs=0.01)
            assert row["history"]["step"] == [10, 20, 30] and row["best_step"] == fitted.step
            assert row["ssim"] > 0 and row["ms_ssim"] is None and row["restarts"] == []
            assert row["encode_seconds"] > 0 and row["decode_seconds"] > 0
        assert record.wall_seconds == pytest.approx(sum(r["encode_seconds"] for r in record.rows), abs=0.06)
    assert not any(path.is_dir() for path in (tmp_path / "coin" / ".partial").glob("*"))


def test_a_finished_study_does_nothing(tmp_path, monkeypatch):
    said = []
    made = networks.coin(setup(tmp_path), "bundled")
    before = files(tmp_path)
    monkeypatch.setattr(networks, "fit_set", lambda *a, **k: pytest.fail("it was fitted again"))
    assert networks.coin(setup(tmp_path, report=said.append), "bundled") == made
    assert files(tmp_path) == before
    assert said == [f"coin-{name}-bundled-smoke: the record is there" for name in TINY.architectures]


def test_other_seeds_and_budgets_are_other_records(tmp_path):
    one = replace(TINY, architectures=("1x4",))
    made = [
        networks.coin(replace(setup(tmp_path, seed=seed), profile=profile), "bundled")[0]
        for seed, profile in (
            (0, one),
            (1, one),
            (0, replace(one, pictures=1)),
            (0, replace(one, fit=replace(TINY.fit, lr=1e-3))),
        )  # fmt: skip
    ]
    assert len(set(made)) == 4
    assert len(results.records("coin", tmp_path)) == 4


def test_a_study_paused_is_one_never_stopped(tmp_path, monkeypatch):
    whole = [results.read(path) for path in networks.coin(setup(tmp_path / "whole"), "bundled")]
    # Time goes on by one second with every look at it: a pause comes after a known number of steps.
    now = iter(range(10**9))
    ticking = SimpleNamespace(perf_counter=lambda: next(now), monotonic=lambda: next(now))
    monkeypatch.setattr(loop, "time", ticking)
    monkeypatch.setattr(fits, "time", ticking)
    monkeypatch.setattr(studies.Setup, "seconds_left", lambda setup: 20.0)
    pauses, said = 0, []
    while True:
        there = results.records("coin", tmp_path / "halting")
        try:
            made = networks.coin(setup(tmp_path / "halting", report=said.append), "bundled")
            break
        except Paused:
            pauses += 1
            assert any((tmp_path / "halting" / "coin" / ".partial").iterdir())
            assert len(results.records("coin", tmp_path / "halting")) < 2, "half a run was counted"
            for record in there:
                assert len(record.rows) == 2
        assert pauses < 50
    assert pauses >= 4
    for path, record in zip(made, whole, strict=True):
        halting = results.read(path)
        assert timeless(halting.rows) == timeless(record.rows)
        assert halting.config == record.config and halting.key == record.key
    assert sum("dB" in line for line in said) == 4, "a picture was fitted twice"


def test_no_time_means_no_work(tmp_path):
    with pytest.raises(Paused):
        networks.coin(setup(tmp_path, max_minutes=0), "bundled")
    assert results.records("coin", tmp_path) == []
    assert studies.Setup(TINY, tmp_path).seconds_left() is None
    left = studies.Setup(TINY, tmp_path, max_minutes=1).seconds_left()
    assert 50 < left <= 60


def test_a_study_stopped_by_hand_keeps_its_finished_pictures(tmp_path):
    def stop(line: str):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        networks.coin(setup(tmp_path, report=stop), "bundled")
    assert results.records("coin", tmp_path) == []
    (kept,) = (tmp_path / "coin" / ".partial").rglob("*.json")
    first, said = json.loads(kept.read_text()), []
    path, _ = networks.coin(setup(tmp_path, report=said.append), "bundled")
    assert first in results.read(path).rows, "seconds included: it is the row of before"
    assert sum("2x6" in line and "dB" in line for line in said) == 1


def test_a_fit_that_was_no_number_for_a_while_is_recorded(tmp_path, monkeypatch):
    def diverged(left, architecture, budget, *, on_done, **options):
        parameters = torch.zeros(architecture.n_parameters, dtype=torch.float16)
        restart = {"step": 10, "from": "new", "lr": 0.1}
        for name in left:
            on_done(name, FitResult(parameters, 8.0, 20, [(10, -math.inf), (20, 8.0)], [restart], 1.0))

    monkeypatch.setattr(networks, "fit_set", diverged)
    record = results.read(networks.coin(setup(tmp_path), "bundled")[0])
    assert record.rows[0]["history"] == {"step": [10, 20], "psnr": [0.0, 8.0]}
    assert record.rows[0]["restarts"] == [{"step": 10, "from": "new", "lr": 0.1}]


def test_unknown_sets(tmp_path):
    for study in (networks.coin, networks.search, networks.baselines):
        with pytest.raises(ValueError, match="data='imagenet'"):
            study(setup(tmp_path), "imagenet")
    assert list(tmp_path.iterdir()) == []


def test_the_gallery_keeps_its_files(tmp_path, monkeypatch):
    large = {name: picture(192, 256, seed) for seed, name in enumerate(PICTURES)}  # 0.3 bpp is enough for a JPEG
    monkeypatch.setattr(data, "bundled", lambda: large)
    made = networks.gallery(setup(tmp_path))
    rows = [(results.read(path), row) for path in made for row in results.read(path).rows]
    assert {record.config["codec"] for record, _ in rows} == {"coin", "loonie", *networks.GRIDS}
    kept = {path.name: path.read_bytes() for path in (tmp_path / "gallery" / "files" / "smoke").iterdir()}
    assert len(kept) == len(rows)
    for record, row in rows:
        codec, image = record.config["codec"], large[row["picture"]]
        what = record.config["architecture"] if codec == "coin" else f"{codec}-{row.get('setting', 0):g}"
        if codec == "loonie":
            what = f"loonie-{record.config['sparsity']['rate']}-{record.config['bpp']:g}"
        written = kept[f"{row['picture']}-{what}.spc"]
        assert row["bytes"] == len(written)
        shown = codecs.decode(written)
        assert row["psnr"] == pytest.approx(metrics.psnr(reference=image, reconstruction=shown), abs=1e-5)
        if codec in networks.GRIDS:
            assert row["bpp"] <= row["setting"]
        if codec == "loonie" and record.config["sparsity"]["rate"] == "file":
            assert 0.95 * record.config["bpp"] <= row["bpp"] <= record.config["bpp"]
            assert row["estimated_bits"] == 8 * row["bytes"]
    before = files(tmp_path)
    assert networks.gallery(setup(tmp_path)) == made
    assert files(tmp_path) == before


def test_the_search_compares_depths_at_equal_bytes(tmp_path):
    made = [results.read(path) for path in networks.search(setup(tmp_path), "bundled")]
    found = {(r.config["target_bpp"], Architecture.parse(r.config["architecture"]).depth): r for r in made}
    assert len(found) == len(made) and {bpp for bpp, _ in found} == {0.15, 0.3}
    for (bpp, depth), record in found.items():
        architecture = Architecture.parse(record.config["architecture"])
        assert architecture == Coin.widest(depth, 96, 128, bpp)
        for row in record.rows:
            assert 0.6 * bpp < row["bpp"] <= bpp


def test_baselines_measure_every_setting(tmp_path):
    made = networks.baselines(setup(tmp_path), "bundled")
    found = {record.config["label"]: record for record in map(results.read, made)}
    high = {"jpeg-high", "jpeg-444-high", "jpeg2000-high"}
    assert set(found) == {*networks.GRIDS, "jpeg-444", "avif-444", "jpeg2000-no-transform", *high}
    for label, record in found.items():
        option, *settings = record.config["grid"]
        assert [(row["picture"], row["setting"]) for row in record.rows] == [
            (name, setting) for name in ("astronaut", "chelsea") for setting in settings
        ]
        for row in record.rows:
            image = PICTURES[row["picture"]]
            codec = codecs.get_codec(record.config["codec"], **{option: row["setting"]}, **record.config["options"])
            written = codec.encode(image)
            assert row["bytes"] == len(written) and row["estimated_bits"] == 8 * row["bytes"]
            expected = metrics.psnr(reference=image, reconstruction=codecs.decode(written))
            assert row["psnr"] == pytest.approx(expected, abs=1e-5), label
        rate, quality = record.curve("psnr")
        assert rate == sorted(rate) and quality == sorted(quality), f"{label}: more bits, fewer dB"
    plain, without = found["jpeg2000"].curve("psnr"), found["jpeg2000-no-transform"].curve("psnr")
    assert plain != without
    before = files(tmp_path)
    networks.baselines(setup(tmp_path), "bundled")
    assert files(tmp_path) == before
    with pytest.raises(Paused):
        networks.baselines(setup(tmp_path / "none", max_minutes=0), "bundled")
    assert files(tmp_path / "none") == {}


def test_grids_go_from_small_to_large_files():
    image = PICTURES["coffee"]
    for codec, (option, grid) in networks.GRIDS.items():
        sizes = [len(codecs.get_codec(codec, **{option: setting}).encode(image)) for setting in (grid[0], grid[-1])]
        assert len(grid) >= 10 and sizes[1] > 2 * sizes[0], codec


@pytest.mark.parametrize("part_bytes", [16 * 2**20, 700])
def test_an_archive_holds_everything(tmp_path, monkeypatch, part_bytes):
    monkeypatch.setattr(base, "PART_BYTES", part_bytes)
    out = tmp_path / "out"
    networks.coin(setup(out), "bundled")
    (out / "coin" / ".partial" / "half").mkdir(parents=True)
    (out / "coin" / ".partial" / "half" / "p.safetensors").write_bytes(np.random.default_rng(0).bytes(5000))
    (out / "other").mkdir()
    (out / "other" / "left-out.json").write_text("{}")
    (out / "records.tar.gz.99").write_bytes(b"of an older, larger archive")
    parts = studies.pack(out, ("coin", "absent"))
    assert parts == sorted(out.glob("records.tar.gz.*"))
    assert all(path.stat().st_size <= part_bytes for path in parts)
    assert len(parts) == 1 if part_bytes > 2**20 else len(parts) > 7
    whole = b"".join(path.read_bytes() for path in parts)
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    content = {name: body for name, (_, body) in files(tmp_path / "there" / "coin").items()}
    assert content == {name: body for name, (_, body) in files(out / "coin").items()}
    assert len(content) == 3 and not (tmp_path / "there" / "other").exists()
    assert len(results.records("coin", tmp_path / "there")) == 2


def test_half_a_batch_of_a_gpu_is_resumed_whole(tmp_path, monkeypatch):
    """A batch's checkpoint belongs to all its pictures, so all are asked for again, the recorded one too."""
    asked = []

    def stops_after_one(pictures, architecture, budget, *, device, on_done, **_):
        asked.append(list(pictures))
        first = next(iter(pictures))
        on_done(first, FitResult(torch.zeros(architecture.n_parameters).half(), 10.0, 1, [(1, 10.0)], [], 1.0))
        raise Paused("time")

    monkeypatch.setattr(networks, "fit_set", stops_after_one)
    for _ in range(2):
        with pytest.raises(Paused):
            networks.coin(setup(tmp_path, device="cuda"), "bundled")
    assert len(asked[0]) == 2 and asked[0] == asked[1]


def test_ingredients_are_taken_away_one_at_a_time(tmp_path):
    made = [results.read(path) for path in networks.ingredients(setup(tmp_path))]
    by_name = {record.config["ingredient"]: record for record in made}
    assert set(by_name) == set(networks.INGREDIENTS) and len(made) == len(by_name)
    whole = by_name["all"].config["fit"]
    for name, changes in networks.INGREDIENTS.items():
        fit = by_name[name].config["fit"]
        assert {key: value for key, value in fit.items() if value != whole[key]} == changes
        assert by_name[name].environment["backend"] in ("kernel", "torch")


def test_all_studies_are_in_the_table():
    assert studies.STUDIES == {
        "coin": networks.coin, "gallery": networks.gallery, "search": networks.search, "baselines": networks.baselines,
        "ingredients": networks.ingredients, "loonie": networks.loonie, "loonie_parts": networks.loonie_parts,
        "loonie_race": networks.loonie_race, "cae": autoencoders.cae, "cae_sparse": autoencoders.cae_sparse,
        "cae_density": autoencoders.cae_density, "cae_speed": autoencoders.cae_speed, "cae_admm": cae_admm.cae_admm,
        "cae_admm_mixed": cae_admm.cae_admm_mixed,
    }  # fmt: skip

"""What is particular to the studies of COIN, L0onie and the standard codecs. What all promise: contracts/."""

from __future__ import annotations

import io
import math
import tarfile

import numpy as np
import pytest
import torch
from tiny_studies import PAPERS, TINY, files, run, setup, tiny

from sparsecomp import codecs, data, metrics, results, studies
from sparsecomp.codecs.network import Coin
from sparsecomp.models.siren import Architecture
from sparsecomp.profiles import as_dict
from sparsecomp.studies import base, networks
from sparsecomp.training.fit import FitResult, fit
from sparsecomp.training.loop import Paused

PICTURES = PAPERS["networks"].pictures
HEIGHT, WIDTH = 112, 144


@pytest.fixture
def small():
    with tiny(PICTURES) as patch:
        yield patch


def test_coin_has_a_record_an_architecture_of_real_files(made):
    found = made("coin").records("coin")
    assert [record.name for record in found] == [f"coin-{name}-bundled-smoke" for name in TINY.architectures]
    for record, name in zip(found, TINY.architectures, strict=True):
        architecture = Architecture.parse(name)
        assert record.config == {
            "profile": "smoke", "seed": 0, "device": "cpu", "data": "bundled", "pictures": 2,
            "data_sha256": data.fingerprint({p: PICTURES[p] for p in ("astronaut", "chelsea")}),
            "codec": "coin", "architecture": name, "coordinates": "per_axis", "fit": as_dict(TINY.fit),
        }  # fmt: skip
        for row in record.rows:
            image = PICTURES[row["picture"]]
            (fitted,) = fit([image], architecture, TINY.fit, seeds=[0])
            written = Coin.write(architecture, fitted.parameters, HEIGHT, WIDTH)
            psnr = metrics.psnr(reference=image, reconstruction=codecs.decode(written))
            assert row["bytes"] == len(written) and row["psnr"] == pytest.approx(psnr, abs=1e-5)
            assert row["estimated_bits"] == 16 * architecture.n_parameters < 8 * row["bytes"]
            assert row["psnr"] == pytest.approx(max(row["history"]["psnr"]), abs=0.01)
            assert row["history"]["step"] == [10, 20, 30] and row["best_step"] == fitted.step and row["restarts"] == []
        assert record.wall_seconds == pytest.approx(sum(r["encode_seconds"] for r in record.rows), abs=0.06)


def test_coin_records_a_fit_that_was_no_number_for_a_while(small, tmp_path):
    def diverged(left, architecture, budget, *, on_done, **options):
        parameters = torch.zeros(architecture.n_parameters, dtype=torch.float16)
        restart = {"step": 10, "from": "new", "lr": 0.1}
        for name in left:
            on_done(name, FitResult(parameters, 8.0, 20, [(10, -math.inf), (20, 8.0)], [restart], 1.0))

    small.setattr(networks, "fit_set", diverged)
    (row, _) = results.read(run("coin", tmp_path)[0]).rows
    assert row["history"] == {"step": [10, 20], "psnr": [0.0, 8.0]}
    assert row["restarts"] == [{"step": 10, "from": "new", "lr": 0.1}]


def test_coin_resumes_half_a_batch_of_a_gpu_whole(small, tmp_path):
    """A batch's checkpoint belongs to all its pictures, so all are asked for again, the recorded one too."""
    asked = []

    def stops_after_one(pictures, architecture, budget, *, device, on_done, **_):
        asked.append(list(pictures))
        first = next(iter(pictures))
        on_done(first, FitResult(torch.zeros(architecture.n_parameters).half(), 10.0, 1, [(1, 10.0)], [], 1.0))
        raise Paused("time")

    small.setattr(networks, "fit_set", stops_after_one)
    for _ in range(2):
        with pytest.raises(Paused):
            run("coin", tmp_path, device="cuda")
    assert len(asked[0]) == 2 and asked[0] == asked[1]


def test_gallery_keeps_its_files(made):
    own = made("gallery")
    kept = {path.name: path.read_bytes() for path in (own.out / "gallery" / "files" / "smoke").iterdir()}
    rows = [(record.config, row) for record in own.records("gallery") for row in record.rows]
    assert len(kept) == len(rows) and {"coin", "loonie", "avif"} <= {config["codec"] for config, _ in rows}
    assert {record.config["codec"] for record in own.records("gallery")} == {"coin", "loonie", *networks.GRIDS}
    for config, row in rows:
        what = config["architecture"] if config["codec"] == "coin" else f"{config['codec']}-{row.get('setting', 0):g}"
        if config["codec"] == "loonie":
            what = f"loonie-{config['sparsity']['rate']}-{config['bpp']:g}"
            if config["sparsity"]["rate"] == "file":
                assert 0.8 * config["bpp"] <= row["bpp"] <= config["bpp"]
                assert row["estimated_bits"] == 8 * row["bytes"]
        written = kept[f"{row['picture']}-{what}.spc"]
        psnr = metrics.psnr(reference=PICTURES["astronaut"], reconstruction=codecs.decode(written))
        assert row["bytes"] == len(written) and row["psnr"] == pytest.approx(psnr, abs=1e-5)
        assert config["codec"] not in networks.GRIDS or row["bpp"] <= row["setting"]


def test_loonie_compares_four_methods_at_one_budget(made):
    found = {record.config["label"]: record for record in made("coin").records("loonie")}
    assert list(found) == ["file", "nonzeros", "magnitude", "dense"]
    methods = {label: record.config.get("sparsity", {}).get("rate", record.config.get("pruning"))
               for label, record in found.items()}  # fmt: skip
    assert methods == {"file": "file", "nonzeros": "nonzeros", "magnitude": "magnitude", "dense": None}
    pixels = HEIGHT * WIDTH
    for label, record in found.items():
        for row in record.rows:
            limit = 16 * Architecture.parse("5x12").n_parameters if label == "dense" else 0.6 * pixels
            assert 0 < row["estimated_bits"] <= limit
            assert (8 * row["bytes"] == row["estimated_bits"]) == (label == "file"), "positions are not in the paper's"
            assert ("course" in row) == (label in ("file", "nonzeros"))
            assert label != "file" or row["bpp"] <= 0.6
    assert found["nonzeros"].config["architecture"] == found["magnitude"].config["architecture"] == "5x20"


def test_baselines_measure_every_setting(made):
    found = {record.config["label"]: record for record in made("baselines").records("baselines")}
    high = {"jpeg-high", "jpeg-444-high", "jpeg2000-high"}
    assert set(found) == {*networks.GRIDS, "jpeg-444", "avif-444", "jpeg2000-no-transform", *high}
    for label, record in found.items():
        _, *settings = record.config["grid"]
        assert [(row["picture"], row["setting"]) for row in record.rows] == [
            (name, setting) for name in ("astronaut", "chelsea") for setting in settings
        ]
        rate, quality = record.curve("psnr")
        assert rate == sorted(rate) and quality == sorted(quality), f"{label}: more bits, fewer dB"


def test_seconds_left_count_down_from_the_minutes_given(tmp_path):
    assert setup(tmp_path).seconds_left() is None
    assert 50 < setup(tmp_path, max_minutes=1).seconds_left() <= 60


@pytest.mark.parametrize("part_bytes", [16 * 2**20, 700])
def test_pack_holds_everything(small, tmp_path, part_bytes):
    small.setattr(base, "PART_BYTES", part_bytes)
    out = tmp_path / "out"
    run("coin", out)
    (out / "coin" / ".partial" / "half").mkdir(parents=True)
    (out / "coin" / ".partial" / "half" / "p.safetensors").write_bytes(np.random.default_rng(0).bytes(5000))
    (out / "other").mkdir()
    (out / "other" / "left-out.json").write_text("{}")
    (out / "records.tar.gz.99").write_bytes(b"of an older, larger archive")
    parts = studies.pack(out, ("coin", "absent"))
    assert parts == sorted(out.glob("records.tar.gz.*"))
    assert all(path.stat().st_size <= part_bytes for path in parts)
    assert len(parts) == 1 if part_bytes > 2**20 else len(parts) > 7
    with tarfile.open(fileobj=io.BytesIO(b"".join(path.read_bytes() for path in parts))) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    content = {name: body for name, (_, body) in files(tmp_path / "there" / "coin").items()}
    assert content == {name: body for name, (_, body) in files(out / "coin").items()}
    assert len(content) == 3 and not (tmp_path / "there" / "other").exists()

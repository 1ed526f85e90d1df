"""What every study promises: records that verify, once; the same ones when it was stopped; one line where it cannot."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_studies import (
    ORDER,
    TINY,
    Made,
    files,
    paper_of,
    run,
    setup,
    steps_taken,
    stored,
    takes_a_set,
    timeless,
    tiny,
    with_model,
)

from sparsecomp import codecs, data, metrics, profiles, results, studies
from sparsecomp.models import pretrained
from sparsecomp.models.pretrained import default_models
from sparsecomp.studies import autoencoders, cae_admm, networks, trainings
from sparsecomp.training import fit, loop
from sparsecomp.training.loop import Paused

AT_ONCE = ("cae_density", "cae_speed")  # no pause: they take a minute
every_study = pytest.mark.parametrize("study", ORDER)


def test_studies_are_all_tried():
    assert sorted(ORDER) == sorted(studies.STUDIES)


@every_study
def test_study_writes_records_that_verify(study, made):
    own, pictures = made(study), paper_of(study).pictures
    found, paths = own.records(study), own.paths[study]
    assert found and len(set(paths)) == len(paths)
    assert sorted(paths) == sorted((own.out / study).glob("*.json"))
    for record in found:
        config, shown = record.config, list(dict.fromkeys(row.get("picture") for row in record.rows))
        assert record.study == study and record.name.endswith("-smoke") and record.schema == results.SCHEMA
        assert (config["profile"], config["seed"], config["device"]) == ("smoke", 0, "cpu")
        assert record.environment["commit"] == "abc" and record.environment["backend"] in ("kernel", "torch")
        if study != "cae_density" and (record.rows or study != "gallery"):  # no picture; no file so small
            assert config["pictures"] == len(shown) and config["data"] == "bundled"
            assert config["data_sha256"] == data.fingerprint({name: pictures[name.split("/")[-1]] for name in shown})
        for row in record.rows:
            if "bytes" in row:
                height, width, _ = pictures[row["picture"].split("/")[-1]].shape
                assert row["bpp"] == pytest.approx(8 * row["bytes"] / (height * width), abs=1e-5)
                assert row["encode_seconds"] > 0 and row["decode_seconds"] > 0 and row["psnr"] > 0
                assert row["ssim"] is not None and 0 < row["estimated_bits"] <= 1.05 * 8 * row["bytes"]
    partial = own.out / study / ".partial"
    assert not partial.exists() or not list(partial.iterdir())


def written_again(own: Made, record: results.RunRecord, row: dict, picture: np.ndarray) -> tuple[bytes, np.ndarray]:
    """The file that a row tells of, and what is decoded from it."""
    config, setting = record.config, row["setting"]
    if record.study == "gallery":
        name = f"{row['picture']}-{config['codec']}-{setting:g}.spc"
        data = (own.out / "gallery" / "files" / "smoke" / name).read_bytes()
        return data, codecs.decode(data)
    options = {
        "baselines": lambda: {config["grid"][0]: setting} | config["options"],
        "cae_admm_mixed": lambda: {k: v for k, v in config["options"].items() if k != "model"},
        "cae_admm": lambda: {"keep": None if setting == 1 else setting},
    }.get(record.study, lambda: {"step": setting})()
    key = record.result.get("model", config.get("options", {}).get("model"))
    if key:
        (path,) = (path for path in (own.out / "models").iterdir() if stored(path).key == key)
        return with_model(config["codec"], path, picture, **options)
    data = codecs.get_codec(config["codec"], **options).encode(picture)
    return data, codecs.decode(data)


@pytest.mark.parametrize("study", ["gallery", "baselines", "cae", "cae_sparse", "cae_admm", "cae_admm_mixed"])
def test_study_rows_are_of_real_files(study, made):
    own = made(study)
    for record in own.records(study):
        for row in record.rows[:8] if "setting" in (record.rows or [{}])[0] else []:
            picture = paper_of(study).pictures[row["picture"].split("/")[-1]]
            data, shown = written_again(own, record, row, picture)
            assert row["bytes"] == len(data)
            assert "model" not in record.result or 0 < 8 * row["bytes"] - row["estimated_bits"] < 8 * 60, "a header"
            for name in ("psnr", "ssim", "ms_ssim"):
                found = getattr(metrics, name)(reference=picture, reconstruction=shown)
                assert row[name] == (None if found is None else pytest.approx(found, abs=2e-5)), name


@pytest.mark.parametrize("study", ["cae", "cae_sparse", "cae_admm"])
def test_study_models_are_named_by_their_key(study, made):
    own, found = made(study), made(study).records(study)
    for record in found:
        model, config = stored(own.model_of(record)), record.config
        assert (model.key, model.name, model.codec) == (record.result["model"], record.result["file"], config["codec"])
        said = {"label": config["label"], "seed": 0, "steps": config["descent"]["steps"], "search": False}
        assert said.items() <= model.about.items() and model.about["profile"] == "smoke"
        assert model.about["lam"] == config.get("lam", config["descent"].get("lam"))
        pruning = config.get("pruning") or {}
        assert model.about.get("keep", 1.0) == pruning.get("keep", 1.0)
        assert model.about.get("sparsity", 0) == record.result.get("sparsity", 0)
        assert all(model.about.get(end, 0) == config["descent"].get(end, 0) for end in ("finest", "coarsest"))
    assert len({record.result["model"] for record in found}) == len(found)


@every_study
def test_study_does_nothing_the_second_time(study, made):
    own, said = made(study), []
    before = files(own.out)
    with tiny(paper_of(study).pictures) as patch:
        taken = steps_taken(patch)
        patch.setattr(networks, "fit_set", lambda *a, **k: pytest.fail("fitted again"))
        assert run(study, own.out, report=said.append) == own.paths[study]
    assert files(own.out) == before and taken == []
    assert not any("record written" in line for line in said)


class Clock:
    """Goes on by a second with every look, and has so many looks: pauses come after a known number of steps."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        seconds, self.looks = itertools.count(), 0
        ticking = SimpleNamespace(perf_counter=lambda: next(seconds), monotonic=lambda: next(seconds))
        for module in (loop, fit):
            patch.setattr(module, "time", ticking)
        patch.setattr(studies.Setup, "seconds_left", lambda setup: self.left())

    def left(self) -> float:
        self.looks -= 1
        return 20.0 if self.looks >= 0 else 0.0


@pytest.mark.parametrize(
    "study", ["coin", "gallery", "loonie", "baselines", "cae", "cae_sparse", "cae_admm", "cae_admm_mixed"]
)
def test_study_that_is_stopped_goes_on_to_the_same_records(study, made, tmp_path):
    """By Ctrl-C when it reports first, then by its clock again and again; nothing half done is ever counted."""
    whole, said = made(study), []
    expected = [timeless(record) for record in whole.records(study)]
    out = Path(shutil.copytree(whole.out, tmp_path / "out", ignore=shutil.ignore_patterns(study)))
    for record in whole.records(study):
        if "file" in record.result:
            (out / "models" / f"{record.result['file']}.safetensors").unlink()

    def stop(line: str) -> None:
        said.append(line)
        raise KeyboardInterrupt

    with tiny(paper_of(study).pictures) as patch:
        taken = steps_taken(patch)
        with pytest.raises(KeyboardInterrupt):
            run(study, out, report=stop)
        clock = Clock(patch)
        for pauses in range(200):
            clock.looks = pauses // 3
            assert all(timeless(record) in expected for record in results.records(study, out))
            try:
                paths = run(study, out, report=said.append)
                break
            except Paused:
                assert study not in AT_ONCE
    assert pauses > 1 or study in AT_ONCE
    assert [timeless(results.read(path)) for path in paths] == expected
    fitted = [line.split(":")[0] for line in said if " dB, " in line]
    assert len(fitted) == len(set(fitted)), "a picture was fitted twice"
    trained = [r.config["descent"]["steps"] for r in whole.records(study) if "file" in r.result]
    assert len(taken) == sum(trained), "a step was taken twice"
    for name, (_, content) in files(out).items():
        if not name.startswith(study):
            assert content == files(whole.out)[name][1], "another model"
    partial = out / study / ".partial"
    assert not partial.exists() or not list(partial.iterdir())


@pytest.mark.parametrize("study", [study for study in ORDER if study not in AT_ONCE])
def test_study_without_time_counts_nothing(study, made, tmp_path):
    out = Path(shutil.copytree(made(study).out, tmp_path / "out", ignore=shutil.ignore_patterns(study)))
    with tiny(paper_of(study).pictures), pytest.raises(Paused):
        run(study, out, max_minutes=0)
    assert results.records(study, out) == []


@pytest.mark.parametrize("study", ["coin", "baselines", "cae", "cae_admm"])
def test_study_of_another_seed_or_set_makes_other_records(study, made, tmp_path):
    paper, first = paper_of(study), made(study)
    with tiny(paper.pictures) as patch:
        patch.setattr(autoencoders, "MODELS", {"high": {}})
        plans = cae_admm.plans
        patch.setattr(cae_admm, "plans", lambda *arguments: plans(*arguments)[:1])
        patch.setattr(networks, "GRIDS", {"jpeg": networks.GRIDS["jpeg"]} | networks.GRIDS)
        profile = replace(TINY, architectures=("2x6",))
        paths = [run(study, tmp_path, pictures_of, profile=profile, seed=seed)[0]
                 for pictures_of, seed in (("bundled", 0), ("bundled", 1), ("kodak", 0))]  # fmt: skip
    same, seed, other = found = [results.read(path) for path in paths]
    assert len(set(paths)) == 3 == len(results.records(study, tmp_path)) or study == "baselines"
    assert timeless(same) == timeless(first.records(study)[0]) and [r.config["seed"] for r in found] == [0, 1, 0]
    assert {row["picture"] for row in other.rows} == {"kodim0", "kodim1"}
    if "train" in other.config:
        assert (other.config["train"]["data"], other.config["validation"]["data"]) == ("bsds500/train", "bsds500/val")
        assert len({record.result["model"] for record in found}) == 3 == len(list((tmp_path / "models").iterdir()))
        for result in (record.result for record in found):
            assert pretrained.load(tmp_path / "models" / f"{result['file']}.safetensors").key == result["model"]


# One line -------------------------------------------------------------------------------------------------------------


def one_line(caught: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


NEED_ANOTHER = {"cae_sparse": "study cae", "cae_density": "study cae", "cae_speed": "cae_sparse",
                "cae_admm_mixed": "study cae_admm"}  # fmt: skip


@pytest.mark.parametrize("study", [s for s in ORDER if takes_a_set(s) and s not in NEED_ANOTHER])
def test_study_refuses_unknown_pictures(study, made, tmp_path):
    with tiny(paper_of(study).pictures), pytest.raises(ValueError, match="imagenet") as caught:
        run(study, tmp_path, "imagenet")
    assert one_line(caught) and not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(("study", "needed"), NEED_ANOTHER.items())
def test_study_names_the_study_that_it_needs(study, needed, tmp_path):
    with tiny(paper_of(study).pictures), pytest.raises(ValueError, match=rf"\b{needed}\b") as caught:
        run(study, tmp_path)
    assert "make" in one_line(caught) and not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("study", NEED_ANOTHER)
def test_study_says_which_model_is_broken(study, made, tmp_path):
    out = Path(shutil.copytree(made(study).out, tmp_path / "out", ignore=shutil.ignore_patterns(study)))
    for path in (out / "models").iterdir():
        path.write_bytes(path.read_bytes()[:-7])
    with tiny(paper_of(study).pictures), pytest.raises(ValueError, match="model '.*' cannot be read") as caught:
        run(study, out)
    assert one_line(caught) and not (out / study).exists()


# The records there are ------------------------------------------------------------------------------------------------


@pytest.fixture
def as_recorded(monkeypatch) -> None:
    """Blank pictures of the sets' names and sizes; of each choice of them the SHA-256 that is on record."""
    said, blank, real = {}, np.zeros((512, 768, 3), np.uint8), data.fingerprint
    for path in (results.folder() / "runs").glob("*/*.json"):
        record = results.read(path)
        said[frozenset(row.get("picture") for row in record.rows)] = record.config.get("data_sha256")
        for part in ("train", "validation"):
            if part in record.config:
                said[record.config[part]["data"]] = record.config[part]["sha256"]
    (mixed,) = (names for names in said if len(names) == 199)

    def fingerprint(pictures: dict) -> str:
        split = min(pictures, default="").split("-")[0]
        return said.get(split, said.get(frozenset(pictures))) or real(pictures)

    monkeypatch.setattr(data, "fingerprint", fingerprint)
    monkeypatch.setattr(data, "kodak", lambda: {f"kodim{i:02d}": blank for i in range(1, 25)})
    counts = {"train": 200, "val": 100}
    monkeypatch.setattr(data, "bsds500", lambda split: {f"bsds500/{split}-{i}": blank for i in range(counts[split])})
    monkeypatch.setattr(cae_admm, "_mixed", lambda setup, of: dict.fromkeys(mixed, blank))
    trainings.pictures.cache_clear()
    yield
    trainings.pictures.cache_clear()


@every_study
def test_study_finds_its_records_again(study, as_recorded, monkeypatch):
    """By what its plans say today, and no others are to be made; wherever the pictures are."""
    out, found, path_of = results.folder() / "runs", set(), results.path_of
    committed = {path: json.loads(path.read_text())["config"] for path in (out / study).glob("*.json")}
    monkeypatch.setattr(results, "path_of", lambda *of: found.add(path_of(*of)) or path_of(*of))
    monkeypatch.setattr(torch, "get_num_threads", lambda: next(iter(committed.values()))["threads"])
    if study == "cae_admm_mixed":  # what was chosen on validation pictures is not chosen again
        models = default_models()
        paths = {models.find(name).key: str(path) for name, path in models.files.items()}
        rows = {c["label"]: (c["codec"], {k: paths.get(v, v) for k, v in c["options"].items()})
                for c in committed.values()}  # fmt: skip
        monkeypatch.setattr(cae_admm, "_table_rows", lambda setup, of: rows)
    for profile in {config["profile"] for config in committed.values()}:
        studies.STUDIES[study](setup(out, profile=profiles.get(profile), dry_run=True))
    assert committed and not set(committed) - found
    assert {path for path in found if "laptop" in path.name} == {path for path in committed if "laptop" in path.name}

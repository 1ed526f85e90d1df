"""What every study promises: records that verify, once; the same when it was paused or worked side by side."""

from __future__ import annotations

import json
import math
import multiprocessing
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_studies import (
    HEIGHT,
    ORDER,
    PICTURES,
    SHOWN,
    WIDTH,
    Made,
    files,
    other,
    plans,
    request,
    run,
    steps_taken,
    ticking,
    timeless,
    tiny,
)

from reproduce import records, runner
from reproduce.papers import cae_admm, loonie, sparse_cae
from reproduce.papers.cae_admm import in_use
from reproduce.records import Records, RunRecord
from reproduce.runner import Request
from reproduce.studies import OWN_PICTURES, STUDIES
from sparsecomp import codecs, data, metrics
from sparsecomp.models import pretrained
from sparsecomp.training.configs import PRESETS
from sparsecomp.training.loop import Paused

every_study = pytest.mark.parametrize("study", ORDER)
# One of each kind of plan that takes several pieces, or trains.
some_studies = pytest.mark.parametrize("study", ["coin", "gallery", "cae_sparse", "cae_admm", "cae_admm_mixed"])
NEED_ANOTHER = {
    "cae_sparse": "study cae", "cae_density": "study cae", "cae_speed": "cae_sparse",
    "cae_coders": "study cae", "cae_fine": "study cae", "cae_variants": "study cae",
    "cae_admm": "study cae_admm_unpruned", "cae_admm_schedules": "study cae_admm_unpruned",
    "cae_admm_mixed": "study cae_admm_unpruned", "cae_admm_rounding": "study cae_admm_unpruned",
    "cae_admm_steps": "study cae_admm_unpruned", "cae_admm_variants": "study cae_admm_unpruned",
}  # fmt: skip


@pytest.fixture
def small() -> Iterator[pytest.MonkeyPatch]:
    with tiny() as patch:
        yield patch


def without(study: str, own: Made, folder: Path) -> Path:
    """What a study needs: all that its paper's studies left, but for its own records and models."""
    out = Path(shutil.copytree(own.out, folder / "out", ignore=shutil.ignore_patterns(study)))
    for record in own.records(study):
        if "file" in record.result:
            (out / "models" / own.model_of(record).name).unlink()
    return out


def test_studies_are_all_tried():
    assert sorted(ORDER) == sorted(STUDIES)


def test_papers_have_every_preset():
    assert all(tuple(paper.PRESETS) == PRESETS for paper in (loonie, sparse_cae, cae_admm))


# Records --------------------------------------------------------------------------------------------------------------


@every_study
def test_study_writes_records_that_verify(study, made):
    own = made(study)
    found, paths = own.records(study), own.paths[study]
    assert found and sorted(paths) == sorted((own.out / study).glob("*.json"))
    for record in found:
        config, shown = record.config, list(dict.fromkeys(row.get("picture") for row in record.rows))
        assert record.study == study and record.name.endswith("-smoke") and record.schema == records.SCHEMA
        assert (config["profile"], config["seed"], config["device"]) == ("smoke", 0, "cpu")
        assert (record.environment["commit"], record.environment["device"]) == ("abc", "cpu")
        assert record.rows and record.wall_seconds >= 0
        if study == "cae_density":
            continue  # of no picture
        assert (config["data"], config["pictures"]) == ("bundled", len(shown))
        assert shown == [f"bundled/{name}" if study == "cae_admm_mixed" else name for name in SHOWN[: len(shown)]]
        assert config["data_sha256"] == data.fingerprint({name: PICTURES[Path(name).name] for name in shown})
        for row in record.rows:
            if study not in ("cae_speed", "cae_coders"):  # their rows describe no files
                assert row["bpp"] == pytest.approx(8 * row["bytes"] / (HEIGHT * WIDTH), abs=1e-5)
                assert row["encode_seconds"] > 0 and row["decode_seconds"] > 0 and row["psnr"] > 0
                assert 0 < row["estimated_bits"] and 0 < row["ssim"] <= 1
                # A repair that takes most weights leaves neurons dead, and files leave those out. A latent of nothing
                # but zeros has a file of 37 bytes: the zeros at the end of a code are left out.
                shorter = study == "first_values" or row["bytes"] < 40
                assert shorter or row["estimated_bits"] <= 1.05 * 8 * row["bytes"]
    assert {path.suffix for path in (own.out / study / ".partial").iterdir()} == {".lock"}


def written(own: Made, record: RunRecord, row: dict) -> bytes:
    """The file of a row: what was kept, or the same made again."""
    config, setting = record.config, row.get("setting")
    if record.study == "gallery":
        size = config.get("architecture") if config["codec"] == "coin" else None
        rate = f"-{config['sparsity']['rate']}-{config['bpp']:g}" if "sparsity" in config else f"-{setting}"
        name = f"{row['picture']}-{size or config['codec'] + rate}.spc"
        return (own.out / "gallery" / "files" / "smoke" / name).read_bytes()
    if record.study == "baselines":
        options = {config["grid"][0]: setting} | config["options"]
        return codecs.get_codec(config["codec"], **options).encode(PICTURES[row["picture"]])
    options = {"keep": None if setting == 1 else setting} if record.study == "cae_admm" else {"step": setting}
    return own.written(record, row, **options)[0]


@pytest.mark.parametrize("study", ["gallery", "baselines", "cae", "cae_sparse", "cae_admm"])
def test_study_rows_are_of_real_files(study, made):
    own = made(study)
    for record in own.records(study):
        row, model = record.rows[-1], "file" in record.result
        content, picture = written(own, record, row), PICTURES[row["picture"]]
        shown = codecs.decode(content, models=pretrained.Models(own.model_of(record)) if model else None)
        assert row["bytes"] == len(content)
        assert not model or 0 < 8 * row["bytes"] - row["estimated_bits"] < 8 * 60, "a header"
        for name in ("psnr", "ssim", "ms_ssim"):
            found = getattr(metrics, name)(reference=picture, reconstruction=shown)
            assert row[name] == pytest.approx(found, abs=2e-5), name
    if study == "gallery":
        rows = sum(len(record.rows) for record in own.records(study))
        assert len(list((own.out / "gallery" / "files" / "smoke").iterdir())) == rows, "a file for every row"


@pytest.mark.parametrize("study", ["cae", "cae_sparse", "cae_admm"])
def test_study_models_say_what_they_are(study, made):
    """The codecs choose models by this."""
    found = made(study).trained(study)
    for record, model in found:
        config, result = record.config, record.result
        assert (model.key, model.name, model.codec) == (result["model"], result["file"], config["codec"])
        said = {"label": config["label"], "seed": 0, "steps": config["descent"]["steps"], "search": False,
                "profile": "smoke", "lam": config.get("lam", config["descent"].get("lam"))}  # fmt: skip
        if study == "cae_admm":
            said["keep"] = (config["pruning"] or {"keep": 1.0})["keep"]
        else:
            said |= {end: config["descent"][end] for end in ("finest", "coarsest")}
            said["sparsity"] = result.get("sparsity", 0)
        assert said.items() <= model.about.items()
        history = result["history"]
        assert history["step"][-1] == config["descent"]["steps"] and all(map(math.isfinite, history["loss"]))
        assert result["psnr"] == pytest.approx(history["psnr"][-1], abs=0.1), "fp16 changes little"
    assert len({record.result["model"] for record, _ in found}) == len(found)


@every_study
def test_study_makes_nothing_the_second_time(study, made, small):
    own, said = made(study), []
    before = files(own.out)
    assert run(study, own.out, report=said.append) == own.paths[study]
    assert files(own.out) == before and said == [f"{r.name}: the record is there" for r in own.records(study)]
    for plan, path in zip(plans(study, own.out), own.paths[study], strict=True):
        assert pickle.loads(pickle.dumps(plan)).path(own.out) == path, "as a worker gets it"


@some_studies
def test_study_that_is_paused_makes_the_same_records(study, made, small, tmp_path):
    """Time ends again and again, in trainings too; nothing half done is counted, and no step is taken twice."""
    own = made(study)
    expected, out, pauses = [timeless(record) for record in own.records(study)], without(study, own, tmp_path), 0
    taken = steps_taken(small)
    ticking(small)
    while pauses < 500:
        assert all(timeless(record) in expected for record in Records(out).find(study))
        try:
            paths = run(study, out, max_seconds=25)
            break
        except Paused:
            pauses += 1
    assert [timeless(records.read(path)) for path in paths] == expected
    budgets = [(r.config.get("fit", r.config.get("descent")), r) for r in own.records(study)]
    assert len(taken) == sum(b["steps"] * (1 if "file" in r.result else len(r.rows)) for b, r in budgets if b)
    assert pauses > len(taken) // 25


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="what is tiny is inherited by a fork")
@some_studies
def test_study_side_by_side_makes_the_same_records(study, made, small, tmp_path):
    own = made(study)
    small.setattr(runner, "get_context", lambda how: multiprocessing.get_context("fork"))
    paths = run(study, without(study, own, tmp_path), workers=2)
    assert [timeless(records.read(path)) for path in paths] == [timeless(r) for r in own.records(study)]


# What a study is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", [study for study in ORDER if study not in NEED_ANOTHER])
def test_study_of_another_seed_preset_device_or_set_makes_other_records(study, made, small, tmp_path):
    """And other models, but for a device and for pictures that are measured alone."""
    asked = [request(tmp_path), request(tmp_path, seed=7), request(tmp_path, device="cuda"),
             request(tmp_path, preset="laptop")]  # fmt: skip
    asked += [request(tmp_path, "kodak")] * (study not in OWN_PICTURES)
    found = [STUDIES[study](of) for of in asked]
    assert {plan.path(made(study).out) for plan in found[0]} == set(made(study).paths[study])
    assert len({plan.path(tmp_path) for of in found for plan in of}) == sum(map(len, found))
    assert {plan.device for plan in found[2]} == {"cuda"} and {plan.preset for plan in found[3]} <= {"laptop"}
    first = found[0][0]
    if hasattr(first, "model_file"):
        names = [{plan.model_file for plan in of} for of in found]
        assert not any(names[0] & names[i] for i in (1, 3, 4)) and names[0] == names[2]
        own = STUDIES[study](replace(asked[-1], train_on=tmp_path / "mine"))[0]
        assert (own.train_on, own.validate_on) == (str(tmp_path / "mine"), "bsds500/val")
        assert own.model_file.name.endswith("-mine-smoke.safetensors")
        config = found[4][0].config()
        assert (config["train"]["data"], config["validation"]["data"]) == ("bsds500/train", "bsds500/val")
        assert config["train"]["sha256"] == data.fingerprint(other("train")) != config["validation"]["sha256"]


@pytest.mark.parametrize("study", [s for s in ORDER if s not in (*OWN_PICTURES, *NEED_ANOTHER)])
def test_study_refuses_unknown_pictures(study, small, tmp_path):
    with pytest.raises(ValueError, match="^data must be one of kodak, bundled, got 'imagenet'$"):
        runner.run(plans(study, tmp_path, "imagenet"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("study", "needed"), NEED_ANOTHER.items())
def test_study_names_the_study_that_it_needs(study, needed, small, tmp_path):
    with pytest.raises(ValueError, match=rf"^there (?=.*\bmake ).*\b{needed}\b.*$"):
        plans(study, tmp_path)


# Identity -------------------------------------------------------------------------------------------------------------


# Models of `laptop` that these measure, or begin from, made room for those of `desktop`.
MODELS_GONE = {
    (study, "laptop") for study in ("cae_admm_mixed", "cae_admm_rounding", "cae_admm_steps", "cae_sparse")
}
# The preset laptop has no contexts, no fine-tuning and one stage.
NONE_AT_LAPTOP = {"cae_coders", "cae_fine", "cae_admm_unpruned", "cae_admm_schedules"}


def test_committed_records_are_of_a_study():
    assert set(Records().studies) - {"bench", "loonie_starts"} == set(STUDIES), "bench and sweeps are none"


def recorded(study, out):
    """The records of a study in a folder: their paths and configurations."""
    return {path: json.loads(path.read_text())["config"] for path in (out / study).glob("*.json")}


def planned_today(study, out, presets, monkeypatch):
    """The paths of all records that the plans of today make at some presets, and what a dry run says of each."""
    missing = [name for name in ("kodak", "bsds500") if not data.available(name)]
    if missing:
        pytest.skip(f"the pictures of {' and '.join(missing)} are not here (SPARSECOMP_DATA)")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as the command line has it
    configs = recorded(study, out).values()
    chosen = {config["options"].get("model") for config in configs if "near" in config.get("label", "")}

    def near(model, scored, real=in_use._near):
        """The search takes seconds a model: those that were not chosen are left out."""
        return real(model, scored) if pretrained.load(Path(model)).key in chosen else (0.0, {})

    monkeypatch.setattr(in_use, "_near", near)
    paths, said = set(), {preset: [] for preset in presets}
    for preset, lines in said.items():
        paths.update(runner.run(STUDIES[study](Request(preset, out)), out, dry_run=True, report=lines.append))
    return paths, said


@every_study
def test_study_finds_its_committed_records(study, monkeypatch):
    """The plans of today have the names and configurations that are on record; at laptop there is nothing to make, nor
    at desktop where some was made.
    """
    out = records.runs_folder()
    own = recorded(study, out)
    presets = {config["profile"] for config in own.values()} | {"laptop"}
    presets -= {preset for name, preset in MODELS_GONE if name == study}
    paths, said = planned_today(study, out, presets, monkeypatch)
    assert {path for path, config in own.items() if config["profile"] in presets} <= paths
    for preset in {"laptop", "desktop"} & presets:
        if (study, preset) != ("cae_admm_variants", "desktop") and not (study in NONE_AT_LAPTOP and preset == "laptop"):
            assert said[preset] and all(line.endswith(": the record is there") for line in said[preset])


UNFINISHED = records.RESULTS / "unfinished" / "runs"


@pytest.mark.parametrize("study", [path.name for path in sorted(UNFINISHED.glob("[!.]*"))])
def test_unfinished_study_can_be_resumed(study, monkeypatch):
    """What took hours is not lost: the plans of today find it, and no view of the records does."""
    presets = {config["profile"] for config in recorded(study, UNFINISHED).values()}
    paths, _ = planned_today(study, UNFINISHED, presets, monkeypatch)
    assert set(recorded(study, UNFINISHED)) <= paths
    for preset in presets:
        assert not Records(preset=preset).find(study)


@pytest.mark.parametrize(("study", "preset"), sorted(MODELS_GONE))
def test_study_whose_models_are_gone_says_how_to_make_them(study, preset, tmp_path):
    message = r"^of model \S+ only the record is here: .* study cae\w* --preset laptop --out"
    with pytest.raises(ValueError, match=message):
        STUDIES[study](Request(preset, records.runs_folder()))

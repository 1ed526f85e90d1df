"""The studies of Sparse CAE on tiny pictures, and what their verdicts make of records."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecomp import codecs, complexity, data, metrics, profiles, results, studies
from sparsecomp.codecs.trained import Cae
from sparsecomp.coding import entropy, sparse_weights
from sparsecomp.models import pretrained
from sparsecomp.models.inference import to_input
from sparsecomp.models.pretrained import Models
from sparsecomp.models.sparse_cae import SCALE, Shape, SparseCAE
from sparsecomp.profiles import Descent, FitBudget, Profile, as_dict
from sparsecomp.sparsify.surgery import prune
from sparsecomp.studies import autoencoders, trainings
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.double_descent import Constraint, project
from sparsecomp.training.loop import Paused
from sparsecomp.verdicts import autoencoders as verdicts

QUICK = FitBudget(steps=2, lr=5e-3)
CAE = Descent(steps=6, warmup=2, batch=2, crop=16, reduce=1, score_every=1)
# Named smoke: a study knows by the name that it has to be short.
TINY = Profile("smoke", QUICK, ("2x6",), 2, cae=CAE, cae_width=24)
STUDIED = dict(autoencoders.SPARSE)
FEW = {label: STUDIED[label] for label in ("l1", *autoencoders.HEADLINE)}
SECONDS = ("encode_seconds", "decode_seconds", "seconds")
POINTS = 4  # of a history, here
SETS = {name: getattr(data, name) for name in ("kodak", "bsds500")}  # before they are replaced


def pictures() -> dict[str, np.ndarray]:
    every = data.bundled()
    return {name: np.ascontiguousarray(every[name][60:101, 80:130]) for name in ("astronaut", "chelsea", "coffee")}


PICTURES = pictures()


@pytest.fixture(scope="module")
def tiny():
    """Three small pictures in place of each set, few points in a history, models nowhere but with their study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "bundled", lambda: dict(PICTURES))
        patch.setattr(data, "kodak", lambda: {f"kodim{i}": p[::-1].copy() for i, p in enumerate(PICTURES.values())})
        patch.setattr(data, "bsds500", lambda split: {f"{split}{i}": p for i, p in enumerate(PICTURES.values())})
        patch.setattr(results, "HISTORY_POINTS", POINTS)
        patch.setattr(autoencoders, "SPARSE", FEW)
        trainings.pictures.cache_clear()
        yield patch
    trainings.pictures.cache_clear()


def setup(out: Path, **options) -> studies.Setup:
    return studies.Setup(TINY, out, **({"report": lambda line: None} | options))


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory) -> dict[str, list[results.RunRecord] | Path]:
    """All four studies, once."""
    out = tmp_path_factory.mktemp("out")
    found = {"out": out}
    for name in ("cae", "cae_sparse", "cae_density", "cae_speed"):
        paths = studies.STUDIES[name](setup(out, commit="abc"), "bundled")
        assert all(path.parent == out / name and path.exists() for path in paths)
        found[name] = [results.read(path) for path in paths]
    return found


def trained(made) -> list[results.RunRecord]:
    return [*made["cae"], *made["cae_sparse"]]


def model_of(made, record: results.RunRecord) -> Path:
    return made["out"] / "models" / f"{record.result['file']}.safetensors"


def timeless(record: results.RunRecord) -> tuple[dict, list[dict], dict]:
    rows = [{key: value for key, value in row.items() if key not in SECONDS} for row in record.rows]
    return record.config, rows, {key: value for key, value in record.result.items() if key not in SECONDS}


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Records of trainings -------------------------------------------------------------------------------------------------


def test_configurations_say_all_that_decides(made):
    assert [r.config["label"] for r in made["cae"]] == list(autoencoders.MODELS)
    sparse = [r.config["label"] for r in made["cae_sparse"]]
    assert sparse[: len(FEW)] == list(FEW) and all(label.startswith("small dense ") for label in sparse[len(FEW) :])
    first = made["cae"][0].result["model"]
    for record in trained(made):
        label, descent = record.config["label"], replace(CAE, **autoencoders.MODELS.get(record.config["label"], {}))
        width = int(label.split()[-1]) if label.startswith("small") else None
        constraint = FEW.get(label)
        assert record.config == json.loads(json.dumps({
            "profile": "smoke", "seed": 0, "device": "cpu", "data": "bundled", "pictures": 2,
            "data_sha256": data.fingerprint({p: PICTURES[p] for p in ("astronaut", "chelsea")}),
            "codec": "cae", "label": label, "descent": as_dict(descent),
            "shape": as_dict(Shape(24, encoder_width=width)),
            "constraint": as_dict(constraint) if constraint else None, "first": first if constraint else None,
            "train": {"data": "bundled", "pictures": 3, "sha256": data.fingerprint(PICTURES)},
            "validation": record.config["validation"],
        }))  # fmt: skip
        assert record.schema == results.SCHEMA and record.environment["commit"] == "abc"
        assert record.wall_seconds == pytest.approx(record.result["seconds"], abs=0.06)
    names = [record.name for record in trained(made)]
    assert len(set(names)) == len(names) and all("-smoke" in name for name in names)
    assert [p for s in ("cae", "cae_sparse") for p in (made["out"] / s).rglob(".partial/*")] == []


def test_rows_are_of_real_files(made):
    for record in trained(made):
        path = model_of(made, record)
        stored = pretrained.load(path)
        steps = sorted({row["setting"] for row in record.rows})
        assert steps == list(autoencoders.STEPS[::4])
        assert [(r["picture"], r["setting"]) for r in record.rows] == [
            (name, step) for name in ("astronaut", "chelsea") for step in steps
        ]
        models = Models(path)
        for row in record.rows if record is made["cae"][0] else record.rows[:2]:
            image = PICTURES[row["picture"]]
            written = Cae(model=str(path), models=models, step=row["setting"]).encode(image)
            shown = codecs.decode(written, models=models)
            assert row["bytes"] == len(written)
            assert row["bpp"] == pytest.approx(8 * len(written) / (41 * 50), abs=1e-5)
            assert row["psnr"] == pytest.approx(metrics.psnr(reference=image, reconstruction=shown), abs=1e-5)
            assert 0 < 8 * row["bytes"] - row["estimated_bits"] < 8 * 60, "the estimate has no header"
            with torch.no_grad():
                drawn = stored.model.decoder(stored.model.encoder(to_input(image, SCALE)))[0, :, :41, :50]
            error = np.square(metrics.to_uint8(drawn.permute(1, 2, 0).numpy()).astype(float) - image).mean()
            assert row["mse_unquantised"] == pytest.approx(error, rel=1e-3)
            assert row["ms_ssim"] is None and row["ssim"] is not None
        rate, quality = record.curve("psnr")
        assert rate == sorted(rate) and rate == pytest.approx(
            [np.mean([r["bpp"] for r in record.rows if r["setting"] == s]) for s in steps[::-1]]
        )
        assert quality[0] == pytest.approx(np.mean([r["psnr"] for r in record.rows if r["setting"] == steps[-1]]))


def test_models_are_there_and_named_by_their_key(made):
    keys = {}
    for record in trained(made):
        stored, result, plan = pretrained.load(model_of(made, record)), record.result, record.config
        assert stored.key == result["model"] and stored.name == result["file"]
        assert stored.model.shape == Shape(24, encoder_width=plan["shape"]["encoder_width"])
        assert stored.about["label"] == plan["label"] and stored.about["search"] is False, "of smoke none is chosen"
        assert (stored.about["finest"], stored.about["coarsest"]) == tuple(
            plan["descent"][name] for name in ("finest", "coarsest")
        )
        assert stored.about["sparsity"] == result.get("sparsity", 0)
        keys[stored.key] = record
    assert len(keys) == len(trained(made))


def test_results_are_those_of_the_stored_model(made):
    for record in trained(made):
        stored, result = pretrained.load(model_of(made, record)), record.result
        encoder, shape, pixels = stored.model.encoder, (1, 3, 128, 128), 128 * 128
        assert result["macs"] == complexity.count_macs(prune(encoder), shape) / pixels
        assert result["macs_paper"] == complexity.macs_paper(encoder, shape) / pixels
        assert result["macs_decoder"] == complexity.count_macs(stored.model.decoder, (1, 32, 32, 32)) / pixels
        assert max(result["macs"], result["macs_paper"]) <= complexity.count_macs(encoder, shape) / pixels + 1e-9
        assert result["encoder_bytes"] == len(sparse_weights.encode(encoder.state_dict()))
        assert result["dense_bytes"] == 2 * complexity.count_parameters(encoder)
        small = result["encoder_bytes"] < 0.4 * result["dense_bytes"]
        assert small == (record.config["constraint"] is not None)
        training = CaeTraining(stored.model, PICTURES, PICTURES, CAE)  # in which the tables' cells can be counted again
        occurs = entropy.counts_of(entropy.FactorizedPrior(32), training.histogram(), share=0).numpy()
        told = np.abs(occurs - stored.counts).sum(1) / entropy.TOTAL
        assert told.max() < 0.05, "the tables are of another histogram than the stored model's"


def test_histories_are_thinned(made):
    for record in trained(made):
        history = record.result["history"]
        assert set(history) == {"step", "loss", "estimated_bpp", "psnr"}
        assert {len(column) for column in history.values()} == {POINTS} and history["step"][-1] == CAE.steps
        assert history["step"] == sorted(history["step"]) and all(map(math.isfinite, history["loss"]))
        assert record.result["psnr"] == pytest.approx(history["psnr"][-1], abs=0.1), "fp16 changes little"


def test_second_descents_are_sparse_where_they_were_projected(made):
    dense = pretrained.load(model_of(made, made["cae"][0]))
    for record in made["cae_sparse"][: len(FEW)]:
        constraint = Constraint(**record.config["constraint"])
        assert record.config["first"] == dense.key
        projected = project(dense.model, constraint, 0)
        assert 0.83 <= record.result["sparsity"] == round(projected.sparsity, 5) < 0.86
        assert record.result["radius"] == projected.radius
        stored = pretrained.load(model_of(made, record)).model
        total = zeros = 0
        for name, mask in projected.masks.items():
            tensor = stored.get_parameter(name)
            assert (tensor[~mask] == 0).all(), name
            if tensor.dim() == 4:
                zeros += int((tensor == 0).sum())
                total += tensor.numel()
        assert zeros / total >= record.result["sparsity"] - 1e-5
        moved = stored.decoder.conv1.weight != SparseCAE(Shape(24), 0).half().decoder.conv1.weight.float()
        assert moved.any(), "it was not trained"
    assert "sparsity" not in made["cae"][0].result


def encoder_macs(width: int) -> float:
    return complexity.count_macs(SparseCAE(Shape(24, encoder_width=width)).encoder, (1, 3, 64, 64)) / 64**2


@torch.no_grad()
def test_small_dense_controls_cost_what_pruned_encoders_do(made):
    """Counted whole: surgery would take the blocks of an untrained encoder, which begin as the identity, away."""
    macs = {width: encoder_macs(width) for width in (8, 16, 24)}
    found = {r.config["label"]: r for r in made["cae_sparse"]}
    first, expected = pretrained.load(model_of(made, made["cae"][0])).model, set()
    for label in autoencoders.HEADLINE:
        projected, left = project(first, FEW[label], 0), SparseCAE(Shape(24))
        left.load_state_dict(first.state_dict() | projected.weights)
        for name, mask in projected.masks.items():
            left.get_parameter(name)[~mask] = 0
        aim = complexity.count_macs(prune(left.encoder), (1, 3, 64, 64)) / 64**2
        width = min(macs, key=lambda width, aim=aim: abs(macs[width] - aim))
        expected.add(f"small dense {width}")
        small = found[f"small dense {width}"]
        assert small.result["macs"] == pytest.approx(macs[width], rel=1e-6), "trained, no filter of it is dead"
        assert small.config["constraint"] is None and small.config["descent"] == found[label].config["descent"]
        assert found[label].result["macs"] <= 1.001 * aim, "a second descent brings nothing back"
    assert {label for label in found if label.startswith("small")} == expected


def test_the_headline_has_three_seeds_and_the_controls_the_first(made, tmp_path, monkeypatch):
    asked, first = [], model_of(made, made["cae"][0])
    monkeypatch.setattr(autoencoders, "make", lambda setup, study, pictures_of, plans, *how: asked.extend(plans) or [])
    monkeypatch.setattr(autoencoders, "model_path", lambda *arguments: first)
    laptop = replace(setup(tmp_path, seed=5), profile=replace(TINY, name="laptop"))
    autoencoders.cae_sparse(laptop, "kodak")
    seeds = {label: [p.seed for p in asked if p.label == label] for label in {p.label for p in asked}}
    for label, found in seeds.items():
        assert found == ([5, 6, 7] if label in autoencoders.HEADLINE else [5]), label
    assert set(FEW) < set(seeds) and not any(p.search for p in asked)
    asked.clear()
    autoencoders.cae(laptop, "kodak")
    assert [(p.label, p.seed, p.search) for p in asked] == [
        ("high", 5, True), ("middle", 5, True), ("low", 5, True), ("lowest", 5, True),
        ("high", 6, False), ("high", 7, False),
    ]  # fmt: skip
    assert {(p.train_on, p.validate_on) for p in asked} == {("bsds500/train", "bsds500/val")}


# Density and speed ----------------------------------------------------------------------------------------------------


def test_density_counts_every_projection(made):
    (record,) = made["cae_density"]
    dense = pretrained.load(model_of(made, made["cae"][0]))
    assert record.config["model"] == dense.key and record.config["codec"] == "cae"
    ways = [(r["kind"], r["radius_rule"], r["coupled"]) for r in record.rows]
    assert len(set(ways)) == 8 and len(ways) == 16 and set(w[0] for w in ways) == {
        "l1", "bilevel_l11", "l1inf", "l21", "bilevel_l1inf"}  # fmt: skip
    whole = complexity.count_macs(dense.model.encoder, (1, 3, 64, 64))
    for row in record.rows:
        constraint = Constraint(row["kind"], row["asked"], radius=row["radius_rule"], coupled=row["coupled"])
        projected = project(dense.model, constraint)
        assert row["asked"] <= row["sparsity"] == round(projected.sparsity, 5)
        left = SparseCAE(Shape(24))
        left.load_state_dict(dense.model.state_dict() | projected.weights)
        with torch.no_grad():
            for name, mask in projected.masks.items():
                left.get_parameter(name)[~mask] = 0
        assert row["macs"] == pytest.approx(
            complexity.count_macs(prune(left.encoder), (1, 3, 64, 64)) / whole, abs=1e-5
        )
        assert row["macs_paper"] == pytest.approx(complexity.macs_paper(left.encoder, (1, 3, 64, 64)) / whole, abs=1e-5)
        assert 0 < row["macs"] <= 1 and 0 < row["macs_paper"] <= 1


def test_speed_times_every_sparse_model(made):
    (record,) = made["cae_speed"]
    assert [row["label"] for row in record.rows] == [r.config["label"] for r in sorted(
        made["cae_sparse"], key=lambda r: f"{r.name}-{r.key}")]  # fmt: skip
    for row in record.rows:
        assert 0 < row["lower"] <= row["speedup"] <= row["upper"] < 100
    assert record.config["models"] == {r.config["label"]: r.result["model"] for r in made["cae_sparse"]}


def test_speed_is_dense_over_pruned(made, tmp_path, monkeypatch):
    calls = []

    def latency(a, b, **options):
        assert torch.is_inference_mode_enabled()
        calls.append((a(), b()))
        return complexity.Quartiles(1.0, 2.0, 3.0)

    dense = pretrained.load(model_of(made, made["cae"][0])).model.encoder
    monkeypatch.setattr(autoencoders.complexity, "relative_latency", latency)
    monkeypatch.setattr(results, "path_of", lambda out, study, name, config: tmp_path / study / f"{name}-0.json")
    autoencoders.cae_speed(setup(made["out"]), "bundled")
    x = to_input(PICTURES["astronaut"], SCALE)
    for record, (whole, small) in zip(
        sorted(made["cae_sparse"], key=lambda r: f"{r.name}-{r.key}"), calls, strict=True
    ):
        with torch.no_grad():
            torch.testing.assert_close(whole, dense(x), atol=1e-5, rtol=0)
            pruned = pretrained.load(model_of(made, record)).model.encoder(x)
            torch.testing.assert_close(small, pruned, atol=1e-5, rtol=0)


# Again, later, elsewhere ----------------------------------------------------------------------------------------------


def test_finished_studies_do_nothing(made, monkeypatch):
    before, said = files(made["out"]), []
    for name in ("_descend", "_measure", "finish"):
        monkeypatch.setattr(autoencoders, name, lambda *a, **k: pytest.fail("it was made again"))
    monkeypatch.setattr(autoencoders.complexity, "relative_latency", lambda *a, **k: pytest.fail("timed again"))
    for name in ("cae", "cae_sparse", "cae_density", "cae_speed"):
        paths = studies.STUDIES[name](setup(made["out"], report=said.append), "bundled")
        assert [results.read(path) for path in paths] == made[name]
    assert files(made["out"]) == before
    records = sum(len(made[name]) for name in made if name.startswith("cae"))
    assert sum("the record is there" in line for line in said) == records


def test_of_the_dense_models_the_codec_may_choose_those_of_the_first_seed():
    own = studies.Setup(profiles.get("laptop"), Path("out"))
    assert [autoencoders._dense(own, "kodak", "high", seed).search for seed in (0, 1)] == [True, False]


def test_half_a_run_is_continued_to_the_same_record(made, tmp_path, monkeypatch):
    monkeypatch.setattr(studies.Setup, "seconds_left", lambda setup: 0.0)  # one step a call
    steps, real = [], CaeTraining.step
    monkeypatch.setattr(CaeTraining, "step", lambda self: (steps.append(self.done), real(self))[1])
    pauses = 0
    while True:
        try:
            paths = autoencoders.cae(setup(tmp_path), "bundled")
            break
        except Paused:
            pauses += 1
            assert list((tmp_path / "cae" / ".partial").glob("*.safetensors"))
            assert not results.records("cae", tmp_path), "half a run was counted"
        assert pauses < 40
    assert pauses == CAE.steps - 1 and len(steps) == len(autoencoders.MODELS) * CAE.steps, "no step was taken twice"
    for path, record in zip(paths, made["cae"], strict=True):
        assert timeless(results.read(path)) == timeless(record)
    assert not list((tmp_path / "cae" / ".partial").iterdir())


def test_a_run_killed_while_it_was_measured_is_not_trained_again(made, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(autoencoders, "_measure", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            autoencoders.cae(setup(tmp_path), "bundled")
    assert results.records("cae", tmp_path) == []
    monkeypatch.setattr(CaeTraining, "step", lambda self: pytest.fail("trained again"))
    for path, record in zip(autoencoders.cae(setup(tmp_path), "bundled"), made["cae"], strict=True):
        assert timeless(results.read(path)) == timeless(record)


def test_other_seeds_and_sets_are_other_records_and_other_models(made, tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoders, "MODELS", {"high": {}})
    paths = [autoencoders.cae(setup(tmp_path, seed=seed), name)[0] for seed, name in
             ((0, "bundled"), (1, "bundled"), (0, "kodak"))]  # fmt: skip
    found = [results.read(path) for path in paths]
    assert len(set(paths)) == 3 and len({r.result["model"] for r in found[:2]}) == 2
    assert timeless(found[0]) == timeless(made["cae"][0])
    assert [r.config["seed"] for r in found] == [0, 1, 0]
    assert (
        found[2].config["train"]["data"] == "bsds500/train" and found[2].config["validation"]["data"] == "bsds500/val"
    )
    assert {row["picture"] for row in found[2].rows} == {"kodim0", "kodim1"}
    for record in found:
        path = tmp_path / "models" / f"{record.result['file']}.safetensors"
        assert pretrained.load(path).key == record.result["model"], "another training took its place"
    assert len(list((tmp_path / "models").iterdir())) == 3


def test_what_needs_an_earlier_study_says_so(tiny, tmp_path):
    for study, needed in ((autoencoders.cae_sparse, "cae"), (autoencoders.cae_density, "cae"),
                          (autoencoders.cae_speed, "cae_sparse")):  # fmt: skip
        with pytest.raises(ValueError) as caught:
            study(setup(tmp_path), "bundled")
        assert re.search(rf"make .*\b{needed}\b|\b{needed}: make", str(caught.value)), study
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="data='imagenet'"):
        autoencoders.cae(setup(tmp_path), "imagenet")
    assert not list(tmp_path.rglob("*.json"))


def test_models_stand_beside_the_records(tmp_path):
    assert trainings.models_folder(setup(tmp_path / "runs")) == tmp_path / "models"
    assert trainings.models_folder(setup(tmp_path / "out")) == tmp_path / "out" / "models"


@pytest.mark.skipif(
    not (data.available("kodak") and data.available("bsds500")),
    reason="Kodak and BSDS500 are not on this machine (set SPARSECOMP_DATA)",
)


def test_every_paper_constraint_and_control_is_a_study():
    kinds = {c.kind for c in STUDIED.values()}
    assert kinds == {"l1", "bilevel_l11", "l1inf", "l21", "bilevel_l1inf", "magnitude", "random"}
    assert all(c.layers == "encoder" for c in STUDIED.values())
    assert all(c.sparsity == (0 if "dense" in label else 0.83) for label, c in STUDIED.items())
    assert set(autoencoders.HEADLINE) <= set(STUDIED) and "bilevel_l11" in autoencoders.HEADLINE
    assert {c.restart for c in STUDIED.values()} == {"rewind", "random", "trained"}
    for label, kind in (("l1", "l1"), ("bilevel_l11", "bilevel_l11"), ("l1inf", "l1inf")):  # Table I
        assert STUDIED[label] == Constraint(kind, 0.83), "rewound, one radius, as the paper does"


# Verdicts -------------------------------------------------------------------------------------------------------------

RATES = (0.5, 1.0, 2.0, 4.0, 8.0)


def record(
    study: str,
    label: str,
    *,
    seed=0,
    shift=0.0,
    mse=2.0,
    profile="laptop",
    rates=RATES,
    restart=None,
    train="bsds500/train",
    **result,
):
    """On two pictures, so many dB above 30 + 5 log2(bpp), the second 2 dB above the first."""
    rows = [
        {"picture": name, "setting": i, "bpp": rate, "psnr": 30 + 5 * math.log2(rate) + shift + more,
         "mse_unquantised": mse * (1 + more)}
        for name, more in (("a", 0.0), ("b", 2.0)) for i, rate in enumerate(rates)
    ]  # fmt: skip
    config = {"label": label, "seed": seed, "profile": profile, "data": "kodak", "descent": {"coarsest": 1 / 64}}
    config["train"] = {"data": train}
    config["constraint"] = None if study == "cae" else {"restart": restart or "rewind"}
    result = {"macs": 100.0, "macs_paper": 100.0, "encoder_bytes": 900, "dense_bytes": 1000} | result
    return results.RunRecord(study, f"{label}-{seed}", config, rows, 1.0, {}, result=result)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder of records; a function writes more of them."""
    (tmp_path / "published").symlink_to(results.folder() / "published")
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    return lambda *records: [results.write(r, tmp_path / "runs") for r in records]


def test_a_relative_loss_is_below_zero_where_the_error_grew(kept):
    kept(record("cae", "high", mse=2.0), record("cae_sparse", "l1", mse=4.0), record("cae_sparse", "l21", mse=1.0))
    assert verdicts.relative_loss("l1") == pytest.approx(-10 * math.log10(2))
    assert verdicts.relative_loss("l21") == pytest.approx(10 * math.log10(2))


def test_a_relative_loss_is_a_mean_over_pictures_and_of_the_same_seed(kept):
    dense, sparse = record("cae", "high", seed=1), record("cae_sparse", "l1", seed=1)
    for row in sparse.rows:
        row["mse_unquantised"] *= 10 if row["picture"] == "a" else 1000
    kept(record("cae", "high", mse=1e-9), dense, sparse)
    assert verdicts.relative_loss("l1", 1) == pytest.approx(-20), "dB of each picture, then the mean"
    with pytest.raises(LookupError):
        verdicts.relative_loss("l1", 0)
    other = replace(sparse, config=sparse.config | {"label": "l21"}, rows=sparse.rows[:5])
    kept(other)
    with pytest.raises(LookupError, match="different pictures"):
        verdicts.relative_loss("l21", 1)


@pytest.mark.parametrize("shift", [-1.5, 0.0, 0.25])
def test_a_loss_at_equal_rate(kept, shift):
    kept(record("cae", "high"), record("cae_sparse", "l1", shift=shift, rates=(0.6, 1.1, 1.7, 3.0, 7.0)))
    assert verdicts.loss_at_rate("l1") == pytest.approx(shift, abs=1e-2)


def test_over_seeds(kept):
    kept(*(record("cae", "high", seed=s, shift=s) for s in range(3)))  # each is compared with the one it came from
    kept(*(record("cae_sparse", "l1", seed=s, shift=s + d) for s, d in enumerate((-1, -2, -3))))
    kept(record("cae_sparse", "l21", seed=1))
    assert verdicts.seeds_of("l1") == [0, 1, 2] and verdicts.seeds_of("l21") == [1]
    assert verdicts.over_seeds("l1", verdicts.loss_at_rate) == pytest.approx((-2, 1), abs=1e-3)
    mean, spread = verdicts.over_seeds("l21", lambda label, seed: 7.0 * seed)
    assert mean == 7 and math.isnan(spread)
    with pytest.raises(LookupError, match="sparsecomp study cae_sparse"):
        verdicts.over_seeds("l1inf", verdicts.loss_at_rate)


def test_what_is_saved(kept):
    kept(record("cae", "high", macs=200.0, macs_paper=180.0, encoder_bytes=1, dense_bytes=1000))
    kept(record("cae_sparse", "l1", macs=50.0, macs_paper=150.0, encoder_bytes=250, dense_bytes=1))
    assert verdicts.macs_saved("l1") == pytest.approx(75)
    assert verdicts.macs_saved("l1", accounting="macs_paper") == pytest.approx(25)
    assert verdicts.memory_saved("l1") == pytest.approx(75)


def test_density_between_two_measurements(kept):
    rows = [
        {"kind": kind, "radius_rule": radius, "coupled": coupled, "asked": s, "sparsity": s,
         "macs_paper": 1 - s / 2 + shift, "macs": 1 - s + shift}
        for kind, radius, coupled, shift in (("l1", "common", False, 0), ("l1", "common", True, 0.3),
                                             ("l1", "per_layer", False, 0.2), ("l21", "common", False, 0.1))
        for s in (0.8, 0.4, 0.9)
    ]  # fmt: skip
    kept(results.RunRecord("cae_density", "density", {"profile": "laptop"}, rows, 1.0, {}))
    assert [row["sparsity"] for row in verdicts.density("l1")] == [0.9, 0.8, 0.4], "densest last"
    assert verdicts.density("l1", coupled=True)[0]["macs"] == pytest.approx(0.4)
    assert verdicts.macs_at_density("l1", 0.4) == pytest.approx(20)
    assert verdicts.macs_at_density("l1", 0.86) == pytest.approx(43)
    assert verdicts.macs_at_density("l1", 0.86, "macs") == pytest.approx(86)
    assert verdicts.macs_at_density("l21", 0.6) == pytest.approx(20)
    for beyond in (0.3, 0.95):
        with pytest.raises(LookupError, match="projected from 0.40 to 0.90"):
            verdicts.macs_at_density("l1", beyond)


def test_the_hull_of_the_dense_models(kept):
    with pytest.raises(LookupError, match="sparsecomp study cae"):
        verdicts.hull()
    kept(
        record("cae", "high", shift=-3.0, rates=(1.0, 2.0, 4.0, 8.0)), record("cae", "low", rates=(0.25, 0.5, 1.0, 1.5))
    )
    kept(record("cae", "high", seed=1, shift=50.0), record("cae", "low", profile="smoke", shift=50.0))
    rates, qualities = verdicts.hull()
    assert rates == sorted(rates) and qualities == sorted(qualities) and rates[0] == 0.25 and rates[-1] == 8
    assert (1.0, 31.0) in zip(rates, qualities, strict=True), "the better of two at one rate"
    assert verdicts.psnr_near(1.0) == pytest.approx(31) and verdicts.psnr_near(8.0) == pytest.approx(43)
    assert verdicts.psnr_near(6.0) == pytest.approx((38 + 43) / 2)
    kept(record("cae_sparse", "bilevel_l11", shift=1.0))
    assert verdicts.psnr_near(6.0, "bilevel_l11") == pytest.approx((42 + 47) / 2)
    for beyond, label in ((0.2, None), (9.0, None), (0.4, "bilevel_l11")):
        with pytest.raises(LookupError, match="measured from"):
            verdicts.psnr_near(beyond, label)


def test_what_goes_on_is_compared_with_what_went_on_too(kept):
    kept(record("cae", "high", mse=2.0), record("cae_sparse", "l1", shift=-1.0, mse=4.0, restart="trained"))
    with pytest.raises(LookupError):
        verdicts.loss_at_rate("l1")
    kept(record("cae_sparse", "dense, trained on", shift=0.5, mse=1.0, restart="trained"))
    assert verdicts.loss_at_rate("l1") == pytest.approx(-1.5, abs=1e-2)
    assert verdicts.relative_loss("l1") == pytest.approx(-10 * math.log10(4))
    assert verdicts.loss_at_rate("dense, trained on") == pytest.approx(0.5, abs=1e-2), "itself beside the first descent"


def test_models_of_a_folder_of_ones_own_are_left_out(kept):
    kept(record("cae", "high"), record("cae_sparse", "l1", shift=-1.0), record("cae_sparse", "own", train="mine"))
    kept(record("cae", "high", shift=9.0, train="mine"), record("cae_sparse", "l1", shift=5.0, train="mine"))
    assert verdicts.labels() == ["l1"] and verdicts.seeds_of("l1") == [0]
    assert verdicts.loss_at_rate("l1") == pytest.approx(-1, abs=1e-2)
    assert verdicts.psnr_near(8.0) == pytest.approx(46), "the hull is of the others, too"


def test_only_steps_that_both_were_measured_at_count(kept):
    """A curve of few points, between which nothing bends, against one that is bad where the other was not measured."""
    dense, few = record("cae", "high"), record("cae_sparse", "l1")
    for row in dense.rows:
        row["psnr"] -= 3 if row["setting"] == 2 else 0
    few = replace(few, rows=[row for row in few.rows if row["setting"] != 2])
    kept(dense, few)
    assert verdicts.loss_at_rate("l1") == pytest.approx(0, abs=1e-9)
    assert verdicts.at_rate("l1").overlap == (0.5, 8.0)


def test_low_rates_are_compared_with_the_best_of_the_dense_models(kept):
    """The dense model was trained for steps up to 256 of 1/16384; another, of few channels, has lower rates."""
    settings = {0: 1024, 1: 512, 2: 256, 3: 128, 4: 64}
    dense, other = record("cae", "high"), record("cae_sparse", "l1inf", rates=tuple(r / 8 for r in RATES), shift=-2.0)
    for row in (*dense.rows, *other.rows):
        row["setting"] = settings[row["setting"]]
    kept(dense, other, record("cae", "low", shift=3.0, rates=tuple(r / 8 for r in RATES)))
    assert verdicts.loss_at_rate("l1inf") == pytest.approx(-5, abs=0.3)


def test_the_speed_of_a_label_is_that_of_its_record(kept):
    kept(record("cae", "high"), record("cae_sparse", "bilevel_l11", macs=50.0))
    with pytest.raises(LookupError, match="cae_speed"):
        verdicts.speedup("bilevel_l11")
    rows = [{"label": "bilevel_l11", "speedup": 1.6, "lower": 1.5, "upper": 1.7}]
    config = {"profile": "laptop", "data": "kodak"}
    kept(results.RunRecord("cae_speed", "speed", config, rows, 1.0, {}))
    kept(results.RunRecord("cae_speed", "again", config | {"threads": 2}, [rows[0] | {"label": "l1"}], 1.0, {}))
    assert verdicts.speedup("bilevel_l11")["upper"] == 1.7 and verdicts.speedup("l1")["lower"] == 1.5
    claims = {claim.key: claim for claim in verdicts.claims()}
    weighed = {what: claims[f"cae-aim-{what}-bilevel_l11"].weigh() for what in ("macs", "loss", "speed")}
    assert {what: v.verdict for what, v in weighed.items()} == dict.fromkeys(weighed, "holds")
    assert weighed["macs"].ours == "50.0 % fewer" and weighed["speed"].ours == "1.50 times"


def test_claims_are_not_run_without_records_and_weighed_with_them(kept):
    claims = {claim.key: claim for claim in verdicts.claims()}
    assert {f"cae-{kind}-{what}" for kind in verdicts.CONSTRAINTS for what in ("macs", "memory", "loss")} <= set(claims)
    for claim in claims.values():
        assert claim.weigh().verdict == "not run", claim.key
    kept(record("cae", "high"), record("cae_sparse", "l1", mse=2.0 * 10**0.115, encoder_bytes=190))
    kept(record("cae_sparse", "bilevel_l11", shift=-0.4, macs=60, macs_paper=74.0))
    kept(record("cae_sparse", "l21", macs=55))
    expected = {"cae-l1-macs": "holds", "cae-l1-memory": "holds", "cae-l1-loss": "holds",
                "cae-bilevel_l11-macs": "holds", "cae-bilevel_l11-memory": "differs", "cae-l1inf-macs": "not run",
                "cae-less-than-1-db": "holds", "cae-l21": "differs", "cae-47": "differs", "cae-energy": "not run",
                "cae-aim-macs-bilevel_l11": "holds", "cae-aim-loss-bilevel_l11": "holds",
                "cae-aim-speed-bilevel_l11": "not run", "cae-86": "not run"}  # fmt: skip
    assert {key: claims[key].weigh().verdict for key in expected} == expected
    assert claims["cae-l1-loss"].weigh().ours == "-1.15 dB"

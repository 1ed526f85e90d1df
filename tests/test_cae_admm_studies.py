"""What is particular to the studies of CAE-ADMM, and the released code's own measures. What all promise: contracts/."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_studies import (
    CODE,
    PAPERS,
    POINTS,
    PRUNING,
    TINY,
    Made,
    bsds500,
    kodak,
    run,
    setup,
    stored,
    timeless,
    tiny,
    with_model,
)

from sparsecomp import complexity, data, metrics, profiles, results, studies
from sparsecomp.codecs.trained import latent_of, pruned
from sparsecomp.coding import integer_latents, range_coder
from sparsecomp.models.cae_admm import CaeAdmm, Shape
from sparsecomp.studies import cae_admm as study
from sparsecomp.studies import trainings
from sparsecomp.training.latent_pruning import CodeTraining
from sparsecomp.training.loop import Paused

LABELS = ("unpruned", "keep 10", "lambda 400", "released")
ROWS = ("unpruned", "keep 10", "cae-admm near 0.6", "cae-theis near 0.6", "jpeg", "jpeg2000", "jpeg2000 no transform")
PICTURES = PAPERS["cae_admm"].pictures
HEIGHT, WIDTH = 165, 170


@pytest.fixture(scope="module")
def own(made) -> Made:
    return made("cae_admm")


@pytest.fixture
def small():
    with tiny(PICTURES) as patch:
        yield patch


def put_models(own: Made, out: Path, pictures_of: str = "kodak", labels: tuple[str, ...] = LABELS) -> studies.Setup:
    """Models of another training, in place of those that plans would make."""
    there = setup(out)
    for plan in study.plans(there, pictures_of):
        if plan.label in labels:
            path = trainings.model_path(there, plan)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(own.model_of(own.labelled("cae_admm", plan.label)).read_bytes())
    return there


# What is planned ------------------------------------------------------------------------------------------------------


def test_plans_of_the_headline_have_several_seeds_and_fewer_shares(tmp_path):
    own = studies.Setup(profiles.get("laptop"), tmp_path, seed=5)
    planned = study.plans(own, "kodak")
    assert study.SEEDS >= 2 and study.HEADLINE == ("keep 10", "lambda 400")
    for label in {plan.label for plan in planned}:
        first, *others = [plan for plan in planned if plan.label == label]
        assert (first.seed, len(others)) == (5, study.SEEDS - 1 if label in study.HEADLINE else 0), label
        assert others == [replace(first, seed=6 + i, search=False) for i in range(len(others))]
        assert first.search == label.startswith(("keep", "lambda")), "what the codec may choose"
        shares = (1.0, first.pruning.keep) if label.startswith("keep") else (1.0,)
        shares = (1.0, 0.2, 0.1, 0.05) if label in ("unpruned", *study.HEADLINE) else shares
        assert study._shares(own, first) == shares and all(study._shares(own, plan) == (1.0,) for plan in others), label


def test_plans_of_smoke_are_one_of_a_kind():
    found = study.plans(setup(Path("out")), "bundled")
    assert [plan.label for plan in found] == list(LABELS) and not any(plan.search for plan in found)
    assert {(plan.train_on, plan.validate_on, plan.seed) for plan in found} == {("bundled", "bundled", 0)}
    own = study.plans(setup(Path("out"), train_on=Path("/some/where/mine")), "kodak")[0]
    assert (own.train_on, own.validate_on) == ("/some/where/mine", "bsds500/val")
    assert own.name("smoke") == "code-unpruned-seed-0-mine-smoke"


def test_trainings_begin_alike(small, tmp_path):
    """With and without the pruning, with and without an estimate: the same first values, crops, and their order."""
    begun = {}

    def note(training, **options):
        begun[training.pruning, training.lam] = training
        raise Paused("noted")

    small.setattr(study.loop, "run", note)
    with pytest.raises(Paused):
        run("cae_admm", tmp_path, seed=3)
    released = replace(study.RELEASED, interval=2)
    assert set(begun) == {(None, 0.0), (replace(PRUNING, keep=0.1), 0.0), (None, 400.0), (released, 0.0)}
    (plain, *others), start = begun.values(), CaeAdmm(Shape(8, 32, 1), 3).state_dict()
    for training in (plain, *others):
        state = training.model.state_dict()
        assert state.keys() == start.keys() and all(torch.equal(state[name], t) for name, t in start.items())
        assert torch.equal(training.crops, plain.crops) and training.seed == 3


# Trainings ------------------------------------------------------------------------------------------------------------


def test_rows_tell_of_their_codes(own):
    trainings_of = {r.result["model"]: r for r in own.records("cae_admm")}
    for record in own.records("cae_admm", "cae_admm_mixed"):
        options = record.config.get("options", record.result)
        if "model" not in options:
            assert not {"zeros", "nats"} & set(record.rows[0])
            continue
        path = own.model_of(trainings_of[options["model"]])
        for row in record.rows:
            image, share = PICTURES[row["picture"].split("/")[-1]], options.get("keep", row["setting"])
            code = latent_of(stored(path), image)
            symbols = code if share == 1 else pruned(code, share)
            if share < 1:
                assert np.count_nonzero(symbols) == min(np.count_nonzero(code), round(share * code.size))
            _, shown = with_model(record.config["codec"], path, image, keep=None if share == 1 else share)
            assert row["zeros"] == pytest.approx((symbols == 0).mean(), abs=1e-5)
            assert row["nats"] == pytest.approx(study.released_bpp(symbols), abs=1e-5)
            assert row["ssim_patches"] == pytest.approx(study.patch_ssim(image, shown), abs=1e-5)
    settings = {r.config["label"]: [row["setting"] for row in r.rows] for r in own.records("cae_admm")}
    shares = [1.0, 0.2, 0.1, 0.05]
    assert settings == {label: 2 * ([1.0] if label == "released" else shares) for label in LABELS}
    assert [r.config["label"] for r in own.records("cae_admm_mixed")] == list(ROWS)
    assert all(r.result == {"side_by_side": 1} for r in own.records("cae_admm_mixed"))


def test_results_are_those_of_the_stored_model(own):
    losses = {}
    for record in own.records("cae_admm"):
        model, result = stored(own.model_of(record)), record.result
        training = CodeTraining(copy.deepcopy(model.model), PICTURES, PICTURES, CODE, seed=0)
        score = training.score()
        assert {name: result[name] for name in score} == pytest.approx(score, abs=1e-3)
        counts = integer_latents.counts_of(sum(integer_latents.histogram_of(code) for code in training.codes()))
        told = (counts - torch.as_tensor(model.counts)).abs().sum(1) / range_coder.TOTAL
        assert float(told.max()) < 0.01, "the tables are of other codes than the stored model's"
        assert result["macs"] == complexity.count_macs(model.model.encoder, (1, 3, 64, 64)) / 64**2
        assert result["macs_decoder"] == complexity.count_macs(model.model.decoder, (1, 32, 8, 8)) / 64**2
        assert result["skipped"] == 0
        history, admm = result["history"], result["admm"]
        assert list(history) == ["step", "loss", *score] and history["step"] == [1, 2, 4, 5]
        assert {len(column) for column in history.values()} == {POINTS} and all(map(math.isfinite, history["loss"]))
        assert result["psnr"] == pytest.approx(history["psnr"][-1], abs=0.1), "fp16 changes little"
        expected = [2, 4] if record.config["pruning"] else []
        assert list(admm) == ["step", "primal", "dual", "zeros"] and admm["step"] == expected
        assert {len(column) for column in admm.values()} == {len(expected)} and all(0 <= z <= 1 for z in admm["zeros"])
        losses[record.config["label"]] = history["loss"]
    assert losses["unpruned"][0] == losses["keep 10"][0] and losses["unpruned"][-1] != losses["keep 10"][-1]


# The mixed set --------------------------------------------------------------------------------------------------------


def test_settings_are_chosen_on_validation_pictures_alone(own, small, tmp_path):
    """What is measured is Kodak and the test pictures; before that no codec has seen one of them."""

    def seen(picture) -> str:
        return data.fingerprint({"p": picture})

    validation = {seen(p) for p in bsds500(PICTURES, "val").values()}
    measured = {f"kodak/{name}": p for name, p in kodak(PICTURES).items()}
    measured |= {f"bsds500/test/{name}": p for name, p in bsds500(PICTURES, "test").items()}
    first = {seen(measured[name]) for name in ("kodak/kodim0", "bsds500/test/test0")}
    assert not validation & set(map(seen, measured.values()))
    there = put_models(own, tmp_path)
    chosen_on, reported_on, chosen = set(), set(), []
    kept = {name: getattr(study, name) for name in ("latent_of", "_mean_bpp", "evaluate", "_table_rows")}

    def rows(*arguments):
        found = kept["_table_rows"](*arguments)
        chosen.append(set(chosen_on))
        return found

    def code(stored, picture, *rest):
        (reported_on if chosen else chosen_on).add(seen(picture))
        return kept["latent_of"](stored, picture, *rest)

    def mean(codec, options, scored):
        chosen_on.update(map(seen, scored))
        return kept["_mean_bpp"](codec, options, scored)

    def evaluated(codec, picture):
        assert chosen
        reported_on.add(seen(picture))
        return kept["evaluate"](codec, picture)

    for name, function in (("latent_of", code), ("_mean_bpp", mean), ("evaluate", evaluated), ("_table_rows", rows)):
        small.setattr(study, name, function)
    paths = study.cae_admm_mixed(there)
    assert chosen == [validation] and reported_on == first
    pictures = [[row["picture"] for row in results.read(path).rows] for path in paths]
    assert pictures == [["kodak/kodim0", "bsds500/test/test0"]] * len(ROWS)
    whole = study._mixed(replace(there, profile=replace(TINY, name="laptop")), "mixed")
    assert list(whole) == list(measured) and all(np.array_equal(whole[name], p) for name, p in measured.items())


def test_share_that_is_kept_comes_nearest_to_its_rate(own, monkeypatch):
    path, scored = own.model_of(own.labelled("cae_admm", "unpruned")), list(PICTURES.values())
    model = stored(path)
    codes = [latent_of(model, picture) for picture in scored]

    def rate(share: float) -> float:
        kept = [pruned(code, share) for code in codes]
        bits = [integer_latents.bits(c, model.counts, integer_latents.threshold_of(c)) for c in kept]
        return float(np.mean(bits)) / (HEIGHT * WIDTH)

    whole = rate(1.0)
    for target in (0.5 * whole, whole):
        monkeypatch.setattr(study, "NEAR", target)
        ssim, options = study._near(str(path), scored)
        share = options.get("keep", 1.0)
        assert abs(rate(share) - target) <= min(abs(rate(min(1.0, share * f)) - target) for f in (0.9, 1.12)) + 1e-9
        drawn = [model.decode(pruned(c, share), HEIGHT, WIDTH) for c in codes]
        expected = [metrics.ssim(reference=p, reconstruction=d) for p, d in zip(scored, drawn, strict=True)]
        assert ssim == pytest.approx(np.mean(expected), abs=1e-6) and ("keep" in options) == (target < whole)
    monkeypatch.setattr(study, "NEAR", 3 * whole)
    assert study._near(str(path), scored) == (0.0, {"model": str(path)}), "out of reach: as good as nothing"


def test_best_of_the_models_near_that_rate_is_taken(small, tmp_path):
    """Of each codec's own, and of the first seed: not the unpruned one, nor the controls."""
    own = studies.Setup(profiles.get("laptop"), tmp_path)
    (tmp_path / "models").mkdir()
    for plan in study.plans(own, "kodak"):
        trainings.model_path(own, plan).write_bytes(b"")
    ssim, asked = {"keep-40": 0.5, "keep-20": 0.9, "keep-10": 0.8, "lambda-150": 0.7, "lambda-400": 0.6}, []

    def near(model, scored):
        asked.append(Path(model).stem.removeprefix("code-").removesuffix("-seed-0-laptop"))
        return ssim.get(asked[-1], 0.0), {"model": model, "keep": 0.3}

    small.setattr(study, "_near", near)
    small.setattr(study, "_mean_bpp", lambda codec, options, scored: options["quality"] / 100)
    rows = study._table_rows(own, "mixed")
    assert list(rows) == list(ROWS) and rows["jpeg"] == ("jpeg", {"quality": 60})
    assert rows["jpeg2000"] == ("jpeg2000", {"rate": 0.6})
    assert rows["jpeg2000 no transform"] == ("jpeg2000", {"rate": 0.6, "colour_transform": False})
    for codec, label in (("cae-admm", "keep-20"), ("cae-theis", "lambda-150")):
        model = str(tmp_path / "models" / f"code-{label}-seed-0-laptop.safetensors")
        assert rows[f"{codec} near 0.6"] == (codec, {"model": model, "keep": 0.3})
    assert asked == [label.replace(" ", "-") for label in (*study.PRUNED, *study.ESTIMATED)]


def test_tables_need_all_models_that_they_show_and_no_other(own, small, tmp_path):
    there = put_models(own, tmp_path / "few", "bundled", labels=("unpruned", "keep 10"))
    with pytest.raises(ValueError, match="code-lambda-400-seed-0-bundled-smoke"):
        study.cae_admm_mixed(there, "bundled")
    there = put_models(own, tmp_path / "enough", "bundled", labels=LABELS[:-1])
    paths = study.cae_admm_mixed(there, "bundled")
    assert [timeless(results.read(path)) for path in paths] == [timeless(r) for r in own.records("cae_admm_mixed")]


# The released code's way of measuring ---------------------------------------------------------------------------------


def nats(symbols: list[int]) -> float:
    """Of one histogram for all channels."""
    return -sum(symbols.count(s) * math.log(symbols.count(s) / len(symbols)) for s in set(symbols))


def test_released_bpp_is_the_mean_of_patches_by_their_size():
    symbols = np.random.default_rng(0).integers(-2, 3, (3, 21, 37)).astype(np.int32)
    symbols[:, :16, :16] = 0
    total = 0.0
    for rows in (slice(0, 16), slice(16, 21)):
        for columns in (slice(0, 16), slice(16, 32), slice(32, 37)):
            total += nats(symbols[:, rows, columns].ravel().tolist())
    assert study.released_bpp(symbols) == pytest.approx(total / (21 * 37 * 64))
    assert study.released_bpp(np.full((4, 16, 16), 7, np.int32)) == 0


@pytest.mark.parametrize(("height", "width"), [(128, 128), (128, 300), (270, 256), (257, 383), (100, 170)])
def test_patch_ssim_is_the_mean_over_whole_patches(height, width):
    """A picture that is smaller than a patch is one."""
    drawn = np.random.default_rng(height)
    reference = np.tile(PICTURES["coffee"], (2, 3, 1))[:height, :width]
    reconstruction = (reference // 2 + drawn.integers(0, 60, reference.shape)).astype(np.uint8)
    corners = [(128 * row, 128 * column) for row in range(height // 128) for column in range(width // 128)]
    patches = [(slice(top, top + 128), slice(left, left + 128)) for top, left in corners] or [slice(None)]
    expected = [metrics.ssim(reference=reference[p], reconstruction=reconstruction[p]) for p in patches]
    assert study.patch_ssim(reference, reconstruction) == pytest.approx(np.mean(expected))
    assert study.patch_ssim(reference[:5], reconstruction[:5]) is None, "where SSIM is not defined"

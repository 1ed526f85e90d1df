"""What is particular to the studies of CAE-ADMM, and the released code's own measures. What all promise: contracts/."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_studies import CODE, HEIGHT, PICTURES, WIDTH, Made, other, plans, tiny

from reproduce import models, runner
from reproduce.papers import cae_admm as study
from sparsecomp import complexity, data, metrics
from sparsecomp.codecs.trained import latent_of, pruned
from sparsecomp.coding import integer_latents, range_coder
from sparsecomp.models import pretrained
from sparsecomp.models.cae_admm import CaeAdmm, Shape
from sparsecomp.training.latent_pruning import CodeTraining
from sparsecomp.training.loop import Paused

LABELS = ("unpruned", "keep 10", "lambda 400", "released")
ROWS = ("unpruned", "keep 10", "cae-admm near 0.6", "cae-theis near 0.6", "jpeg", "jpeg2000", "jpeg2000 no transform")


@pytest.fixture(scope="module")
def own(made) -> Made:
    return made("cae_admm")


@pytest.fixture
def small():
    with tiny() as patch:
        yield patch


def put_models(own: Made, out: Path, pictures_of: str, labels: tuple[str, ...] = LABELS) -> Path:
    """Models of another training, in place of those that plans would make."""
    for plan in plans("cae_admm", out, pictures_of):
        if plan.label in labels:
            plan.model_file.parent.mkdir(parents=True, exist_ok=True)
            plan.model_file.write_bytes(own.model_of(own.labelled("cae_admm", plan.label)).read_bytes())
    return out


# What is planned ------------------------------------------------------------------------------------------------------


def test_plans_of_the_headline_have_several_seeds_and_fewer_shares(small, tmp_path):
    planned = plans("cae_admm", tmp_path, None, "laptop", seed=5)
    assert study.HEADLINE == ("keep 10", "lambda 400") and len(planned) == 16
    assert planned[0].name == "code-unpruned-seed-5-laptop" and planned[-1].name == "code-lambda-400-seed-6-laptop"
    for label in study.LABELS:
        first, *others = [plan for plan in planned if plan.label == label]
        assert (first.seed, len(others)) == (5, label in study.HEADLINE), label
        assert first.search == label.startswith(("keep", "lambda")), "what the codec may choose"
        shares = (1.0, first.pruning.keep) if label.startswith("keep") else (1.0,)
        assert first.shares == ((1.0, 0.2, 0.1, 0.05) if label in ("unpruned", *study.HEADLINE) else shares), label
        for plan in others:
            name = first.name.replace("seed-5", "seed-6")
            assert plan == replace(first, name=name, seed=6, search=False, shares=(1.0,)), label


def test_trainings_begin_alike(small, tmp_path):
    """With and without the pruning, with and without an estimate: the same first values, crops, and their order."""
    begun = []

    def note(training, **options):
        begun.append(training)
        raise Paused("noted")

    small.setattr(study, "run", note)
    for plan in plans("cae_admm", tmp_path, seed=3):
        with pytest.raises(Paused):
            plan.train(runner.Work(tmp_path, tmp_path))
        assert (begun[-1].pruning, begun[-1].lam) == (plan.pruning, plan.lam)
    start = CaeAdmm(Shape(8, 32, 1), 3).state_dict()
    for training in begun:
        state = training.model.state_dict()
        assert state.keys() == start.keys() and all(torch.equal(state[name], t) for name, t in start.items())
        assert torch.equal(training.crops, begun[0].crops) and training.seed == 3


# Trainings ------------------------------------------------------------------------------------------------------------


def test_rows_say_what_became_of_their_codes(own):
    trained = {record.result["model"]: (record, model) for record, model in own.trained("cae_admm")}
    for record in own.records("cae_admm", "cae_admm_mixed"):
        options = record.config.get("options", record.result)
        if "model" not in options:
            assert not {"zeros", "nats"} & set(record.rows[0])
            continue
        by, model = trained[options["model"]]
        for row in record.rows[-3:]:
            row = row | {"picture": Path(row["picture"]).name}
            image, share = PICTURES[row["picture"]], options.get("keep", row["setting"])
            code = latent_of(model, image)
            symbols = code if share == 1 else pruned(code, share)
            if share < 1:
                assert np.count_nonzero(symbols) == min(np.count_nonzero(code), round(share * code.size))
            content, shown = own.written(by, row, keep=None if share == 1 else share)
            assert row["bytes"] == len(content) and row["zeros"] == pytest.approx((symbols == 0).mean(), abs=1e-5)
            assert row["nats"] == pytest.approx(study.released_bpp(symbols), abs=1e-5)
            assert row["ssim_patches"] == pytest.approx(study.patch_ssim(image, shown), abs=1e-5)


def test_results_are_those_of_the_stored_model(own):
    for record, model in own.trained("cae_admm"):
        result = record.result
        training = CodeTraining(copy.deepcopy(model.model), PICTURES, PICTURES, CODE, seed=0)
        score = training.score()
        assert {name: result[name] for name in score} == pytest.approx(score, abs=1e-3)
        counts = integer_latents.counts_of(sum(integer_latents.histogram_of(code) for code in training.codes()))
        off = (counts - torch.as_tensor(model.counts)).abs().sum(1) / range_coder.TOTAL
        assert float(off.max()) < 0.01, "the tables are of other codes than the stored model's"
        assert result["macs"] == complexity.count_macs(model.model.encoder, (1, 3, 64, 64)) / 64**2
        assert result["macs_decoder"] == complexity.count_macs(model.model.decoder, (1, 32, 8, 8)) / 64**2
        history, admm = result["history"], result["admm"]
        assert list(history) == ["step", "loss", *score] and history["step"] == [2, 4, 5] and result["skipped"] == 0
        expected = [2, 4] if record.config["pruning"] else []
        assert list(admm) == ["step", "primal", "dual", "zeros"] and admm["step"] == expected
        assert {len(column) for column in admm.values()} == {len(expected)} and all(0 <= z <= 1 for z in admm["zeros"])


# The mixed set --------------------------------------------------------------------------------------------------------


def test_mixed_settings_are_chosen_on_validation_pictures_alone(own, small, tmp_path):
    """What is measured is Kodak and the test pictures; before that no codec has seen one of them."""

    def fingerprints(shown: dict) -> set[str]:
        return {data.fingerprint({"p": picture}) for picture in shown.values()}

    seen: list[np.ndarray] = []
    for name in ("latent_of", "_mean_bpp"):
        real = getattr(study, name)

        def note(*of, real=real):
            seen.extend(of[2] if len(of) > 2 else [of[1]])
            return real(*of)

        small.setattr(study, name, note)
    planned = plans("cae_admm_mixed", put_models(own, tmp_path, "kodak"), None)
    assert fingerprints(dict(enumerate(seen))) == fingerprints(other("val"))
    names = [f"kodak/kodak{i}" for i in (0, 1)] + [f"bsds500/test/test{i}" for i in (0, 1)]
    assert [list(plan.shown()) for plan in planned] == [names] * len(ROWS)
    assert not fingerprints(planned[0].shown()) & fingerprints(other("val"))
    assert planned[0].config()["data"] == "mixed" and planned[0].config()["pictures"] == 4


def test_near_keeps_the_share_that_comes_nearest_to_its_rate(own, monkeypatch):
    record = own.labelled("cae_admm", "unpruned")
    path, scored, model = own.model_of(record), list(PICTURES.values()), pretrained.load(own.model_of(record))
    codes = [latent_of(model, picture) for picture in scored]

    def rate(share: float) -> float:
        shorter = [pruned(code, share) for code in codes]
        bits = [integer_latents.bits(c, model.counts, integer_latents.threshold_of(c)) for c in shorter]
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


def test_mixed_plans_take_the_best_of_the_models_near_that_rate(small, tmp_path):
    """Of each codec's own, and of the first seed: not the unpruned one, nor the controls."""
    (tmp_path / "models").mkdir()
    for plan in plans("cae_admm", tmp_path, None, "laptop"):
        plan.model_file.write_bytes(b"")
    ssim, asked = {"keep-40": 0.5, "keep-20": 0.9, "keep-10": 0.8, "lambda-150": 0.7, "lambda-400": 0.6}, []

    def near(model, scored):
        asked.append(Path(model).stem.removeprefix("code-").removesuffix("-seed-0-laptop"))
        return ssim.get(asked[-1], 0.0), {"model": model, "keep": 0.3}

    small.setattr(study, "_near", near)
    small.setattr(study, "_mean_bpp", lambda codec, options, scored: options["quality"] / 100)
    planned = {plan.label: plan for plan in plans("cae_admm_mixed", tmp_path, None, "laptop")}
    assert list(planned) == list(ROWS) and {plan.count for plan in planned.values()} == {None}
    rows = {label: (plan.codec, plan.options) for label, plan in planned.items()}
    model = {label: str(tmp_path / "models" / f"code-{label}-seed-0-laptop.safetensors")
             for label in ("unpruned", "keep-10", "keep-20", "lambda-150")}  # fmt: skip
    assert rows == {
        "unpruned": ("cae-admm", {"model": model["unpruned"]}), "keep 10": ("cae-admm", {"model": model["keep-10"]}),
        "cae-admm near 0.6": ("cae-admm", {"model": model["keep-20"], "keep": 0.3}),
        "cae-theis near 0.6": ("cae-theis", {"model": model["lambda-150"], "keep": 0.3}),
        "jpeg": ("jpeg", {"quality": 60}), "jpeg2000": ("jpeg2000", {"rate": 0.6}),
        "jpeg2000 no transform": ("jpeg2000", {"rate": 0.6, "colour_transform": False}),
    }  # fmt: skip
    assert asked == [label.replace(" ", "-") for label in (*study.PRUNED, *study.ESTIMATED)]


def test_tables_need_all_models_that_they_show_and_no_other(own, small, tmp_path):
    few = put_models(own, tmp_path / "few", "bundled", labels=("unpruned", "keep 10"))
    with pytest.raises(ValueError, match="^there is no model code-lambda-400-seed-0-bundled-smoke: make it first"):
        plans("cae_admm_mixed", few)
    enough = put_models(own, tmp_path / "enough", "bundled", labels=LABELS[:-1])
    assert [plan.path(own.out) for plan in plans("cae_admm_mixed", enough)] == own.paths["cae_admm_mixed"]
    small.setattr(models, "WEIGHTS", enough / "models")  # where they were moved to the package
    assert [plan.path(own.out) for plan in plans("cae_admm_mixed", tmp_path)] == own.paths["cae_admm_mixed"]


# The released code's way of measuring ---------------------------------------------------------------------------------


def test_released_bpp_is_the_mean_of_patches_by_their_size():
    symbols = np.random.default_rng(0).integers(-2, 3, (3, 21, 37)).astype(np.int32)
    symbols[:, :16, :16] = 0
    total = 0.0
    for rows in (slice(0, 16), slice(16, 21)):
        for columns in (slice(0, 16), slice(16, 32), slice(32, 37)):
            patch = symbols[:, rows, columns].ravel().tolist()
            total -= sum(math.log(patch.count(symbol) / len(patch)) for symbol in patch)
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

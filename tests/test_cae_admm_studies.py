"""What is particular to the studies of CAE-ADMM, and the released code's own measures. What all promise: contracts/."""

from __future__ import annotations

import copy
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_studies import CODE, PICTURES, Made, other, plans, request, tiny

from reproduce import models
from reproduce.papers import cae_admm as study
from reproduce.papers.cae_admm import in_use
from reproduce.papers.cae_admm import plans as study_plans
from reproduce.records import RunRecord
from reproduce.runner import Request, Work
from sparsecomp import metrics
from sparsecomp.codecs import evaluate, get_codec
from sparsecomp.codecs.trained import latent_of, pruned
from sparsecomp.coding import integer_latents, range_coder
from sparsecomp.coding.container import unpack
from sparsecomp.models import cae_admm, pretrained
from sparsecomp.models.cae_admm import CaeAdmm
from sparsecomp.models.pretrained import Models
from sparsecomp.training.arithmetic import FLOAT32, Arithmetic
from sparsecomp.training.configs import Pruning
from sparsecomp.training.latent_pruning import CodeTraining

LABELS = ("unpruned", "tuned", "keep 10", "lambda 400", "released")
ROWS = ("unpruned", "keep 10", "cae-admm near 0.6", "cae-theis near 0.6", "jpeg", "jpeg2000", "jpeg2000 no transform")


@pytest.fixture(scope="module")
def own(made) -> Made:
    return made("cae_admm")


def trained_as(own: Made, label: str) -> RunRecord:
    label = "tuned" if label == "unpruned" else label  # what is compared has been trained for as many steps
    (record,) = [record for record in own.records(*study.TRAININGS) if record.config["label"] == label]
    return record


@pytest.fixture
def small():
    with tiny() as patch:
        yield patch


def put_models(own: Made, out: Path, pictures_of: str, labels: tuple[str, ...] = LABELS) -> Path:
    """Models of another training, in place of those that plans would make."""
    for name in study.TRAININGS:  # the second needs a model of the first
        for plan in plans(name, out, pictures_of):
            if plan.label in labels:
                plan.model_file.parent.mkdir(parents=True, exist_ok=True)
                plan.model_file.write_bytes(own.model_of(own.labelled(name, plan.label)).read_bytes())
    return out


def test_variants_change_one_thing_each_and_none_at_paper(own, small, tmp_path):
    base = own.labelled("cae_admm", "keep 10").config
    changed = {
        "fresh crops": {("descent", "crops"): "fresh"},
        "reflection, slope 0.25": {("descent", "slope"): 0.25, ("shape", "padding"): "reflect"},
    }
    (kept,) = [plan.config() for plan in plans("cae_admm", tmp_path, None, "laptop")
               if (plan.label, plan.seed) == ("keep 10", 0)]  # fmt: skip
    pairs = [(base, record.config) for record in own.records("cae_admm_variants")]
    assert [config["label"] for _, config in pairs] == ["fresh crops"], "the rest is the unpruned model's"
    pairs += [(kept, plan.config()) for plan in plans("cae_admm_variants", tmp_path, None, "laptop")]
    assert len(pairs) == 3
    for base, config in pairs:
        changes = changed[config["label"]]
        for part in ("descent", "shape", "pruning"):
            assert config[part] == base[part] | {name: v for (of, name), v in changes.items() if of == part}
        assert {k for k in config if config[k] != base[k]} == {"label", *(part for part, _ in changes)}
    assert not study.variant_plans(request(tmp_path, preset="paper"))


def test_rounding_at_random_writes_real_files_and_is_compared_with_the_nearest(own):
    for record in own.records("cae_admm_rounding"):
        by = trained_as(own, record.config["label"])
        assert record.config["model"] == by.result["model"]
        shown = [row["picture"] for row in record.rows]
        assert [row["setting"] for row in record.rows if row["picture"] == shown[0]] == [
            "nearest", "random 0", "random 1", "random 2"
        ]  # fmt: skip
        for row in record.rows[:2]:
            draws = None if row["setting"] == "nearest" else int(row["setting"].split()[1])
            content, _ = own.written(by, row | {"picture": Path(row["picture"]).name}, draws=draws)
            assert row["bytes"] == len(content)


def test_coarser_model_rounds_to_multiples_and_is_else_the_same(own, tmp_path):
    """For any picture, a step larger than all values leaves zeros."""
    by = trained_as(own, "lambda 400")
    stored, picture = pretrained.load(own.model_of(by)), next(iter(PICTURES.values()))
    code = latent_of(stored, picture)
    assert np.abs(code).max() > 1
    for step in (1, 2, 4, 2**12):
        path = tmp_path / f"by-{step}.safetensors"
        study.coarser(stored, step, path)
        coarse = pretrained.load(path)
        found = latent_of(coarse, picture)
        assert np.abs(step * found - code).max() <= step / 2 + 0.5 and (step < 2**12 or not found.any())
        shown, same = coarse.decode(found, *picture.shape[:2]), stored.decode(step * found, *picture.shape[:2])
        assert np.abs(shown.astype(int) - same).max() <= 1
        if step == 1:
            assert np.array_equal(found, code) and np.array_equal(coarse.counts.argmax(1), stored.counts.argmax(1))
    (record,) = [record for record in own.records("cae_admm_steps") if record.config["label"] == "lambda 400"]
    assert [row["setting"] for row in record.rows[:3]] == list(study.STEPS) == record.config["steps"]
    assert record.rows[0]["zeros"] <= record.rows[2]["zeros"]


def test_rows_say_what_became_of_their_codes(own):
    trained = {record.result["model"]: (record, model) for record, model in own.trained(*study.TRAININGS)}
    for record in own.records(*study.TRAININGS, "cae_admm_mixed"):
        options = record.config.get("options", record.result)
        if "model" not in options:
            assert not {"zeros", "nats"} & set(record.rows[0])
            continue
        by, model = trained[options["model"]]
        for row in record.rows[-2:]:
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


def test_unpruned_model_of_a_comparison_has_as_many_steps_as_the_others(own):
    before, after = (next(record for record in own.records("cae_admm_mixed") if record.config["label"] == label)
                     for label in ("unpruned", "keep 10"))  # fmt: skip
    tuned, pruned = own.labelled("cae_admm", "tuned"), own.labelled("cae_admm", "keep 10")
    assert [r.config["options"]["model"] for r in (before, after)] == [r.result["model"] for r in (tuned, pruned)]
    assert tuned.config["first"] == pruned.config["first"] and tuned.config["descent"] == pruned.config["descent"]
    assert tuned.config["pruning"] is None and tuned.config["lam"] == 0


def test_results_and_tables_are_those_of_the_stored_model(own):
    scored = {"astronaut": PICTURES["astronaut"]}
    for record, model in own.trained(*study.TRAININGS, "cae_admm_schedules"):
        result, pruning = record.result, record.config["pruning"] and Pruning(**record.config["pruning"])
        training = CodeTraining(copy.deepcopy(model.model), PICTURES, scored, CODE, pruning=pruning, seed=0)
        training.done = CODE.steps
        score = training.score()
        assert {name: result[name] for name in score} == pytest.approx(score, abs=1e-4)
        counts = integer_latents.counts_of(sum(integer_latents.histogram_of(code) for code in training.codes()))
        assert float(((counts - torch.as_tensor(model.counts)).abs().sum(1) / range_coder.TOTAL).max()) < 0.01
        there = [] if pruning is None else range(1, 6) if pruning.then == "penalty" else range(1, pruning.until + 1)
        assert result["admm"]["step"] == list(there) and ("rho" in result["admm"]) == bool(pruning and pruning.balance)


def test_what_is_pruned_is_trained_on_from_the_unpruned_model(own, small, tmp_path):
    """By its key in the record; each of the schedules changes what it says, and no other thing."""
    first = own.labelled("cae_admm_unpruned", "unpruned")
    base, schedules = own.labelled("cae_admm", "keep 10"), own.records("cae_admm_schedules")
    assert {record.config["first"] for record in (*own.records("cae_admm"), *schedules)} == {first.result["model"]}
    assert "first" not in first.config
    for record in schedules:
        wanted = base.config["pruning"] | study.SCHEDULES[record.config["label"]][1]
        assert Pruning(**record.config["pruning"]) == Pruning(**wanted)
        assert {name for name in record.config if record.config[name] != base.config[name]} == {"label", "pruning"}
    started = CaeAdmm(cae_admm.Shape(**first.config["shape"]))
    taken = []
    small.setattr(study_plans, "run", lambda training, **options: taken.append(training) or 1 / 0)
    shutil.copytree(own.out / "models", tmp_path / "models")
    plan = plans("cae_admm", tmp_path)[0]
    with pytest.raises(ZeroDivisionError):
        plan.train(Work(tmp_path, tmp_path))
    started.load_state_dict(pretrained.load(own.model_of(first)).model.state_dict())
    assert all(torch.equal(t, started.state_dict()[name]) for name, t in taken[0].model.state_dict().items())


# The mixed set --------------------------------------------------------------------------------------------------------


def test_mixed_settings_are_chosen_on_validation_pictures_alone(own, small, tmp_path):
    """What is measured is Kodak and the test pictures; before that no codec has seen one of them."""
    seen: list[np.ndarray] = []
    for name in ("latent_of", "_mean_bpp"):
        real = getattr(in_use, name)

        def note(*of, real=real):
            seen.extend(of[2] if len(of) > 2 else [of[1]])
            return real(*of)

        small.setattr(in_use, name, note)
    planned = plans("cae_admm_mixed", put_models(own, tmp_path, "kodak"), None)
    assert {picture.tobytes() for picture in seen} == {picture.tobytes() for picture in other("val").values()}
    names = [f"kodak/kodak{i}" for i in (0, 1)] + [f"bsds500/test/test{i}" for i in (0, 1)]
    assert [list(plan.shown()) for plan in planned] == [names] * len(ROWS)
    assert planned[0].config()["data"] == "mixed" and planned[0].config()["pictures"] == 4


@pytest.mark.parametrize(("label", "codec", "setting"), [("keep 10", "cae-admm", {"keep": 0.02}),
                                                         ("lambda 400", "cae-theis", {"step": 24})])  # fmt: skip
def test_setting_near_a_rate_has_the_quality_of_its_files(own, small, label, codec, setting):
    """A pruned code keeps a share, an estimated one has a step."""
    model, scored = str(own.model_of(trained_as(own, label))), list(PICTURES.values())

    def measured(options):
        """The rate of the values alone, and SSIM."""
        own_codec = get_codec(codec, models=Models(model), **({"model": model} | options))
        found = [evaluate(own_codec, picture) for picture in scored]
        values = [8 * len(unpack(of.data).sections["values"]) / picture[..., 0].size
                  for of, picture in zip(found, scored, strict=True)]  # fmt: skip
        return float(np.mean(values)), float(np.mean([of.ssim for of in found]))

    rate, _ = measured(setting)
    small.setattr(in_use, "NEAR", rate)
    ssim, options = in_use._near(model, scored)
    assert set(options) == {"model", *setting}
    assert measured(options) == pytest.approx((rate, ssim), rel=0.1) and ssim == pytest.approx(measured(options)[1])


def test_mixed_plans_take_the_best_of_the_models_near_that_rate(small, tmp_path):
    """Of each codec's own, and of the first seed: not the unpruned one, nor the controls."""
    (tmp_path / "models").mkdir()
    for plan in plans("cae_admm", tmp_path, None, "laptop"):
        plan.model_file.write_bytes(b"")
    ssim, asked = {"keep-40": 0.5, "keep-20": 0.9, "keep-10": 0.8, "lambda-150": 0.7, "lambda-400": 0.6}, []

    def near(model, scored):
        asked.append(Path(model).stem.removeprefix("code-").removesuffix("-seed-0-laptop"))
        return ssim.get(asked[-1], 0.0), {"model": model, "keep": 0.3}

    small.setattr(in_use, "_near", near)
    small.setattr(in_use, "_mean_bpp", lambda codec, options, scored: options["quality"] / 100)
    planned = {plan.label: plan for plan in plans("cae_admm_mixed", tmp_path, None, "laptop")}
    assert list(planned) == list(ROWS) and {plan.count for plan in planned.values()} == {None}
    chosen = {label: (plan.codec, Path(plan.options.pop("model", "")).stem, plan.options)
              for label, plan in planned.items()}  # fmt: skip
    assert chosen == {
        "unpruned": ("cae-admm", "code-unpruned-seed-0-laptop", {}),
        "keep 10": ("cae-admm", "code-keep-10-seed-0-laptop", {}),
        "cae-admm near 0.6": ("cae-admm", "code-keep-20-seed-0-laptop", {"keep": 0.3}),
        "cae-theis near 0.6": ("cae-theis", "code-lambda-150-seed-0-laptop", {"keep": 0.3}),
        "jpeg": ("jpeg", "", {"quality": 60}), "jpeg2000": ("jpeg2000", "", {"rate": 0.6}),
        "jpeg2000 no transform": ("jpeg2000", "", {"rate": 0.6, "colour_transform": False}),
    }  # fmt: skip
    estimated = [label for label in study.ESTIMATED if label != study.LOWEST]
    assert asked == [label.replace(" ", "-") for label in (*study.PRUNED, *estimated)]


def test_tables_need_all_models_that_they_show_and_no_other(own, small, tmp_path):
    few = put_models(own, tmp_path / "few", "bundled", labels=LABELS[:3])
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


@pytest.mark.parametrize(("height", "width"), [(270, 256), (100, 170)])
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


def test_preset_trains_in_its_own_precision_unless_another_is_asked_for(tmp_path):
    asked = Request("desktop", tmp_path, planned=True)
    assert {plan.arithmetic for plan in study.code_plans(asked)} == {Arithmetic("bfloat16")}
    assert {plan.arithmetic for plan in study.code_plans(replace(asked, arithmetic=FLOAT32))} == {FLOAT32}
    assert {plan.arithmetic for plan in study.code_plans(replace(asked, preset="laptop"))} == {FLOAT32}
    compiled = study.code_plans(replace(asked, compiled=True))
    assert {plan.arithmetic for plan in compiled} == {Arithmetic("bfloat16", True)}


def test_plan_that_begins_with_a_model_says_how_to_make_it(tmp_path):
    plan = next(plan for plan in study.code_plans(Request("desktop", tmp_path, planned=True)) if plan.seed == 2)
    with pytest.raises(ValueError, match="^there is no model code-unpruned-seed-2-desktop-bfloat16: make it first"):
        plan.train(Work(tmp_path, tmp_path))

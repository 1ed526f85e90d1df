"""The studies of CAE-ADMM on tiny pictures: what is trained, what is measured, and the released code's own measures."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sparsecomp.coding.bitstream import unpack

from sparsecomp import codecs, complexity, data, metrics, profiles, results, studies
from sparsecomp.codecs import get_codec
from sparsecomp.codecs.trained import draw, latent_of, pruned, read_symbols
from sparsecomp.coding import histograms
from sparsecomp.models import pretrained
from sparsecomp.models.cae_admm import CaeAdmm, Shape
from sparsecomp.models.pretrained import Models
from sparsecomp.profiles import CodeDescent, FitBudget, Profile, Pruning, as_dict
from sparsecomp.studies import cae_admm as study
from sparsecomp.studies import trainings
from sparsecomp.training.latent_pruning import CodeTraining
from sparsecomp.training.loop import Paused

CODE = CodeDescent(
    steps=5, lr=0.02, warmup=1, batch=2, crop=104, codes=4, mse_steps=1, settle=3, momentum=0.5, score_every=1
)
PRUNING = Pruning(interval=2)
# Named smoke: a study knows by the name that it has to be short.
TINY = Profile("smoke", FitBudget(steps=2, lr=5e-3), ("2x6",), 2, code=CODE, pruning=PRUNING, code_width=8,
               code_depth=1)  # fmt: skip
LABELS = ("unpruned", "keep 10", "lambda 400", "released")
SECONDS = ("encode_seconds", "decode_seconds", "seconds")
POINTS = 4  # of a history, here
HEIGHT, WIDTH = 165, 170


def pictures() -> dict[str, np.ndarray]:
    every = data.bundled()
    places = {"astronaut": (20, 140), "chelsea": (60, 130), "coffee": (60, 150)}
    return {name: np.ascontiguousarray(every[name][top : top + HEIGHT, left : left + WIDTH])
            for name, (top, left) in places.items()}  # fmt: skip


PICTURES = pictures()
SHOWN = {name: PICTURES[name] for name in ("astronaut", "chelsea")}  # two of three
KODAK = {f"kodim{i}": p[::-1].copy() for i, p in enumerate(PICTURES.values())}


def bsds500(split: str) -> dict[str, np.ndarray]:
    return {f"{split}{i}": np.roll(p, 1 + len(split), 1) for i, p in enumerate(PICTURES.values())}


@pytest.fixture(scope="module")
def tiny():
    """Three small pictures in place of each set, few points in a history, models nowhere but with their study."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "bundled", lambda: dict(PICTURES))
        patch.setattr(data, "kodak", lambda: dict(KODAK))
        patch.setattr(data, "bsds500", bsds500)
        patch.setattr(results, "HISTORY_POINTS", POINTS)
        trainings.pictures.cache_clear()
        yield patch
    trainings.pictures.cache_clear()


def setup(out: Path, **options) -> studies.Setup:
    return studies.Setup(TINY, out, **({"report": lambda line: None} | options))


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory) -> dict[str, list[results.RunRecord] | Path]:
    """Both studies, once."""
    out = tmp_path_factory.mktemp("out")
    found = {"out": out}
    for name in ("cae_admm", "cae_admm_mixed"):
        paths = studies.STUDIES[name](setup(out, commit="abc"), "bundled")
        assert all(path.parent == out / name and path.exists() for path in paths)
        found[name] = [results.read(path) for path in paths]
    return found


def model_of(made, record: results.RunRecord) -> Path:
    return made["out"] / "models" / f"{record.result['file']}.safetensors"


def labelled(made, label: str, name: str = "cae_admm") -> results.RunRecord:
    (record,) = [r for r in made[name] if r.config["label"] == label]
    return record


def timeless(record: results.RunRecord) -> tuple[dict, list[dict], dict]:
    rows = [{key: value for key, value in row.items() if key not in SECONDS} for row in record.rows]
    return record.config, rows, {key: value for key, value in record.result.items() if key not in SECONDS}


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# What is planned ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned() -> list[study.CodePlan]:
    return study.plans(studies.Setup(profiles.get("laptop"), Path("out"), seed=5), "kodak")


def test_the_plans_are_one_change_each_from_one_start(planned):
    first = [plan for plan in planned if plan.seed == 5]
    base, plain = profiles.get("laptop").pruning, first[0]
    keeps, prices = (0.4, 0.2, 0.1, 0.05), (50, 150, 400, 1000)
    pruning = {f"keep {100 * keep:g}": replace(base, keep=keep) for keep in keeps}
    pruning |= {
        "released": Pruning(z_update="released", state="data_set", penalty="norm", interval=base.interval),
    }
    assert base.keep == 0.1 and base.state == "per_code" and base.z_update == "top_l" and base.penalty == "square"
    pruning |= {f"rho {rho:g}": replace(base, rho=rho) for rho in (0.03, 0.3)}
    pruning["every 256"] = replace(base, interval=256)
    assert 256 == plain.descent.codes // plain.descent.batch, "an epoch"
    expected = {"unpruned": {}, "16 channels": {"shape": replace(plain.shape, latent=16)}}
    expected |= {label: {"pruning": of} for label, of in pruning.items()}
    expected |= {f"lambda {lam}": {"lam": lam} for lam in prices}
    assert [plan.label for plan in first] == [
        "unpruned", "keep 40", "keep 20", "keep 10", "keep 5", "lambda 50", "lambda 150", "lambda 400", "lambda 1000",
        "rho 0.03", "rho 0.3", "every 256", "released", "16 channels",
    ]  # fmt: skip
    for plan in first:
        searched = plan.label.startswith(("keep", "lambda"))
        assert plan == replace(plain, label=plan.label, search=searched, **expected[plan.label])
        assert plan.codec == ("cae-theis" if plan.label.startswith("lambda") else "cae-admm")
    profile = profiles.get("laptop")
    assert (plain.descent, plain.shape) == (profile.code, Shape(profile.code_width, 32, profile.code_depth))
    assert (plain.train_on, plain.validate_on, plain.search) == ("bsds500/train", "bsds500/val", False)


def test_the_headline_is_run_from_several_seeds(planned):
    seeds = list(range(5, 5 + study.SEEDS))
    assert study.SEEDS >= 2 and study.HEADLINE == ("keep 10", "lambda 400")
    for label in {plan.label for plan in planned}:
        own = [plan for plan in planned if plan.label == label]
        assert [plan.seed for plan in own] == (seeds if label in study.HEADLINE else [5]), label
        assert all(plan == replace(own[0], seed=plan.seed, search=False) for plan in own[1:])
    names = [plan.name("laptop") for plan in planned]
    assert len(set(names)) == len(names) == 14 + 2 * len(seeds[1:]) and "code-keep-10-seed-6-laptop" in names


def test_the_plans_of_smoke_are_one_of_a_kind():
    found = study.plans(setup(Path("out")), "bundled")
    assert [plan.label for plan in found] == list(LABELS) and not any(plan.search for plan in found)
    assert {(plan.train_on, plan.validate_on, plan.seed) for plan in found} == {("bundled", "bundled", 0)}
    own = study.plans(setup(Path("out"), train_on=Path("/some/where/mine")), "kodak")[0]
    assert (own.train_on, own.validate_on) == ("/some/where/mine", "bsds500/val")
    assert own.name("smoke") == "code-unpruned-seed-0-mine-smoke"


def test_what_begins_begins_alike(tiny, tmp_path, monkeypatch):
    """With and without the pruning, with and without an estimate: the same first values, crops, and their order."""
    begun = {}

    def note(training, **options):
        begun[training.pruning, training.lam] = training
        raise Paused("noted")

    monkeypatch.setattr(study.loop, "run", note)
    with pytest.raises(Paused):
        study.cae_admm(setup(tmp_path, seed=3), "bundled")
    assert {key for key in begun} == {(None, 0.0), (replace(PRUNING, keep=0.1), 0.0), (None, 400.0),
                                      (replace(study.RELEASED, interval=2), 0.0)}  # fmt: skip
    (plain, *others), start = begun.values(), CaeAdmm(Shape(8, 32, 1), 3).state_dict()
    for training in (plain, *others):
        state = training.model.state_dict()
        assert state.keys() == start.keys() and all(torch.equal(state[name], t) for name, t in start.items())
        assert torch.equal(training.crops, plain.crops) and training.seed == 3
        assert torch.equal(training._which(), plain._which())


def test_pruning_has_time_to_work():
    """At least 15 updates of Z and U; and the paper's are 15 of 20 epochs each."""
    for name, profile in profiles.PROFILES.items():
        updates = profile.code.steps // profile.pruning.interval
        assert updates >= 15 and profile.pruning.interval > (0 if name == "smoke" else 50), name
    paper = profiles.get("paper")
    epoch = paper.code.codes // paper.code.batch
    assert (paper.code.steps / epoch, paper.pruning.interval / epoch) == (300, 20)


# Records of trainings -------------------------------------------------------------------------------------------------


def test_configurations_say_all_that_decides(made):
    assert [r.config["label"] for r in made["cae_admm"]] == list(LABELS)
    pruning = {"keep 10": replace(PRUNING, keep=0.1), "released": replace(study.RELEASED, keep=0.1, interval=2)}
    for record in made["cae_admm"]:
        label, own = record.config["label"], pruning.get(record.config["label"])
        assert record.config == json.loads(json.dumps({
            "profile": "smoke", "seed": 0, "device": "cpu", "data": "bundled", "pictures": 2,
            "data_sha256": data.fingerprint(SHOWN), "label": label,
            "codec": "cae-theis" if label == "lambda 400" else "cae-admm", "descent": as_dict(CODE),
            "shape": {"width": 8, "latent": 32, "depth": 1}, "pruning": as_dict(own) if own else None,
            "lam": 400.0 if label == "lambda 400" else 0.0,
            "train": {"data": "bundled", "pictures": 3, "sha256": data.fingerprint(PICTURES)},
            "validation": {"data": "bundled", "pictures": 3, "sha256": data.fingerprint(PICTURES)},
        }))  # fmt: skip
        assert record.schema == results.SCHEMA and record.environment["commit"] == "abc"
        assert record.wall_seconds == pytest.approx(record.result["seconds"], abs=0.06)
        assert record.name == f"code-{label.replace(' ', '-')}-seed-0-bundled-smoke"
    assert not list((made["out"] / "cae_admm").rglob(".partial/*"))


def test_models_are_there_and_named_by_their_key(made):
    keys = set()
    for record in made["cae_admm"]:
        stored, plan = pretrained.load(model_of(made, record)), record.config
        keys.add(stored.key)
        assert stored.key == record.result["model"] and stored.name == record.result["file"]
        assert stored.codec == plan["codec"] and stored.model.shape == Shape(8, 32, 1)
        assert stored.about == {
            "codec": plan["codec"], "label": plan["label"], "seed": 0, "lam": plan["lam"], "steps": 5,
            "keep": plan["pruning"]["keep"] if plan["pruning"] else 1.0, "search": False, "profile": "smoke",
        }  # fmt: skip
    assert len(keys) == len(LABELS) == len(list((made["out"] / "models").iterdir()))


def test_rows_are_of_real_files(made):
    for record in made["cae_admm"]:
        path, label = model_of(made, record), record.config["label"]
        stored, shares = pretrained.load(path), (1.0,) if label == "released" else (1.0, 0.2, 0.1, 0.05)
        assert [(row["picture"], row["setting"]) for row in record.rows] == [
            (name, share) for name in SHOWN for share in shares
        ]
        models = Models(path)
        for row in record.rows:
            image, share = SHOWN[row["picture"]], row["setting"]
            options = {"model": str(path), "models": models, "keep": None if share == 1 else share}
            written = get_codec(record.config["codec"], **options).encode(image)
            shown = codecs.decode(written, models=models)
            assert row["bytes"] == len(written)
            assert row["bpp"] == pytest.approx(8 * len(written) / (HEIGHT * WIDTH), abs=1e-5)
            pair = {"reference": image, "reconstruction": shown}
            for name in ("psnr", "ssim", "ms_ssim"):
                assert row[name] == pytest.approx(getattr(metrics, name)(**pair), abs=2e-5), name
            sent, symbols, _ = read_symbols(unpack(written), models)
            assert sent.key == stored.key and row["zeros"] == pytest.approx((symbols == 0).mean(), abs=1e-5)
            assert row["nats"] == pytest.approx(study.released_bpp(symbols), abs=1e-5)
            assert row["ssim_patches"] == pytest.approx(study.patch_ssim(image, shown), abs=1e-5)
            code = latent_of(stored, image)
            assert np.array_equal(symbols, code if share == 1 else pruned(code, share))
            if share < 1:
                assert np.count_nonzero(symbols) == min(np.count_nonzero(code), round(share * code.size))
            estimate = histograms.bits(symbols, stored.counts, histograms.threshold_of(symbols))
            assert row["estimated_bits"] == round(estimate) and 0 < 8 * row["bytes"] - estimate < 8 * 60
        if len(shares) > 1:
            zeros = [row["zeros"] for row in record.rows if row["picture"] == "astronaut"]
            assert zeros == sorted(zeros) and zeros[-1] > zeros[0] and zeros[2] >= 0.9


def test_results_are_those_of_the_stored_model(made):
    for record in made["cae_admm"]:
        stored, result = pretrained.load(model_of(made, record)), record.result
        training = CodeTraining(copy.deepcopy(stored.model), PICTURES, PICTURES, CODE, seed=0)
        psnr, rate, ssim, ms_ssim, zeros = training.score().values()
        assert [result[name] for name in ("psnr", "estimated_bpp", "ssim", "ms_ssim", "zeros")] == pytest.approx(
            [psnr, rate, ssim, ms_ssim, zeros], abs=1e-3
        )
        counts = histograms.counts_of(sum(histograms.histogram_of(code) for code in training.codes()))
        told = (counts - torch.as_tensor(stored.counts)).abs().sum(1) / histograms.TOTAL
        assert float(told.max()) < 0.01, "the tables are of other codes than the stored model's"
        shape, pixels = (1, 3, 64, 64), 64 * 64
        assert result["macs"] == complexity.count_macs(stored.model.encoder, shape) / pixels
        assert result["macs_decoder"] == complexity.count_macs(stored.model.decoder, (1, 32, 8, 8)) / pixels
        assert result["skipped"] == 0


def test_histories_are_thinned(made):
    for record in made["cae_admm"]:
        history, admm = record.result["history"], record.result["admm"]
        assert list(history) == ["step", "loss", "psnr", "estimated_bpp", "ssim", "ms_ssim", "zeros"]
        assert {len(column) for column in history.values()} == {POINTS} and history["step"] == [1, 2, 4, 5]
        assert all(map(math.isfinite, history["loss"])) and list(admm) == ["step", "primal", "dual", "zeros"]
        assert record.result["psnr"] == pytest.approx(history["psnr"][-1], abs=0.1), "fp16 changes little"
        expected = [2, 4] if record.config["pruning"] else []
        assert admm["step"] == expected and {len(column) for column in admm.values()} == {len(expected)}
        assert all(0 <= zeros <= 1 for zeros in admm["zeros"])
    one, two = (labelled(made, label).result["history"]["loss"] for label in ("unpruned", "keep 10"))
    assert one[0] == two[0] and one[-1] != two[-1], "from the same start"


# The mixed set --------------------------------------------------------------------------------------------------------

ROWS = ("unpruned", "keep 10", "cae-admm near 0.6", "cae-theis near 0.6", "jpeg", "jpeg2000", "jpeg2000 no transform")


def test_tables_have_a_record_for_every_row(made):
    assert [record.config["label"] for record in made["cae_admm_mixed"]] == list(ROWS)
    models = {label: labelled(made, label).result["model"] for label in LABELS}
    for record in made["cae_admm_mixed"]:
        config, label = record.config, record.config["label"]
        options = config["options"]
        of = {"unpruned": "unpruned", "keep 10": "keep 10", "cae-admm near 0.6": "keep 10",
              "cae-theis near 0.6": "lambda 400"}  # fmt: skip
        expected = models.get(of.get(label))
        assert options.get("model") == expected, "by its key, not by a place on one machine"
        codec = {"jpeg": "jpeg", "cae-theis near 0.6": "cae-theis"}.get(label, "cae-admm" if expected else "jpeg2000")
        assert config == {
            "profile": "smoke", "seed": 0, "device": "cpu", "data": "bundled", "pictures": 1,
            "data_sha256": data.fingerprint({"bundled/astronaut": PICTURES["astronaut"]}),
            "codec": codec, "label": label, "options": options,
        }  # fmt: skip
        assert record.result == {"side_by_side": 1}
        assert record.name == f"{label.replace(' ', '-')}-smoke" and record.environment["commit"] == "abc"
        (row,) = record.rows
        assert (row["picture"], row["setting"]) == ("bundled/astronaut", 1.0)
        assert row["encode_seconds"] > 0 and row["decode_seconds"] > 0
        assert ("zeros" in row) == ("nats" in row) == (expected is not None)
    options = {record.config["label"]: record.config["options"] for record in made["cae_admm_mixed"]}
    assert options["jpeg2000"] == {"rate": 0.6}
    assert options["jpeg2000 no transform"] == {"rate": 0.6, "colour_transform": False}


def test_rows_of_the_tables_are_of_real_files(made):
    image, paths = PICTURES["astronaut"], {r.result["model"]: str(model_of(made, r)) for r in made["cae_admm"]}
    models = Models(made["out"] / "models")
    for record in made["cae_admm_mixed"]:
        options, (row,) = dict(record.config["options"]), record.rows
        if "model" in options:
            options |= {"model": paths[options["model"]], "models": models}
        written = get_codec(record.config["codec"], **options).encode(image)
        shown = codecs.decode(written, models=models)
        assert row["bytes"] == len(written) and 8 * row["bytes"] == row["estimated_bits"]
        assert row["psnr"] == pytest.approx(metrics.psnr(reference=image, reconstruction=shown), abs=1e-5)
        assert row["ssim_patches"] == pytest.approx(study.patch_ssim(image, shown), abs=1e-5)
        if "model" in options:
            symbols = read_symbols(unpack(written), models)[1]
            assert row["zeros"] == pytest.approx((symbols == 0).mean(), abs=1e-5)
            assert row["nats"] == pytest.approx(study.released_bpp(symbols), abs=1e-5)


def test_the_jpeg_is_the_one_nearest_on_validation_pictures(made):
    quality = labelled(made, "jpeg", "cae_admm_mixed").config["options"]["quality"]

    def away(q: int) -> float:
        rates = [8 * len(get_codec("jpeg", quality=q).encode(p)) / (HEIGHT * WIDTH) for p in PICTURES.values()]
        return abs(float(np.mean(rates)) - 0.6)

    assert away(quality) <= min(away(q) for q in range(max(5, quality - 2), quality + 3) if q != quality)


def test_settings_are_chosen_on_validation_pictures_alone(made, tmp_path, monkeypatch):
    """What is measured is Kodak and the test pictures; before that no codec has seen one of them."""
    validation = {data.fingerprint({"p": p}) for p in bsds500("val").values()}
    measured = {f"kodak/{name}": p for name, p in KODAK.items()}
    measured |= {f"bsds500/test/{name}": p for name, p in bsds500("test").items()}
    first = {data.fingerprint({"p": measured[name]}) for name in ("kodak/kodim0", "bsds500/test/test0")}
    assert not validation & {data.fingerprint({"p": p}) for p in measured.values()}
    own = setup(tmp_path)
    for plan in study.plans(own, "kodak"):  # the models stand in for those of another training
        path = trainings.model_path(own, plan)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model_of(made, labelled(made, plan.label)).read_bytes())
    chosen_on, reported_on, chosen = set(), set(), []
    kept = {name: getattr(study, name) for name in ("latent_of", "_mean_bpp", "evaluate", "_table_rows")}

    def seen(picture) -> str:
        return data.fingerprint({"p": picture})

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
        monkeypatch.setattr(study, name, function)
    paths = study.cae_admm_mixed(own)
    assert chosen == [validation] and reported_on == first
    assert [[row["picture"] for row in results.read(path).rows] for path in paths] == [
        ["kodak/kodim0", "bsds500/test/test0"]
    ] * len(ROWS)
    whole = study._mixed(replace(own, profile=replace(TINY, name="laptop")), "mixed")
    assert list(whole) == list(measured) and all(np.array_equal(whole[name], p) for name, p in measured.items())


def test_the_share_that_is_kept_comes_nearest_to_its_rate(made, monkeypatch):
    path = str(model_of(made, labelled(made, "unpruned")))
    stored, scored = pretrained.load(path), list(PICTURES.values())
    codes = [latent_of(stored, picture) for picture in scored]

    def rate(share: float) -> float:
        own = [pruned(code, share) for code in codes]
        return float(np.mean([histograms.bits(c, stored.counts, histograms.threshold_of(c)) for c in own])) / (
            HEIGHT * WIDTH
        )

    whole = rate(1.0)
    for target in (0.5 * whole, whole):
        monkeypatch.setattr(study, "NEAR", target)
        ssim, options = study._near(path, scored)
        share = options.get("keep", 1.0)
        assert abs(rate(share) - target) <= min(abs(rate(min(1.0, share * f)) - target) for f in (0.9, 1.12)) + 1e-9
        drawn = [draw(stored, pruned(c, share), HEIGHT, WIDTH) for c in codes]
        expected = [metrics.ssim(reference=p, reconstruction=d) for p, d in zip(scored, drawn, strict=True)]
        assert ssim == pytest.approx(np.mean(expected), abs=1e-6) and ("keep" in options) == (target < whole)
    monkeypatch.setattr(study, "NEAR", 3 * whole)
    assert study._near(path, scored) == (0.0, {"model": path}), "out of reach: as good as nothing"


def test_of_the_models_near_that_rate_the_best_is_taken(tiny, tmp_path, monkeypatch):
    """Of each codec's own, and of the first seed: not the unpruned one, nor the controls."""
    own = studies.Setup(profiles.get("laptop"), tmp_path)
    for plan in study.plans(own, "kodak"):
        path = trainings.model_path(own, plan)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    ssim, asked = {"keep-40": 0.5, "keep-20": 0.9, "keep-10": 0.8, "lambda-150": 0.7, "lambda-400": 0.6}, []

    def near(model, scored):
        asked.append(Path(model).stem)
        label = asked[-1].removeprefix("code-").removesuffix("-seed-0-laptop")
        return ssim.get(label, 0.0), {"model": model, "keep": 0.3}

    monkeypatch.setattr(study, "_near", near)
    monkeypatch.setattr(study, "_mean_bpp", lambda codec, options, scored: options["quality"] / 100)
    rows = study._table_rows(own, "mixed")
    assert list(rows) == list(ROWS) and rows["jpeg"] == ("jpeg", {"quality": 60})
    for codec, label in (("cae-admm", "keep-20"), ("cae-theis", "lambda-150")):
        model = str(tmp_path / "models" / f"code-{label}-seed-0-laptop.safetensors")
        assert rows[f"{codec} near 0.6"] == (codec, {"model": model, "keep": 0.3})
    labels = [label.replace(" ", "-") for label in (*study.PRUNED, *study.ESTIMATED)]
    assert asked == [f"code-{label}-seed-0-laptop" for label in labels]


def test_a_missing_model_is_named_with_its_study(made, tmp_path):
    with pytest.raises(ValueError) as caught:
        study.cae_admm_mixed(setup(tmp_path), "bundled")
    assert "code-unpruned-seed-0-bundled-smoke" in str(caught.value) and "\n" not in str(caught.value)
    assert re.search(r"`sparsecomp study cae_admm`", str(caught.value))
    own = setup(tmp_path)
    of_tables = study.plans(own, "bundled")[:3]  # the tables do without "released"
    for plan in of_tables[:-1]:
        path = trainings.model_path(own, plan)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="code-lambda-400-seed-0-bundled-smoke"):
        study.cae_admm_mixed(own, "bundled")
    with pytest.raises(ValueError, match="data='imagenet'"):
        study.cae_admm(setup(tmp_path), "imagenet")
    assert not list(tmp_path.rglob("*.json"))


def test_tables_need_no_model_that_they_do_not_show(made, tmp_path):
    own = setup(tmp_path)
    for plan in study.plans(own, "bundled"):
        if plan.label != "released":
            path = trainings.model_path(own, plan)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(trainings.model_path(setup(made["out"]), plan).read_bytes())
    paths = study.cae_admm_mixed(own, "bundled")
    assert [timeless(results.read(path)) for path in paths] == [timeless(r) for r in made["cae_admm_mixed"]]


# Again, later, elsewhere ----------------------------------------------------------------------------------------------


def test_finished_studies_do_nothing(made, monkeypatch):
    before, said = files(made["out"]), []
    for name in ("_descend", "_measure", "finish", "evaluate"):
        monkeypatch.setattr(study, name, lambda *a, **k: pytest.fail("it was made again"))
    for name in ("cae_admm", "cae_admm_mixed"):
        paths = studies.STUDIES[name](setup(made["out"], report=said.append), "bundled")
        assert [results.read(path) for path in paths] == made[name]
    assert files(made["out"]) == before
    assert sum("the record is there" in line for line in said) == len(LABELS)


def test_half_a_run_is_continued_to_the_same_record(made, tmp_path, monkeypatch):
    monkeypatch.setattr(studies.Setup, "seconds_left", lambda setup: 0.0)  # one step a call
    steps, real = [], CodeTraining.step
    monkeypatch.setattr(CodeTraining, "step", lambda self: (steps.append(self.done), real(self))[1])
    pauses = 0
    while True:
        try:
            paths = study.cae_admm(setup(tmp_path), "bundled")
            break
        except Paused:
            pauses += 1
            assert len(list((tmp_path / "cae_admm" / ".partial").glob("*.safetensors"))) == len(LABELS)
            assert not results.records("cae_admm", tmp_path), "half a run was counted"
        assert pauses < 40
    assert pauses == CODE.steps - 1 and len(steps) == len(LABELS) * CODE.steps, "no step was taken twice"
    for path, record in zip(paths, made["cae_admm"], strict=True):
        assert timeless(results.read(path)) == timeless(record)
        stored = (folder / "models" / f"{record.result['file']}.safetensors" for folder in (tmp_path, made["out"]))
        assert len({path.read_bytes() for path in stored}) == 1
    assert not list((tmp_path / "cae_admm" / ".partial").iterdir())


def test_no_time_means_no_row(made, tmp_path, monkeypatch):
    with pytest.raises(Paused):
        study.cae_admm(setup(tmp_path / "none", max_minutes=0), "bundled")
    assert results.records("cae_admm", tmp_path / "none") == []
    own = tmp_path / "out"
    (own / "models").mkdir(parents=True)
    for path in (made["out"] / "models").iterdir():
        (own / "models" / path.name).write_bytes(path.read_bytes())
    left = itertools.chain([9.0, 9.0], itertools.repeat(0.0))
    with monkeypatch.context() as patch:
        patch.setattr(studies.Setup, "seconds_left", lambda setup: next(left))
        with pytest.raises(Paused):
            study.cae_admm_mixed(setup(own), "bundled")
    there = results.records("cae_admm_mixed", own)
    assert {record.config["label"] for record in there} == set(ROWS[:2]), "a row is there as a whole or not at all"
    paths = study.cae_admm_mixed(setup(own), "bundled")
    assert [timeless(results.read(path)) for path in paths] == [timeless(r) for r in made["cae_admm_mixed"]]


def test_a_run_killed_while_it_was_measured_is_not_trained_again(made, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(study, "_measure", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            study.cae_admm(setup(tmp_path), "bundled")
    assert results.records("cae_admm", tmp_path) == []
    monkeypatch.setattr(CodeTraining, "step", lambda self: pytest.fail("trained again"))
    for path, record in zip(study.cae_admm(setup(tmp_path), "bundled"), made["cae_admm"], strict=True):
        assert timeless(results.read(path)) == timeless(record)


def test_other_seeds_and_sets_are_other_records_and_other_models(made, tmp_path, monkeypatch):
    plans = study.plans
    monkeypatch.setattr(study, "plans", lambda *arguments: plans(*arguments)[1:2])
    paths = [study.cae_admm(setup(tmp_path, seed=seed), name)[0] for seed, name in
             ((0, "bundled"), (1, "bundled"), (0, "kodak"))]  # fmt: skip
    found = [results.read(path) for path in paths]
    assert len(set(paths)) == 3 == len({r.result["model"] for r in found})
    assert timeless(found[0]) == timeless(labelled(made, "keep 10")) and [r.config["seed"] for r in found] == [0, 1, 0]
    assert (
        found[2].config["train"]["data"] == "bsds500/train" and found[2].config["validation"]["data"] == "bsds500/val"
    )
    assert {row["picture"] for row in found[2].rows} == {"kodim0", "kodim1"}
    for record in found:
        path = tmp_path / "models" / f"{record.result['file']}.safetensors"
        assert pretrained.load(path).key == record.result["model"], "another training took its place"


def test_further_seeds_are_measured_as_they_are(planned):
    own = studies.Setup(profiles.get("laptop"), Path("out"), seed=5)
    for plan in planned:
        if plan.seed != 5:
            expected = (1.0,)
        elif plan.label in ("unpruned", "keep 10", "lambda 400"):
            expected = (1.0, 0.2, 0.1, 0.05)
        else:
            expected = (1.0, plan.pruning.keep) if plan.label.startswith("keep") else (1.0,)
        assert study._shares(own, plan) == expected, plan.label


# The released code's way of measuring ---------------------------------------------------------------------------------


def nats(symbols: list[int]) -> float:
    return -sum(symbols.count(s) * math.log(symbols.count(s) / len(symbols)) for s in set(symbols))


def test_the_released_rate_of_one_patch():
    """Half of the 2 x 16 x 16 symbols are 0, a quarter 1 and a quarter -3: 1.5 bits a symbol."""
    symbols = np.zeros((2, 16, 16), np.int32)
    symbols[0, :8], symbols[0, 8:] = 1, -3
    assert study.released_bpp(symbols) == pytest.approx(1.5 * math.log(2) * 512 / 128**2)
    assert study.released_bpp(np.full((4, 16, 16), 7, np.int32)) == 0
    swapped = symbols.copy()
    swapped[1], swapped[0] = symbols[0], symbols[1]
    assert study.released_bpp(swapped) == pytest.approx(study.released_bpp(symbols)), "all channels are one histogram"


def test_the_released_rate_is_the_mean_of_patches_by_their_size():
    symbols = np.random.default_rng(0).integers(-2, 3, (3, 21, 37)).astype(np.int32)
    symbols[:, :16, :16] = 0
    total = 0.0
    for rows in (slice(0, 16), slice(16, 21)):
        for columns in (slice(0, 16), slice(16, 32), slice(32, 37)):
            total += nats(symbols[:, rows, columns].ravel().tolist())
    assert study.released_bpp(symbols) == pytest.approx(total / (21 * 37 * 64))
    same_for_all = nats(symbols.ravel().tolist()) / (21 * 37 * 64)
    assert study.released_bpp(symbols) < same_for_all, "a histogram for each"


@pytest.mark.parametrize(("height", "width"), [(128, 128), (128, 300), (270, 256), (257, 383)])
def test_ssim_of_patches_is_their_mean(height, width):
    drawn = np.random.default_rng(height)
    reference = np.tile(PICTURES["coffee"], (2, 3, 1))[:height, :width]
    reconstruction = (reference // 2 + drawn.integers(0, 60, reference.shape)).astype(np.uint8)
    expected = []
    for row in range(height // 128):
        for column in range(width // 128):
            patch = (slice(128 * row, 128 * row + 128), slice(128 * column, 128 * column + 128))
            expected.append(metrics.ssim(reference=reference[patch], reconstruction=reconstruction[patch]))
    assert study.patch_ssim(reference, reconstruction) == pytest.approx(np.mean(expected))
    whole = metrics.ssim(reference=reference, reconstruction=reconstruction)
    assert (study.patch_ssim(reference, reconstruction) == pytest.approx(whole, abs=1e-9)) == (height == width == 128)


def test_a_picture_smaller_than_a_patch_is_one():
    reference = PICTURES["coffee"][:100, :170]
    reconstruction = reference // 2
    expected = metrics.ssim(reference=reference, reconstruction=reconstruction)
    assert study.patch_ssim(reference, reconstruction) == expected
    assert study.patch_ssim(reference[:5], reconstruction[:5]) is None, "where SSIM is not defined"


def test_row_of_a_picture_without_an_ssim_holds_null(monkeypatch, tmp_path):
    """Of a picture of 10 x 170 pixels neither SSIM nor its patches are defined; its other numbers are."""
    small = PICTURES["coffee"][:10, :170]
    monkeypatch.setattr(study, "_mixed", lambda setup, of: {"small": small})
    (row,) = study._table_row(setup(tmp_path), "jpeg", {"quality": 30}, "mixed")
    assert row["ssim"] is None and row["ssim_patches"] is None and row["psnr"] > 10
    assert json.loads(json.dumps(row, allow_nan=False)) == row

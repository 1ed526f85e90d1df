"""What the verdicts on CAE-ADMM make of records, against numbers told by hand; and what all real records must have."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import records as made

from sparsecomp import verdicts
from sparsecomp.studies.cae_admm import PRUNED, SEEDS, VARIED
from sparsecomp.verdicts import cae_admm


def weighed() -> dict[str, verdicts.Verdict]:
    return {claim.key: claim.weigh() for claim in cae_admm.claims()}


# Records --------------------------------------------------------------------------------------------------------------


def test_training_counts_if_it_was_trained_on_the_set_and_measured_on_kodak(kept):
    kept(made.training("keep 10"), made.training("keep 10", 1, train="mine"))
    kept(made.training("keep 20", profile="smoke"), made.training("unpruned", train="mine"))
    assert cae_admm.labels() == ["keep 10"] and cae_admm.seeds_of("keep 10") == [0]
    assert cae_admm.training("keep 10").result["model"] == "keep 10 0"
    for label, seed in (("keep 10", 1), ("unpruned", 0), ("keep 20", 0)):
        with pytest.raises(LookupError, match="sparsecomp study cae_admm --profile laptop"):
            cae_admm.training(label, seed)
    kept(made.mixed("keep 10", 1.0, model="a reader's own"), made.mixed("jpeg", 1.0))
    with pytest.raises(LookupError, match="cae_admm_mixed"):
        cae_admm.mixed("keep 10")
    assert cae_admm.mixed("jpeg").mean("bpp") == 1.0, "a codec without a model"
    kept(made.mixed("keep 10", 3.0, model="keep 10 0"))
    assert cae_admm.mixed("keep 10").mean("bpp") == 3.0


def test_over_seeds_of_a_training_that_was_not_repeated_has_no_deviation(kept):
    kept(made.training("unpruned"))
    assert cae_admm.over_seeds("unpruned", "bpp") == (2, pytest.approx(math.nan, nan_ok=True))
    with pytest.raises(LookupError, match="sparsecomp study cae_admm"):
        cae_admm.over_seeds("released", "bpp")


# Tables 1 and 2 -------------------------------------------------------------------------------------------------------


def test_claims_that_are_far_exceeded_are_not_confirmed(kept):
    kept(*(r for r in made.trainings() if r.config["label"] != "released"))
    kept(made.training("released", rate=0.5), made.mixed("unpruned", 2.0, model="unpruned 0"))
    kept(made.mixed("keep 10", 0.2, model="keep 10 0"))
    found = weighed()
    for key in ("saved", "saved-nats", "zeros-gained", "released-saved", "released-zeros"):
        assert found[f"admm-{key}"].verdict == "differs", key


def test_claim_on_speed_is_judged_on_the_paper_profile_only(kept):
    kept(*made.trainings(), *made.tables())
    found = weighed()
    assert found["admm-seconds"].verdict == "not run" and "--profile paper" in found["admm-seconds"].why
    assert (found["admm-time"].ours, found["admm-time"].verdict) == ("0.75 times", "holds")
    kept(made.training("keep 20", profile="paper", model="large"))
    kept(made.mixed("cae-admm near 0.6", 0.6, model="large", profile="paper", encode_seconds=1.0))
    kept(made.mixed("jpeg2000", 0.6, profile="paper", encode_seconds=0.1, decode_seconds=0.4))
    weighed_now = weighed()["admm-seconds"]
    assert (weighed_now.ours, weighed_now.verdict) == ("3.00 times", "differs")
    assert weighed_now.published == "0.79 (0.14 s against 0.177 s a picture)"


def test_near_refuses_files_of_another_rate(kept):
    kept(*made.trainings(), made.mixed("jpeg", 0.53))
    with pytest.raises(LookupError, match="the files of jpeg have 0.530 bpp"):
        cae_admm.near("jpeg")
    kept(made.mixed("jpeg2000", 0.65))
    assert cae_admm.near("jpeg2000").mean("bpp") == 0.65
    few = made.mixed("jpeg2000 no transform", 0.6)
    kept(replace(few, rows=few.rows[:2]))
    with pytest.raises(LookupError, match="different pictures"):
        cae_admm.ssim_over("jpeg2000 no transform", "jpeg2000")


# Figure 2 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-0.02, 0.0, 0.01])
def test_difference_of_curves_is_their_vertical_distance(kept, shift):
    pruned = {f"keep_{share}": shift for share in (40, 20, 10, 5)}
    kept(*made.trainings(**pruned))
    for files, overlap in (("all", (0.1875, 1.5)), ("code", (0.2, 1.5)), ("share", (0.1875, 1.2))):
        found = cae_admm.difference("pruned", "estimated", files=files)
        assert found.value == pytest.approx(shift, abs=1e-9) and found.overlap == pytest.approx(overlap)
    assert cae_admm.difference("pruned", "unpruned", "psnr").value == pytest.approx(100 * shift, abs=1e-9)
    assert cae_admm.difference("pruned", "estimated", "ms_ssim").value == pytest.approx(0.4 * shift, abs=1e-9)
    # 0.05 of SSIM for a doubling of the rate
    assert cae_admm.bytes_more("pruned", "estimated").value == pytest.approx(100 * (2 ** (-shift / 0.05) - 1), abs=1e-6)
    found = weighed()
    assert found["admm-ssim-over-estimated"].verdict == ("holds" if shift == 0.01 else "differs")
    assert found["admm-ssim-over-jpeg"].verdict == "not run", "the baselines are elsewhere"


def test_difference_of_codes_is_of_codes_as_encoders_make_them(kept):
    """A share of an estimated code that is kept in use, and good, is a file; it is no code as the encoder makes it."""
    kept(*(r for r in made.trainings() if r.config["label"] != "lambda 400"))
    better = made.training("lambda 400")
    rows = [row | {"ssim": row["ssim"] + 0.02 * (row["setting"] != 1)} for row in better.rows]
    kept(replace(better, rows=rows))
    for files in ("code", "share"):
        assert cae_admm.difference("pruned", "estimated", files=files).value == pytest.approx(0, abs=1e-9)
    assert cae_admm.difference("pruned", "estimated").value < -0.001
    assert cae_admm.above("keep 5", "estimated") == pytest.approx(0, abs=1e-9), "it lies between the two"


def test_family_has_the_files_that_are_asked_for(kept):
    kept(*made.trainings())
    assert cae_admm.family("pruned")[0] == pytest.approx([0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6])
    assert cae_admm.family("unpruned")[0] == pytest.approx([0.1, 0.2, 0.4, 2.0])
    rates, qualities = cae_admm.family("estimated")
    assert rates == [0.1875, 0.28125, 0.375, 0.75, 1.5]
    assert qualities == pytest.approx([made.quality("ssim", rate) for rate in rates])
    with pytest.raises(ValueError, match="files='some'"):
        cae_admm.family("pruned", files="some")
    with pytest.raises(LookupError, match="was not pruned"):
        cae_admm.family("estimated", files="share")


def test_difference_needs_points_at_common_rates(kept):
    kept(*made.trainings(keep_40=-0.5))
    with pytest.raises(LookupError, match="at least 4 points"):
        cae_admm.difference("pruned", "estimated", files="code")
    assert cae_admm.difference("pruned", "estimated").value == pytest.approx(0, abs=1e-9), "the rest is enough"
    kept(*(made.training(label, rate=100 * made.RATES[label]) for label in PRUNED))
    with pytest.raises(LookupError, match="must overlap"):
        cae_admm.difference("pruned", "estimated")


def test_above_is_how_far_a_training_lies_above_a_curve(kept):
    kept(*made.trainings(released=-0.03), made.training("keep 10", 1, rate=0.5, shift=0.07))
    assert cae_admm.above("released", "pruned") == pytest.approx(-0.03)
    assert cae_admm.above("keep 10", "estimated", seed=1) == pytest.approx(0.07)
    assert cae_admm.above("16 channels", "unpruned", "psnr") == pytest.approx(0, abs=1e-9)
    with pytest.raises(LookupError, match="from 0.188 to 1.500 bpp, not at 2.000"):
        cae_admm.above("unpruned", "estimated")
    assert weighed()["admm-bears"].ours in ("+0.0000", "-0.0000"), "both lose as much"
    assert cae_admm.lost_in_use("keep 10") == pytest.approx(-0.05 * math.log2(made.OF_SHARE))
    with pytest.raises(LookupError, match="released was not measured with 0.1"):
        cae_admm.lost_in_use("released")


@pytest.mark.parametrize("lift, verdict", [(0.03, "holds"), (-0.01, "differs")])
def test_headline_is_weighed_against_its_spread(kept, lift, verdict):
    kept(*(r for r in made.trainings() if r.config["label"] not in ("keep 10", "lambda 400")))
    for seed, (pruned, estimated) in enumerate(((0.0, 0.0), (0.02, 0.01), (0.05, 0.01))):
        if seed < 2:
            with pytest.raises(LookupError, match=f"{seed} seeds of .*, where two are needed"):
                cae_admm.headline()
        kept(made.training("keep 10", seed, rate=0.5, shift=lift + pruned),
             made.training("lambda 400", seed, shift=estimated))  # fmt: skip
    mean, deviation = cae_admm.headline()
    each = np.array([0.0, 0.01, 0.04]) + lift
    assert (mean, deviation) == pytest.approx((each.mean(), each.std(ddof=1)))
    found = weighed()["admm-fair"]
    assert (found.ours, found.verdict) == (f"{mean:+.4f} ± {deviation:.4f}", verdict)
    kept(made.training("keep 10", 3, rate=0.5, shift=-9))
    assert cae_admm.headline() == (mean, deviation), "a seed that only one of them has"


def test_points_over_a_curve_are_those_within_its_rates():
    """What they are: test_goldens.py."""
    with pytest.raises(LookupError, match="no printed point lies between"):
        cae_admm.points_over(([2.0, 3.0], [0.5, 0.6]))


# The records there are ------------------------------------------------------------------------------------------------


def test_records_of_trainings_are_complete():
    """As many updates as the papers', all seeds, all of Kodak, and shares that are kept."""
    found = cae_admm.made()
    assert cae_admm.labels() == list(cae_admm.LABELS)
    assert {r.config["label"] for r in found if r.config["pruning"]} == {*PRUNED, *VARIED, "released"}
    assert all(cae_admm.seeds_of(label) == list(range(SEEDS)) for label in ("keep 10", "lambda 400"))
    for record in found:
        steps, pruning = record.config["descent"]["steps"], record.config["pruning"]
        if pruning:
            assert cae_admm.updates(record) == steps // pruning["interval"] >= cae_admm.UPDATES, record.name
        assert record.result["skipped"] <= 0.01 * steps, record.name
        assert len({row["picture"] for row in record.rows}) == 24, record.name
        for row in record.rows:
            assert row["setting"] == 1 or row["zeros"] >= 1 - row["setting"] - 1e-4, record.name
            assert 0 < 8 * row["bytes"] - row["estimated_bits"] < 8 * 80, "the estimate has no header"

"""What the verdicts on CAE-ADMM make of records, against numbers told by hand; and what all real records must have."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import admm_records
import numpy as np
import pytest

from sparsecomp import figures, results, verdicts
from sparsecomp.studies.cae_admm import PRUNED, SEEDS, VARIED
from sparsecomp.verdicts import cae_admm

BASELINES = Path(cae_admm.__file__).parents[2] / "results" / "runs" / "baselines"
NAT = 1.4426950408889634  # bits
OWN_EVIDENCE = {f"admm-theis-{how}-{metric}" for how in ("printed", "bits") for metric in ("ssim", "ms_ssim")} | {
    "admm-top-l"
}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder of records; a function writes more of them."""
    (tmp_path / "published").symlink_to(results.folder() / "published")
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    return lambda *records: [results.write(r, tmp_path / "runs") for r in records]


def weighed() -> dict[str, verdicts.Verdict]:
    return {claim.key: claim.weigh() for claim in cae_admm.claims()}


def published(series: str, metric: str, where: str = "Fig. 2") -> list[tuple[float, float]]:
    """Points of a series, read without the library."""
    with open(results.folder() / "published" / "cae_admm.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["series"], r["metric"], r["where"]) == (series, metric, where)]
    return [(float(row["x"]), float(row["value"])) for row in rows if "dropped" not in row["setting"]]


# Records --------------------------------------------------------------------------------------------------------------


def test_only_what_was_trained_on_the_set_and_measured_on_kodak_counts(kept):
    kept(admm_records.training("keep 10"), admm_records.training("keep 10", 1, train="mine"))
    kept(admm_records.training("keep 20", profile="smoke"), admm_records.training("unpruned", train="mine"))
    assert cae_admm.labels() == ["keep 10"] and cae_admm.seeds_of("keep 10") == [0]
    assert cae_admm.training("keep 10").result["model"] == "keep 10 0"
    for label, seed in (("keep 10", 1), ("unpruned", 0), ("keep 20", 0)):
        with pytest.raises(LookupError, match="sparsecomp study cae_admm --profile laptop"):
            cae_admm.training(label, seed)
    kept(admm_records.mixed("keep 10", 1.0, model="a reader's own"), admm_records.mixed("jpeg", 1.0))
    with pytest.raises(LookupError, match="cae_admm_mixed"):
        cae_admm.mixed("keep 10")
    assert cae_admm.mixed("jpeg").mean("bpp") == 1.0, "a codec without a model"
    kept(admm_records.mixed("keep 10", 3.0, model="keep 10 0"))
    assert cae_admm.mixed("keep 10").mean("bpp") == 3.0


def test_labels_stand_in_the_order_of_the_study(kept):
    kept(*admm_records.trainings()[::-1])
    assert cae_admm.labels() == list(admm_records.RATES) == list(cae_admm.LABELS)


def test_over_seeds(kept):
    kept(*(admm_records.training("keep 10", seed, rate=0.5, shift=shift) for seed, shift in enumerate((0, 0.01, 0.05))))
    mean, deviation = cae_admm.over_seeds("keep 10", "ssim")
    assert mean == pytest.approx(0.75 + 0.02) and deviation == pytest.approx(math.sqrt(0.0014 / 2))
    kept(admm_records.training("unpruned"))
    assert cae_admm.over_seeds("unpruned", "bpp")[0] == 2 and math.isnan(cae_admm.over_seeds("unpruned", "bpp")[1])
    with pytest.raises(LookupError, match="sparsecomp study cae_admm"):
        cae_admm.over_seeds("released", "bpp")


# Tables 1 and 2 -------------------------------------------------------------------------------------------------------


def test_an_interval_is_of_the_mean():
    rows = [{"x": value, "encode_seconds": value, "decode_seconds": 1.0} for value in (1.0, 2.0, 3.0, 6.0)]
    record = results.RunRecord("s", "n", {}, rows, 0.0, {})
    mean, half = cae_admm.interval(record, "x", 10)
    assert mean == 30 and half == pytest.approx(1.96 * math.sqrt((400 + 100 + 0 + 900) / 3) / 2)
    assert cae_admm.interval(record, cae_admm.seconds) == pytest.approx((4, half / 10))


def test_table_1(kept):
    kept(*admm_records.trainings())
    kept(admm_records.mixed("unpruned", 2.0, model="unpruned 0", zeros=0.08, nats=1.6))
    with pytest.raises(LookupError):
        cae_admm.rate_saved()
    kept(admm_records.mixed("keep 10", 1.5, model="keep 10 0", zeros=0.20, nats=1.28))
    assert cae_admm.rate_saved() == pytest.approx(25) and cae_admm.rate_saved("nats") == pytest.approx(20)
    assert cae_admm.zeros_gained() == pytest.approx(12)
    found = weighed()
    shown = {key: (found[f"admm-{key}"].ours, found[f"admm-{key}"].verdict) for key in (
        "bpp-before", "bpp-after", "zeros-before", "zeros-after", "saved", "saved-nats", "zeros-gained", "keep"
    )}  # fmt: skip
    assert shown == {
        "bpp-before": ("1.600", "holds"), "bpp-after": ("1.280", "holds"), "zeros-before": ("8.00 %", "holds"),
        "zeros-after": ("20.00 %", "holds"), "saved": ("25.0 %", "holds"), "saved-nats": ("20.0 %", "differs"),
        "zeros-gained": ("12.00 points", "holds"), "keep": ("20.0 % zeros", "differs"),
    }  # fmt: skip
    assert found["admm-saved"].published == "25.4 % (1.684 to 1.257)"
    assert found["admm-zeros-gained"].published == "9.85 points"
    assert found["admm-keep"].published == "90 % zeros (text); 17.65 % (Table 1)"


def test_far_more_than_the_paper_saves_confirms_nothing(kept):
    kept(*(r for r in admm_records.trainings() if r.config["label"] != "released"))
    kept(admm_records.training("released", rate=0.5), admm_records.mixed("unpruned", 2.0, model="unpruned 0"))
    kept(admm_records.mixed("keep 10", 0.2, model="keep 10 0"))
    found = weighed()
    for key in ("saved", "saved-nats", "zeros-gained", "released-saved", "released-zeros"):
        assert found[f"admm-{key}"].verdict == "differs", key


def test_table_2(kept):
    kept(*admm_records.trainings(), *admm_records.tables())
    line = {bpp: admm_records.quality("ssim", bpp) for bpp in (0.58, 0.6, 0.62)}
    assert cae_admm.ssim_over("jpeg") == pytest.approx(line[0.6] + 0.02 - line[0.58] + 0.01)
    assert cae_admm.ssim_over("jpeg2000") == pytest.approx(0.01)
    assert cae_admm.ssim_over("jpeg2000", "jpeg2000 no transform") == pytest.approx(-0.06)
    assert cae_admm.time_over("jpeg2000") == pytest.approx(0.75) and cae_admm.time_over("jpeg") == pytest.approx(15)
    found = weighed()
    assert found["admm-over-jpeg2000"].ours == "+0.010" and found["admm-over-jpeg2000"].verdict == "holds"
    assert found["admm-over-jpeg"].published == "+0.043"
    assert (found["admm-ssim"].ours, found["admm-ssim"].verdict) == ("0.783", "differs")
    assert (found["admm-jpeg2000"].ours, found["admm-jpeg2000"].verdict) == ("0.773", "holds")
    assert found["admm-jpeg2000-no-transform"].verdict == found["admm-jpeg"].verdict == "differs"
    assert (found["admm-near"].ours, found["admm-near"].verdict) == (f"{line[0.6] + 0.02 - line[0.62]:+.4f}", "holds")


def test_speed_is_judged_on_the_paper_profile_only(kept):
    kept(*admm_records.trainings(), *admm_records.tables())
    found = weighed()
    assert found["admm-seconds"].verdict == "not run" and "--profile paper" in found["admm-seconds"].why
    assert (found["admm-time"].ours, found["admm-time"].verdict) == ("0.75 times", "holds")
    kept(admm_records.training("keep 20", profile="paper", model="large"))
    kept(admm_records.mixed("cae-admm near 0.6", 0.6, model="large", profile="paper", encode_seconds=1.0))
    kept(admm_records.mixed("jpeg2000", 0.6, profile="paper", encode_seconds=0.1, decode_seconds=0.4))
    weighed_now = weighed()["admm-seconds"]
    assert (weighed_now.ours, weighed_now.verdict) == ("3.00 times", "differs")
    assert weighed_now.published == "0.79 (0.14 s against 0.177 s a picture)"


def test_what_is_not_near_the_rate_of_table_2_is_not_compared_there(kept):
    kept(*admm_records.trainings(), admm_records.mixed("jpeg", 0.53))
    with pytest.raises(LookupError, match="the files of jpeg have 0.530 bpp"):
        cae_admm.near("jpeg")
    kept(admm_records.mixed("jpeg2000", 0.65))
    assert cae_admm.near("jpeg2000").mean("bpp") == 0.65
    few = admm_records.mixed("jpeg2000 no transform", 0.6)
    kept(replace(few, rows=few.rows[:2]))
    with pytest.raises(LookupError, match="different pictures"):
        cae_admm.ssim_over("jpeg2000 no transform", "jpeg2000")


# Figure 2 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-0.02, 0.0, 0.01])
def test_a_difference_of_curves_is_their_vertical_distance(kept, shift):
    pruned = {f"keep_{share}": shift for share in (40, 20, 10, 5)}
    kept(*admm_records.trainings(**pruned))
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


def test_codes_are_compared_with_codes_as_encoders_make_them(kept):
    """A share of an estimated code that is kept in use, and good, is a file; it is no code as the encoder makes it."""
    kept(*(r for r in admm_records.trainings() if r.config["label"] != "lambda 400"))
    better = admm_records.training("lambda 400")
    rows = [row | {"ssim": row["ssim"] + 0.02 * (row["setting"] != 1)} for row in better.rows]
    kept(replace(better, rows=rows))
    for files in ("code", "share"):
        assert cae_admm.difference("pruned", "estimated", files=files).value == pytest.approx(0, abs=1e-9)
    assert cae_admm.difference("pruned", "estimated").value < -0.001
    assert cae_admm.above("keep 5", "estimated") == pytest.approx(0, abs=1e-9), "it lies between the two"


def test_files_are_those_that_are_asked_for(kept):
    kept(*admm_records.trainings())
    assert cae_admm.family("pruned", files="code")[0] == [0.2, 0.4, 0.8, 1.6]
    assert cae_admm.family("pruned", files="share")[0] == pytest.approx([0.15, 0.3, 0.6, 1.2])
    assert cae_admm.family("pruned")[0] == pytest.approx([0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6])
    assert cae_admm.family("unpruned")[0] == pytest.approx([0.1, 0.2, 0.4, 2.0])
    assert cae_admm.family("estimated")[1] == pytest.approx(
        [admm_records.quality("ssim", rate) for rate in (0.1875, 0.28125, 0.375, 0.75, 1.5)]
    )
    assert cae_admm.family("estimated", files="code")[0] == [0.1875, 0.375, 0.75, 1.5]
    with pytest.raises(ValueError, match="files='some'"):
        cae_admm.family("pruned", files="some")
    with pytest.raises(LookupError, match="was not pruned"):
        cae_admm.family("estimated", files="share")


def test_a_curve_of_few_points_is_not_compared(kept):
    kept(*admm_records.trainings(keep_40=-0.5))
    with pytest.raises(LookupError, match="at least 4 points"):
        cae_admm.difference("pruned", "estimated", files="code")
    assert cae_admm.difference("pruned", "estimated").value == pytest.approx(0, abs=1e-9), "the rest is enough"


def test_curves_at_no_common_rate_are_not_compared(kept):
    of = {label: rate for label, rate in admm_records.RATES.items() if label.startswith("keep")}
    kept(*(admm_records.training(label, rate=(100 if label in of else 1) * rate)
           for label, rate in admm_records.RATES.items()))  # fmt: skip
    with pytest.raises(LookupError, match="must overlap"):
        cae_admm.difference("pruned", "estimated")


def test_a_training_above_a_curve(kept):
    kept(*admm_records.trainings(released=-0.03), admm_records.training("keep 10", 1, rate=0.5, shift=0.07))
    assert cae_admm.above("released", "pruned") == pytest.approx(-0.03)
    assert cae_admm.above("keep 10", "estimated", seed=1) == pytest.approx(0.07)
    assert cae_admm.above("16 channels", "unpruned", "psnr") == pytest.approx(0, abs=1e-9)
    with pytest.raises(LookupError, match="from 0.188 to 1.500 bpp, not at 2.000"):
        cae_admm.above("unpruned", "estimated")
    assert weighed()["admm-bears"].ours in ("+0.0000", "-0.0000"), "both lose as much"
    assert cae_admm.lost_in_use("keep 10") == pytest.approx(-0.05 * math.log2(admm_records.OF_SHARE))
    with pytest.raises(LookupError, match="released was not measured with 0.1"):
        cae_admm.lost_in_use("released")


@pytest.mark.parametrize("lift, verdict", [(0.03, "holds"), (-0.01, "differs")])
def test_the_headline_is_weighed_against_its_spread(kept, lift, verdict):
    kept(*(r for r in admm_records.trainings() if r.config["label"] not in ("keep 10", "lambda 400")))
    for seed, (pruned, estimated) in enumerate(((0.0, 0.0), (0.02, 0.01), (0.05, 0.01))):
        kept(admm_records.training("keep 10", seed, rate=0.5, shift=lift + pruned),
             admm_records.training("lambda 400", seed, shift=estimated))  # fmt: skip
    mean, deviation = cae_admm.headline()
    each = np.array([0.0, 0.01, 0.04]) + lift
    assert (mean, deviation) == pytest.approx((each.mean(), each.std(ddof=1)))
    found = weighed()["admm-fair"]
    assert (found.ours, found.verdict) == (f"{mean:+.4f} ± {deviation:.4f}", verdict)
    kept(admm_records.training("keep 10", 3, rate=0.5, shift=-9))
    assert cae_admm.headline() == (mean, deviation), "a seed that only one of them has"


@pytest.mark.parametrize("metric", ["ssim", "ms_ssim"])
def test_the_papers_points_above_a_curve(metric):
    points = published("CAE-ADMM", metric)
    assert len(points) == {"ssim": 5, "ms_ssim": 4}[metric]
    assert cae_admm.points(metric) == points
    assert np.allclose(cae_admm.points(metric, bits=True), [(rate * NAT, value) for rate, value in points])
    flat = [0.1, 1.2], [0.5, 0.5]
    values = [value for _, value in points]
    assert cae_admm.points_over(flat, metric) == pytest.approx(np.mean(values) - 0.5)
    assert cae_admm.points_over(flat, metric, bits=True) == pytest.approx(np.mean(values[:-1]) - 0.5), "1.46 is beyond"
    with pytest.raises(LookupError, match="no printed point lies between"):
        cae_admm.points_over(([2.0, 3.0], [0.5, 0.6]), metric)


def test_the_papers_points_above_the_original_cae_as_printed_and_below_as_bits():
    theis, points = published("Theis et al. 2017", "ssim"), published("CAE-ADMM", "ssim")
    rates, values = zip(*theis, strict=True)
    assert cae_admm.comparator("Theis et al. 2017") == (list(rates), list(values))
    for scale, bits in ((1, False), (NAT, True)):
        above = [value - np.interp(math.log(scale * rate), np.log(rates), values)
                 for rate, value in points if rates[0] <= scale * rate <= rates[-1]]  # fmt: skip
        assert cae_admm.points_over((rates, values), "ssim", bits) == pytest.approx(np.mean(above))
    found = weighed()
    assert found["admm-theis-printed-ssim"].verdict == "holds" and found["admm-theis-bits-ssim"].verdict == "differs"
    with pytest.raises(LookupError, match="no psnr"):
        cae_admm.comparator("Theis et al. 2017", "psnr")


def test_our_models_at_the_papers_rates(kept):
    kept(*admm_records.trainings())
    for key, scale in (("printed", 1), ("bits", NAT)):
        ours = [(admm_records.quality("ssim", rate * scale) + 0.001, value)
                for rate, value in published("CAE-ADMM", "ssim") if 0.15 <= rate * scale <= 1.6]  # fmt: skip
        below = np.mean([mine - theirs for mine, theirs in ours])
        found = weighed()[f"admm-points-{key}-ssim"]
        assert (found.ours, found.verdict) == (f"{below:+.3f}", "differs"), "by patches, 0.001 more"


def test_jpeg_at_low_rates_is_that_of_the_baselines(tmp_path, kept):
    assert weighed()["admm-ours-0.3"].verdict == "not run"
    (tmp_path / "runs").mkdir(exist_ok=True)
    (tmp_path / "runs" / "baselines").symlink_to(BASELINES)
    rates, qualities = verdicts.networks.curve("jpeg", "ssim")
    one = {name: verdicts.networks.curve(name, "ssim", ["kodim21"]) for name in ("jpeg", "jpeg2000")}
    lower = [np.interp(math.log(0.3), np.log(one[name][0]), one[name][1]) for name in ("jpeg2000", "jpeg")]
    assert cae_admm.jpeg_below("jpeg2000") == pytest.approx(lower[0] - lower[1])
    kept(*admm_records.trainings())
    jpeg = np.interp(math.log(0.3), np.log(rates), qualities)
    assert weighed()["admm-ours-0.3"].ours == f"{admm_records.quality('ssim', 0.3) - jpeg:+.3f}"


# The released code ----------------------------------------------------------------------------------------------------


def test_what_the_released_code_counts_and_prunes(kept):
    kept(*admm_records.trainings(), *admm_records.tables())
    assert cae_admm.nats_to_files() == pytest.approx(2) and cae_admm.patches_to_whole() == pytest.approx(0.001)
    assert cae_admm.released_gains() == pytest.approx((25, 12.5)), "1.5 of 2 bpp; 1 - bpp / 4 are zero"
    found = weighed()
    assert (found["admm-nats"].verdict, found["admm-patches"].verdict) == ("differs", "holds")
    assert found["admm-released-saved"].verdict == found["admm-released-zeros"].verdict == "holds"


@pytest.mark.parametrize("keep", [0.1, 0.4])
def test_the_released_projection_keeps_the_largest_by_chance(keep):
    assert cae_admm.overlap(keep, codes=4) == pytest.approx(100 * keep, abs=2)
    assert cae_admm.overlap(1.0, codes=1) == 100


# The claims -----------------------------------------------------------------------------------------------------------


def test_claims_are_not_run_without_records(kept):
    found = weighed()
    assert {key for key, verdict in found.items() if verdict.verdict != "not run"} == OWN_EVIDENCE
    assert len(found) == len(cae_admm.claims()), "a key is there twice"
    assert {verdict.paper for verdict in found.values()} == {"CAE-ADMM", "beyond the papers"}
    assert set(found) <= {verdict.key for verdict in verdicts.weigh_all()}


def test_every_claim_is_weighed_where_all_records_are_there(kept, tmp_path):
    kept(*admm_records.trainings(), *admm_records.tables())
    kept(admm_records.training("keep 10", 1, shift=0.01), admm_records.training("lambda 400", 1))
    (tmp_path / "runs" / "baselines").symlink_to(BASELINES)
    assert {key for key, verdict in weighed().items() if verdict.verdict == "not run"} == {"admm-seconds"}


# The records there are ------------------------------------------------------------------------------------------------


def real() -> list[results.RunRecord]:
    found = cae_admm.made()
    if not found:  # not for ever: with no record an entry of the map is not drawn, and its own test fails
        assert "cae_admm" in {entry.study for entry in figures.FIGURES.values()}
        pytest.skip("no records of cae_admm: make them with `sparsecomp study cae_admm --profile laptop`")
    return found


def test_every_training_there_is_has_its_record_and_as_many_updates_as_the_papers():
    found = real()
    assert cae_admm.labels() == list(cae_admm.LABELS)
    pruned = [record for record in found if record.config["pruning"]]
    assert {r.config["label"] for r in pruned} == {*PRUNED, *VARIED, "released"}
    for record in pruned:
        expected = record.config["descent"]["steps"] // record.config["pruning"]["interval"]
        assert cae_admm.updates(record) == expected >= cae_admm.UPDATES, record.name
        assert record.result["admm"]["step"][-1] <= record.config["descent"]["steps"]
    for record in found:
        assert record.result["skipped"] <= 0.01 * record.config["descent"]["steps"], record.name
        assert len({row["picture"] for row in record.rows}) == 24, record.name
    for label in ("keep 10", "lambda 400"):
        assert cae_admm.seeds_of(label) == list(range(SEEDS))


def test_shares_that_are_kept_are_shares_that_are_not_zero():
    for record in real():
        for row in record.rows:
            assert row["setting"] == 1 or row["zeros"] >= 1 - row["setting"] - 1e-4, record.name
            assert 0 < 8 * row["bytes"] - row["estimated_bits"] < 8 * 80, "the estimate has no header"

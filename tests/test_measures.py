"""Every measure that a claim uses, against records whose numbers can be told by hand (records.py)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import records as made
from records import KODAK, coin, descent, fit, mixed, quality, race, training

from reproduce import claims
from reproduce.papers import baselines, cae_admm, sparse_cae
from reproduce.records import Records, RunRecord, published

CLAIMS = [claim for claim in claims.read() if claim.measure]
MSCN = published("kodak", where="Kodak mean", series="mscn", metric="psnr")[2]
OCTAVE = made.SLOPE["ssim"]
LOW = tuple(rate / 8 for rate in (0.5, 1.0, 2.0, 4.0, 8.0))


def measured(measure: str, records: Records) -> float | tuple[float, float]:
    """As a claim measures it: the number, or the number and its deviation."""
    number, deviation = replace(CLAIMS[0], measure=measure).measured(records)
    return (number, deviation) if deviation else number


def in_use(record: RunRecord, ssim: float) -> RunRecord:
    """Add to the SSIM of files that keep a share of the code only."""
    rows = [row | {"ssim": row["ssim"] + ssim * (row["setting"] != 1)} for row in record.rows]
    return replace(record, rows=rows)


def networks() -> list[RunRecord]:
    """L0onie's files count 80 % for values, and have 1 dB more than COIN's of the counted rate; and decoys."""
    coins = [coin("5x20", 0.1, 0.01), coin("10x40", 0.4, -0.01, profile="paper-fast"),
             coin("5x30", 0.2, 9.0, fit={"steps": 1}), coin("10x28", 0.3, 9.0, data="bundled")]  # fmt: skip
    dense = [fit("dense", bpp, rate) for bpp, rate in ((0.07, 0.08), (0.15, 0.16), (0.3, 0.32), (0.6, 0.64))]
    ours = [fit("nonzeros", 0.3, 0.4, 0.01 + OCTAVE * math.log2(0.8), share=0.8), fit("nonzeros", 0.6, 0.66, 0.02),
            fit("nonzeros", 0.3, 0.4, 9.0, seed=1), fit("magnitude", 0.3, 0.32, 0.0025),
            fit("file", 0.3, MSCN["x"], 0.02, pictures=KODAK)]  # fmt: skip
    # As good as COIN at its end from the first score on, but within its budget only after half of 60 s.
    races = [race("COIN at 1e-3", [20, 21, 22, 25], 40.0), race("COIN at 2e-4", [1, 2, 3, 4], 40.0),
             race("L0onie at 1e-3", [25, 25, 26, 27], 60.0), race("L0onie at 1e-3", [25] * 4, 1.0, seed=1),
             race("COIN at 1e-3", [25] * 4, 1.0, data="bundled")]  # fmt: skip
    return [*coins, *dense, *ours, *races]


def autoencoders() -> list[RunRecord]:
    """Two seeds of l1, one of l2,1; and decoys."""
    steep = descent("l1", seed=1, shift=-3.0, macs=5.0)
    for row in steep.rows:
        row["mse_unquantised"] *= 10 if row["picture"] == "a" else 1000
    rows = [{"kind": kind, "radius_rule": radius, "coupled": coupled, "sparsity": s, "macs_paper": 1 - s / 2 + shift}
            for kind, radius, coupled, shift in (("l1", "common", False, 0), ("l1", "common", True, 0.3),
                                                 ("l1", "per_layer", False, 0.2), ("l21", "common", False, 0.1))
            for s in (0.8, 0.4, 0.9)]  # fmt: skip
    timed = [{"picture": "a", "label": label, "lower": low} for label, low in (("l21", 1.5), ("l1", 1.25))]
    return [
        descent("high", macs=200.0, macs_paper=180.0, encoder_bytes=1), descent("high", seed=1),
        descent("low", shift=1.0, rates=(0.25, 0.5, 1.0, 1.5)), descent("high", shift=50.0, train="mine"),
        descent("low", profile="smoke", shift=50.0),
        descent("l1", shift=-1.0, mse=4.0, macs=50.0, macs_paper=150.0, encoder_bytes=250, dense_bytes=1), steep,
        descent("l1", seed=2, train="mine"), descent("l21", shift=2.0, macs=40.0, mse=1.0),
        made.record("cae_density", "density", rows, data="none"),
        made.record("cae_speed", "speed", timed),
    ]  # fmt: skip


def codes() -> list[RunRecord]:
    """Pruned models 0.01 above the line, and 0.04 above an estimated one of the second seed."""
    pruned = {f"keep_{share}": 0.01 for share in (40, 20, 10, 5)}
    worse = in_use(training("lambda 400"), -0.05)  # where a share of the code is kept
    return [*made.trainings(**pruned), worse, training("keep 10", 1, shift=0.05), training("lambda 400", 1, shift=0.01),
            training("keep 10", 2, shift=-9), training("keep 20", 1, train="mine"), *made.tables(),
            mixed("keep 10", 9.0, model="a reader's own")]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Records:
    """All of these together."""
    return made.Kept(tmp_path_factory.mktemp("runs"))(*made.standards(), *networks(), *autoencoders(), *codes())


TABLE = {
    "baselines.psnr_at label=jpeg bpp=0.6": quality("psnr", 0.6),
    "baselines.psnr_at label=jpeg bpp=4.0": 40,
    "baselines.transform_loss bpp=0.5": 2,
    "baselines.above_standard psnr=47 label=jpeg2000 bpp=4.0": 6,
    "baselines.ssim_below label=jpeg over=jpeg2000 bpp=0.3 picture=kodim21": 0.02,
    "baselines.ssim_below label=jpeg over=jpeg2000 bpp=0.3 picture=kodim20": 0,
    "loonie.coin_psnr architecture=10x40": quality("psnr", 0.4) - 1,
    "loonie.crossing of=jpeg": pytest.approx(0.2, abs=2e-4),  # from 1 dB above to 1 dB below
    "loonie.gain over=dense bpp=0.3": 1,
    "loonie.gain over=magnitude": 0.75,
    "loonie.gain_at_rate": 1,
    "loonie.gain_at_rate bpp=0.3 accounting=file": 1 - 5 * math.log2(0.4 / 0.32),
    "loonie.gain_at_rate bpp=0.6 accounting=file": 2,  # 3 % beyond COIN's largest file
    "loonie.position_share": 25,
    "loonie.file_psnr": quality("psnr", MSCN["x"]) + 2,
    "loonie.over_published series=mscn": quality("psnr", MSCN["x"]) + 2 - MSCN["value"],
    "loonie.race": 40 / 30,
    "sparse_cae.macs_saved label=l1": 75,
    "sparse_cae.macs_saved label=l1 accounting=macs_paper": 25,
    "sparse_cae.memory_saved label=l1": 75,
    "sparse_cae.macs_over_l1 label=l21": 5,
    "sparse_cae.mean_macs_saved label=l1": (75 + 95) / 2,
    "sparse_cae.mean_relative_loss label=l1": (-10 * math.log10(2) - 20) / 2,  # dB of each picture, then the mean
    "sparse_cae.mean_relative_loss label=l21": 10 * math.log10(2),
    "sparse_cae.mean_loss_at_rate label=l1": -2,
    "sparse_cae.macs_at_density kind=l1 sparsity=0.4": 20,
    "sparse_cae.macs_at_density kind=l1 sparsity=0.86": 43,
    "sparse_cae.macs_at_density kind=l21 sparsity=0.6": 20,
    "sparse_cae.psnr_near bpp=1.0": 32,  # the model of lower rates is better here
    "sparse_cae.psnr_near bpp=6.0": 31 + 5 * math.log2(6),
    "sparse_cae.psnr_near bpp=6.0 label=l21": 33 + 5 * math.log2(6),
    "sparse_cae.over_standard codec=jpeg bpp=4.0": 1,
    "sparse_cae.least_speedup label=l1": 1.25,
    "cae_admm.on_mixed label=unpruned column=nats": 1.0,
    "cae_admm.on_mixed label=unpruned column=zeros": 50,
    "cae_admm.rate_saved": 25,
    "cae_admm.rate_saved column=nats": 75,
    "cae_admm.zeros_gained": 12.5,
    "cae_admm.ssim_near label=jpeg": quality("ssim", 0.58) - 0.01,
    "cae_admm.ssim_over other=jpeg2000": 0.01,
    'cae_admm.ssim_over other="cae-theis near 0.6"': 0.02 - OCTAVE * math.log2(0.62 / 0.6),
    "cae_admm.time_over other=jpeg2000": 0.75,
    "cae_admm.nats_to_files": 2,
    "cae_admm.patches_to_whole": 0.001,  # of Kodak alone
    "cae_admm.released_rate": 25,
    "cae_admm.released_zeros": 12.5,
    "cae_admm.curves of=pruned over=estimated": 0.01,
    "cae_admm.curves of=pruned over=unpruned metric=psnr": 1,
    "cae_admm.curves of=pruned over=jpeg metric=ms_ssim": 0.004,
    "cae_admm.families_at of=pruned over=jpeg bpp=0.3": 0.01,
    "cae_admm.headline": pytest.approx((0.025, 0.03 / math.sqrt(2))),
    'cae_admm.bears of="keep 10" over="lambda 400"': 0.05,
    "cae_admm.overlap": pytest.approx(10, abs=0.5),  # what chance keeps
    # Of Theis et al., whatever records there are.
    "cae_admm.theis_points metric=ssim bits=False": pytest.approx(0.016, abs=5e-4),
    "cae_admm.theis_points metric=ms_ssim bits=True": pytest.approx(-0.002, abs=5e-4),
    # The paper's points from 0.15 to 1.6 bpp; its SSIM is by patches.
    **{f"cae_admm.at_points metric={metric} bits={unit != 1}": np.mean([
        quality(metric, unit * row["x"]) + up - row["value"]
        for row in published("cae_admm", where="Fig. 2", series="CAE-ADMM", metric=metric, setting="")
        if 0.15 <= unit * row["x"] <= 1.6])
       for metric, up in (("ssim", 0.011), ("ms_ssim", 0.004)) for unit in (1, 1 / math.log(2))},
}  # fmt: skip


@pytest.mark.parametrize("measure", TABLE)
def test_measure_gives_the_number_that_its_records_have(measure, world):
    expected = TABLE[measure]
    number = isinstance(expected, int | float)
    assert measured(measure, world) == (pytest.approx(expected, abs=1e-9) if number else expected)


def test_every_measure_of_a_claim_is_in_the_table():
    assert {claim.measure.split()[0] for claim in CLAIMS} == {measure.split()[0] for measure in TABLE}


FEW = fit("file", 0.3, 0.3, pictures=KODAK[1:])
MISSING = [  # records, a measure, and why it has no number
    ([FEW], "loonie.file_psnr", "has 23 pictures, not the 24 that are published"),
    ([fit("nonzeros", 0.3, 0.3), fit("dense", 0.3, 0.3, pictures=KODAK)], "loonie.gain over=dense", "other pictures"),
    ([fit("file", 0.3, 0.3, pictures=KODAK), fit("nonzeros", 0.6, 0.68), fit("dense", 0.6, 0.64)],
     "loonie.gain_at_rate bpp=0.6", "dense on kodim01 is known from 0.640 to 0.640 bpp, not at 0.680"),
    (networks()[-5:-3], "loonie.race", "study loonie_race --preset paper"),
    ([coin("5x20", 0.1)], "loonie.coin_psnr architecture=5x30", "5x30 was not run on Kodak: .*study coin"),
    ([*made.standards(), coin("5x30", 0.1, fit={})], "loonie.crossing of=jpeg", "no COIN records on Kodak"),
    ([descent("high"), replace(descent("l1"), rows=descent("l1").rows[:5])], "sparse_cae.mean_relative_loss label=l1",
     "other pictures"),
    ([descent("high"), descent("l1", restart="trained")], "sparse_cae.mean_loss_at_rate label=l1",
     "0 records of dense, trained on, seed 0, where one is needed: .*study cae_sparse"),
    (autoencoders(), "sparse_cae.macs_at_density kind=l1 sparsity=0.95", "projected from 0.40 to 0.90, not to 0.95"),
    (autoencoders(), "sparse_cae.macs_at_density kind=l0 sparsity=0.5", "projected nowhere"),
    (autoencoders(), "sparse_cae.least_speedup label=l0", "has not timed l0: .*study cae_speed"),
    ([training("keep 10", train="mine")], "cae_admm.released_rate", "0 records of unpruned, seed 0, .*study cae_admm`"),
    ([mixed("keep 10", 1.0, model="my own")], 'cae_admm.on_mixed label="keep 10" column=nats', "study cae_admm_mixed"),
    ([mixed("jpeg", 0.53)], "cae_admm.ssim_near label=jpeg", "the files of jpeg have 0.530 bpp"),
    ([mixed("jpeg", 0.6), replace(mixed("webp", 0.6), rows=mixed("webp", 0.6).rows[:2])],
     "cae_admm.ssim_over other=jpeg of=webp", "other pictures"),
    (made.trainings(), "cae_admm.headline", "1 seeds of .*`python -m reproduce study cae_admm`"),
    (made.trainings(), "cae_admm.bears of=released over=released", "released was not measured with 0.1"),
    ([*made.trainings(), *(training(label, rate=99 * made.RATES[label]) for label in cae_admm.PRUNED)],
     "cae_admm.curves of=pruned over=estimated", "must overlap"),
]  # fmt: skip


@pytest.mark.parametrize(("made_up", "measure", "message"), MISSING)
def test_measure_without_its_records_says_what_is_missing(made_up, measure, message, kept):
    with pytest.raises(LookupError, match=message.replace("other pictures", "are of different pictures")):
        measured(measure, kept(*made_up))


# Curves behind the measures -------------------------------------------------------------------------------------------


def test_curve_of_a_standard_codec_leaves_out_points_below_another_record(kept):
    one, two = made.standard("jpeg", (0.1, 0.4, 0.8)), made.standard("jpeg-444", (0.2, 0.8, 1.6))
    for record, psnr in ((one, (20.0, 30.0, 31.0)), (two, (22.0, 40.0, 39.0))):
        for row in record.rows:
            row["psnr"] = psnr[row["setting"]]
    # 0.2: on the first record's line there are 25 dB; 0.4: 31 dB on the second's; 1.6: worse than a smaller file.
    assert baselines.curve(kept(one, two), "jpeg") == ([0.1, 0.8], [20.0, 40.0])


def test_coin_of_a_larger_preset_with_the_same_budget_is_the_same(world):
    for preset in ("laptop", "paper-fast"):
        assert measured("loonie.coin_psnr architecture=5x20", world.at(preset)) == quality("psnr", 0.1) + 1
    with pytest.raises(LookupError, match="no COIN records"):
        measured("loonie.coin_psnr architecture=5x20", world.at("paper"))


def test_loss_at_rate_is_at_the_steps_that_both_have(kept):
    dense, few = descent("high"), descent("l1", shift=0.25)
    dense.rows[2]["psnr"] -= 3
    found = sparse_cae.at_rate(kept(dense, replace(few, rows=[r for r in few.rows if r["setting"] != 2])), "l1")
    assert (found.value, *found.overlap) == pytest.approx((0.25, 0.5, 8.0))


def test_loss_at_low_rates_is_to_the_best_of_the_dense_models(kept):
    """The dense model was trained for steps up to 256 of 1/16384; another, of few channels, has lower rates."""
    settings = {0: 1024, 1: 512, 2: 256, 3: 128, 4: 64}
    dense, other = descent("high"), descent("l1inf", rates=LOW, shift=-2.0)
    for row in (*dense.rows, *other.rows):
        row["setting"] = settings[row["setting"]]
    records = kept(dense, other, descent("low", shift=3.0, rates=LOW))
    assert sparse_cae.loss_at_rate(records, "l1inf") == pytest.approx(-5, abs=0.3)


def test_models_that_were_trained_on_are_compared_with_a_dense_one_that_was_too(kept):
    records = kept(descent("high"), descent("l1", shift=-1.0, mse=4.0, restart="trained"),
                   descent("dense, trained on", shift=0.5, mse=1.0, restart="trained"))  # fmt: skip
    assert sparse_cae.loss_at_rate(records, "l1") == pytest.approx(-1.5)
    assert sparse_cae.relative_loss(records, "l1") == pytest.approx(-10 * math.log10(4))
    assert sparse_cae.loss_at_rate(records, "dense, trained on") == pytest.approx(0.5), "beside the first descent"


def test_over_seeds_is_mean_and_deviation_of_what_counts(world):
    assert sparse_cae.over_seeds(world, "l1", sparse_cae.loss_at_rate) == pytest.approx((-2, math.sqrt(2)))
    assert cae_admm.over_seeds(world, "lambda 400", "bpp") == pytest.approx((0.375, 0))
    for found in (cae_admm.over_seeds(world, "keep 20", "bpp"), sparse_cae.over_seeds(world, "l21", lambda *of: 0.8)):
        assert found == pytest.approx((0.8, math.nan), nan_ok=True), "of one seed there is no deviation"
    assert sparse_cae.labels(world) == ["l1", "l21"] and cae_admm.labels(world) == list(cae_admm.LABELS)


@pytest.mark.parametrize(("files", "overlap"), [("all", (0.1875, 1.5)), ("code", (0.2, 1.5)), ("share", (0.1875, 1.2))])
def test_difference_is_of_the_files_that_are_asked_for(files, overlap, kept):
    """A share of an estimated code that is kept in use, and good, is a file; it is no code as the encoder makes it."""
    records = kept(*made.trainings(), in_use(training("lambda 400"), 0.02))
    found = cae_admm.difference(records, "pruned", "estimated", files=files)
    assert found.overlap == pytest.approx(overlap)
    assert found.value < -0.001 if files == "all" else found.value == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="files='some'"):
        cae_admm.family(records, "pruned", files="some")


def test_records_of_trainings_are_complete():
    """As many updates as the paper's, all of Kodak, and shares that are kept."""
    for record in cae_admm.made(Records(preset="laptop")):
        steps, pruning = record.config["descent"]["steps"], record.config["pruning"]
        assert not pruning or cae_admm.updates(record) == steps // pruning["interval"] >= 15, record.name
        assert record.result["skipped"] <= 0.01 * steps and len({row["picture"] for row in record.rows}) == 24
        for row in record.rows:
            assert row["setting"] == 1 or row["zeros"] >= 1 - row["setting"] - 1e-4, record.name
            assert 0 < 8 * row["bytes"] - row["estimated_bits"] < 8 * 80, "the estimate has no header"

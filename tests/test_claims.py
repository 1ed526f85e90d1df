"""How a claim is weighed: made-up claims and measures. What the real ones come to: contracts/test_every_claim.py."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import records as made_up

from reproduce import claims
from reproduce.claims import Claim, Verdict
from reproduce.records import Records

CLAIM = Claim(
    key="k", paper="COIN", where="Table 1", wording="ours", statement="it is so", published="2 dB", value="2",
    measure="made.up", shown="{:.1f} dB", comparison="equals", tolerance="0.5", better="", scale="", unmet="",
    why="because",
)  # fmt: skip
HIGHER, SMALL, LARGE = {"better": "higher"}, {"scale": "paper-fast"}, {"scale": "paper"}
LEAST, MOST, ABOVE = ({"comparison": comparison} for comparison in ("at least", "at most", "above"))
PERCENT, NEGATIVE, UNMET = {"tolerance": "50 %"}, {"tolerance": "50 %", "value": "-4"}, {"unmet": "another codec"}
STATUS = [  # what differs from CLAIM, our numbers, their preset, and the status that they have
    ({}, (1.5, 2.5), "laptop", "holds"),
    ({}, (1.25, 2.75), "laptop", "differs"),
    (HIGHER, (2.75, 99), "laptop", "exceeds"),
    (HIGHER, (1.25,), "laptop", "differs"),
    (LEAST, (1.5, 99), "laptop", "holds"),
    (LEAST, (1.25,), "laptop", "differs"),
    (MOST, (2.5, -99), "laptop", "holds"),
    (MOST, (2.75,), "laptop", "differs"),
    (ABOVE, (2.75, 99), "laptop", "holds"),
    (ABOVE, (2.5, 2.0), "laptop", "differs"),
    (PERCENT, (1.0, 3.0), "laptop", "holds"),
    (PERCENT, (0.75, 3.25), "laptop", "differs"),
    (NEGATIVE, (-6.0, -2.0), "laptop", "holds"),
    (SMALL, (2.0, 99, -99), "laptop", "laptop only"),
    (SMALL, (2.0,), "paper-fast", "holds"),
    (LARGE, (2.0, 99), "paper-fast", "laptop only"),
    (LARGE, (2.0,), "paper", "holds"),
    (UNMET | LARGE, (2.0, 99), "laptop", "not comparable"),
    (ABOVE | {"tolerance": "deviation"}, (2.75, 2.5), "laptop", "holds"),  # of 0.25
    (ABOVE | {"tolerance": "deviation"}, (2.25,), "laptop", "differs"),
]


@pytest.mark.parametrize(("changes", "numbers", "preset", "status"), STATUS)
def test_status_follows_from_comparison_tolerance_scale_and_conditions(changes, numbers, preset, status):
    claim = replace(CLAIM, **changes)
    assert {claim.status(ours, 0.25, preset) for ours in numbers} == {status}


# Weighing against records ---------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch) -> SimpleNamespace:
    """A module of measures; `up` is the PSNR of study "coin", beside a standard codec's."""

    def up(records: Records) -> float:
        records.find("baselines", profile="laptop")
        return records.one("coin").mean("psnr")

    module = SimpleNamespace(up=up, given=lambda records, **options: options)
    monkeypatch.setitem(claims.PAPERS, "made", module)
    return module


def coin(preset: str, psnr: float) -> made_up.RunRecord:
    return made_up.record("coin", preset, [{"picture": "a", "psnr": psnr}], profile=preset)


def test_measured_reads_the_arguments_as_numbers_words_and_quoted_text(made):
    given = 'made.given bpp=0.5 bits=True other=jpeg label="filters, then l1" arch=5x20'
    assert replace(CLAIM, measure=given).measured(Records()) == (
        {"bpp": 0.5, "bits": True, "other": "jpeg", "label": "filters, then l1", "arch": "5x20"}, 0.0)  # fmt: skip


def test_weigh_takes_the_largest_preset_that_has_records_and_names_it(kept, made):
    found = claims.weigh(CLAIM, kept(coin("smoke", 2.0), made_up.standard("jpeg")))
    missing = "no record of study 'coin': make it with `python -m reproduce study coin --preset laptop`"
    assert (found.status, found.ours, found.preset, found.why) == ("not run", "–", "", missing)
    for preset, psnr, status in (("laptop", 2.25, "holds"), ("paper-fast", 9.0, "differs"), ("paper", 2.0, "holds")):
        found = claims.weigh(CLAIM, kept(coin(preset, psnr)))
        assert (found.status, found.ours, found.preset) == (status, f"{psnr:.1f} dB", preset)
    assert claims.weigh(replace(CLAIM, scale="paper"), kept()).status == "holds"


def test_weigh_names_no_preset_where_none_is_behind_the_number(kept, made):
    claim = replace(CLAIM, measure="baselines.psnr_at label=jpeg bpp=2.0", value="35")
    found = claims.weigh(claim, kept(*made_up.standards()))
    assert (found.status, found.preset) == ("holds", "")


@pytest.mark.parametrize("error", [KeyError("psnr"), IndexError(0)])
def test_weigh_does_not_take_a_bug_of_a_measure_for_a_missing_record(kept, made, error):
    def broken(records: Records) -> float:
        raise error

    made.up = broken
    with pytest.raises(type(error)):
        claims.weigh(CLAIM, kept())


def verdict(key: str, status: str) -> Verdict:
    return Verdict(replace(CLAIM, key=key), "2.0 dB", "laptop", status, "because")


def test_lost_is_what_held_and_no_longer_does():
    good = ("holds", "exceeds")
    for before in claims.STATUSES:
        for now in claims.STATUSES:
            assert claims.lost([verdict("k", now)], {"k": before}) == ["k"] * (before in good and now not in good)
        assert claims.lost([], {"k": before}) == ["k"] * (before in good)


def test_verify_compares_with_what_was_agreed_on(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RESULTS", tmp_path)
    with pytest.raises(ValueError, match="verdicts.json is missing: .*`python -m reproduce verify --update`"):
        claims.verify()
    now = [verdict("k", "holds"), verdict("o", "differs")]
    monkeypatch.setattr(claims, "weigh_all", lambda records: now)
    claims.write(now)
    assert claims.verify() == (now, []) and json.loads(claims.agreed().read_text()) == {"k": "holds", "o": "differs"}
    claims.agreed().write_text(json.dumps({"k": "holds", "o": "holds"}))
    assert claims.verify() == (now, ["o"])

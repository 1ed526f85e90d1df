"""What every claim promises: a verdict from the records there are, and a line that says how to get one."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from records import RESULTS

from sparsecomp import verdicts
from sparsecomp.verdicts import Claim

PARTS = (verdicts.networks, verdicts.autoencoders, verdicts.cae_admm)
OF_NO_RECORD = {  # weighed by the authors' own data and code alone
    *(f"admm-theis-{how}-{metric}" for how in ("printed", "bits") for metric in ("ssim", "ms_ssim")), "admm-top-l"
}  # fmt: skip
NOBODY_MEASURED = {"cae-energy", "loonie-search"}
NO_COMMAND = {"admm-fair"}  # says that two seeds are needed, not how they are made
CLAIMS = [claim.key for part in PARTS for claim in part.claims()]


@pytest.fixture(scope="module")
def now() -> dict[str, verdicts.Verdict]:
    return {verdict.key: verdict for verdict in verdicts.weigh_all()}


@pytest.fixture
def empty(kept) -> dict[str, verdicts.Verdict]:
    """What remains without any record."""
    return {verdict.key: verdict for verdict in verdicts.weigh_all()}


def test_claims_are_those_agreed_on_and_have_a_key_each(now):
    """What each comes to: test_goldens.py."""
    agreed = json.loads((RESULTS / "verdicts.json").read_text())
    assert {key: verdict.verdict for key, verdict in now.items()} == agreed, "run `sparsecomp verify --update`"
    assert sorted(CLAIMS) == sorted(now) and Counter(CLAIMS).most_common(1)[0][1] == 1
    for key, v in now.items():
        assert v.paper and v.claim and v.published and v.tolerance and v.why and "nan" not in v.ours, key
        assert (v.ours == "–") == (v.verdict == verdicts.NOT_RUN), key


def test_claims_are_not_run_without_records_and_say_what_makes_them(empty):
    for key, verdict in empty.items():
        if key in OF_NO_RECORD:
            assert verdict.verdict != verdicts.NOT_RUN, key
        else:
            assert (verdict.verdict, verdict.ours) == (verdicts.NOT_RUN, "–"), key
            assert "`sparsecomp " in verdict.why or key in NOBODY_MEASURED | NO_COMMAND, key


# How a claim is weighed -----------------------------------------------------------------------------------------------


def claim(**changes) -> Claim:
    made = Claim("k", "p", "c", "2", "1", lambda: 2.5, lambda ours: abs(ours - 2) <= 1, "{:.1f} dB", "because")
    return replace(made, **changes)


def missing() -> float:
    raise LookupError("make it")


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (lambda: 2.5, ("holds", "2.5 dB", "because")), (lambda: 4.0, ("differs", "4.0 dB", "because")),
        (missing, ("not run", "–", "make it")),
    ],
)  # fmt: skip
def test_claim_weighs_what_it_measures(measure, expected):
    weighed = claim(measure=measure).weigh()
    assert (weighed.verdict, weighed.ours, weighed.why) == expected


def test_lost_is_what_held_and_no_longer_does():
    held, fails = claim().weigh(), claim(measure=lambda: 9.0).weigh()
    assert verdicts.lost([held], {"k": "holds"}) == [] == verdicts.lost([fails], {"k": "differs"})
    assert verdicts.lost([held], {"k": "differs"}) == [], "what was gained is not lost"
    assert verdicts.lost([fails], {"k": "holds"}) == ["k"] == verdicts.lost([], {"k": "holds"})


def test_verify_compares_with_what_was_agreed_on(kept, monkeypatch):
    with pytest.raises(ValueError, match="sparsecomp verify --update"):
        verdicts.verify()
    monkeypatch.setattr(verdicts, "weigh_all", lambda: [claim().weigh(), claim(key="o", measure=lambda: 9.0).weigh()])
    now, lost = verdicts.weigh_all(), ["o"]
    verdicts.write(now)
    assert verdicts.verify() == (now, []) and [row["key"] for row in verdicts.table()] == ["k", "o"]
    verdicts.kept().write_text(json.dumps({"k": "holds", "o": "holds"}))
    assert verdicts.verify() == (now, lost)

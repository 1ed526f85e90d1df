"""What every row of claims.csv promises: legal words, the printed number, a measure, and the status agreed on."""

from __future__ import annotations

import inspect
import json
import math
import re
import shlex
from collections import Counter
from pathlib import Path

import pytest

from reproduce import claims
from reproduce.claims import COMPARISONS, DIFFERS, HOLDS, NOT_COMPARABLE, NOT_RUN, PAPERS, SCALES, Claim
from reproduce.records import Records, published
from reproduce.studies import STUDIES

CLAIMS = {claim.key: claim for claim in claims.read()}
TIMES = Counter(claim.key for claim in claims.read())
OURS = ("baselines", "our files", "beyond the papers")
# Weighed by the authors' own data and code alone.
OF_NO_RECORD = {f"admm-theis-{how}-{of}" for how in ("printed", "bits") for of in ("ssim", "ms_ssim")} | {"admm-top-l"}

CAE, ADMM = "sparse_cae", "cae_admm"
TABLE_1 = {"macs": "macc_reduction", "memory": "memory_reduction", "loss": "relative_loss"}
PRINTED = {  # file, place, series and metric of the value, as far as a paper prints it
    **{f"coin-{arch}": ("coin", "Kodak mean", "COIN", "psnr", arch)
       for arch in ("5x20", "5x30", "10x28", "10x40", "13x49")},
    **{f"cae-{kind}-{short}": (CAE, "Table I", series, metric) for short, metric in TABLE_1.items()
       for kind, series in (("l1", "l1"), ("bilevel_l11", "l1,1"), ("l1inf", "l1,inf"))},
    **{f"cae-taps-{short}": (CAE, "Table I", "l1,inf", metric) for short, metric in TABLE_1.items()},
    "cae-random-start-macs": (CAE, "Table I", "l1,1", TABLE_1["macs"]),
    "cae-random-start-loss": (CAE, "Table I", "l1,1", TABLE_1["loss"]),
    **{f"cae-fig5-{short}-trained": (CAE, "Fig. 5", series, "macc_reduction")
       for short, series in (("l11", "l1,1"), ("l1inf", "l1,inf"))},
    "cae-82": (CAE, "Sec. IV", "l1,1", "memory_reduction"),
    "cae-86": (CAE, "Sec. III", "l1,1", "macc_reduction"),
    "cae-fig5-l11": (CAE, "Fig. 5", "l1,1", "macc_reduction"),
    "cae-fig5-l1inf": (CAE, "Fig. 5", "l1,inf", "macc_reduction"),
    "cae-47": (CAE, "Sec. IV", "CAE", "psnr"),
    **{f"cae-4-db-{codec}": (CAE, "Sec. IV", "l1,1", "gain_over_jpeg_and_jpeg2000") for codec in ("jpeg", "jpeg2000")},
    **{f"admm-{metric}-{when}": (ADMM, "Table 1", f"{when} pruning", metric)
       for metric in ("bpp", "zeros") for when in ("before", "after")},
    "admm-ssim": (ADMM, "Table 2", "CAE-ADMM", "ssim"),
    "admm-jpeg": (ADMM, "Table 2", "JPEG", "ssim"),
    **{f"admm-jpeg2000{end}": (ADMM, "Table 2", "JPEG 2000", "ssim") for end in ("", "-no-transform")},
}  # fmt: skip
INTERVALS = ("admm-zeros-before", "admm-zeros-after", "admm-ssim")  # whose tolerance is the printed interval


def printed(file: str, where: str, series: str, metric: str, setting: str | None = None) -> float:
    found = published(file, where=where, series=series, metric=metric, **({"setting": setting} if setting else {}))
    assert len(found) == 1
    return found[0]["value"]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_claim_is_legal(claim: Claim):
    assert TIMES[claim.key] == 1 and claim.where and claim.statement and claim.published and claim.why
    assert claim.paper in ("COIN", "L0onie", "Sparse CAE", "CAE-ADMM", *OURS)
    assert claim.wording in (("ours",) if claim.paper in OURS else ("verbatim", "paraphrase"))
    assert bool(re.search("“[^”]+”", claim.statement)) == (claim.wording == "verbatim")
    if not claim.measure:
        assert not any((claim.value, claim.shown, claim.comparison, claim.tolerance, claim.better, claim.scale))
        return
    assert claim.comparison in COMPARISONS and claim.scale in ("", *SCALES[1:])
    assert claim.better in ("", "higher") and (not claim.better or claim.comparison == "equals")
    assert claim.tolerance == "deviation" or re.fullmatch(r"\d+(\.\d+)?( %)?", claim.tolerance)
    assert claim.shown.format(1.25) != claim.shown.format(3.75) and math.isfinite(float(claim.value))
    (module, function), *options = (word.split("=" if "=" in word else ".") for word in shlex.split(claim.measure))
    measure = getattr(PAPERS[module], function)
    assert measure.__module__ in (PAPERS[module].__name__, f"{PAPERS[module].__name__}.measures"), "it is of its paper"
    inspect.signature(measure).bind(Records(), **dict(options))
    met = DIFFERS if claim.comparison == "above" else HOLDS
    assert claim.status(float(claim.value), 0.0, "paper") == (NOT_COMPARABLE if claim.unmet else met)


@pytest.mark.parametrize("key", PRINTED)
def test_claim_has_the_printed_number(key):
    claim, number = CLAIMS[key], printed(*PRINTED[key])
    said = re.search(r"-?\d+(?:\.(\d+))?", claim.published)
    for text in (claim.value, said[0]):
        assert float(text) == pytest.approx(number, abs=0.501 * 10 ** -len(said[1] or "")), "as far as it is rounded"
    if key in INTERVALS:
        file, where, series, metric = PRINTED[key]
        assert float(claim.tolerance) == printed(file, where, series, f"{metric}_ci95")


def test_claims_weigh_to_what_was_agreed_on_with_reason_and_preset():
    now = {verdict.key: verdict for verdict in claims.weigh_all()}
    agreed = json.loads(claims.agreed().read_text())
    assert {key: verdict.status for key, verdict in now.items()} == agreed, "run `python -m reproduce verify --update`"
    for key, found in now.items():
        assert found.why and "nan" not in found.ours and (found.ours == "–") == (found.status == NOT_RUN), key
        ours = not CLAIMS[key].measure.startswith("baselines.") and key not in OF_NO_RECORD
        assert (found.preset in SCALES) == (ours and found.status != NOT_RUN), f"{key}: no preset of codecs is named"


def test_verdict_says_how_the_weighed_preset_differs_from_the_paper():
    asked = {claim.key: claim for claim in CLAIMS.values() if "{scale}" in claim.why}
    assert len(asked) > 50
    for claim in asked.values():
        of = {preset: claim.scale_of(preset) for preset in SCALES}
        assert len(set(of.values())) == len(SCALES) and "in place of 128" not in of["paper"], of
    shown = [verdict for verdict in claims.weigh_all() if verdict.claim.key in asked and verdict.status != NOT_RUN]
    assert shown and all(verdict.claim.scale_of(verdict.preset) in verdict.why for verdict in shown)
    assert not [verdict.key for verdict in claims.weigh_all() if "{" in verdict.why]


@pytest.mark.parametrize("key", [key for key, claim in CLAIMS.items() if claim.measure])
def test_claim_without_records_is_not_run_and_says_what_makes_them(key, kept):
    found = claims.weigh(CLAIMS[key], kept())
    assert found.preset == "" and (found.status == NOT_RUN) == (key not in OF_NO_RECORD)
    if found.status == NOT_RUN:
        (command,) = re.findall(r"`python -m reproduce ([^`]*)`", found.why)
        kind, name, *_ = command.split()
        assert name in STUDIES if kind == "study" else kind == "sweep" and (Path(__file__).parents[2] / name).is_file()

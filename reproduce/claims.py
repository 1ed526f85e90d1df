"""What holds: every number and claim of the papers (``results/claims.csv``), weighed against our records each time.

A row names a measure: a function of `Records` in a module of `papers`, with its arguments. The largest preset that has
the records is weighed, and named. The status is

*holds*, *exceeds*   our number agrees with the claim, or is better on the same terms;
*differs*            it does not;
*laptop only*        our networks are below the scale that the claim needs, whichever way the number falls;
*not comparable*     another condition of the claim is unmet, which the row says;
*not run*            there is no record that could decide, or nothing to measure.

``python -m reproduce verify`` compares today's statuses with those last agreed on, in ``results/verdicts.json``.
"""

from __future__ import annotations

import ast
import csv
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reproduce.records import RESULTS, Records
from reproduce.studies import PAPERS
from sparsecomp.checks import InputError
from sparsecomp.files import write_atomic

HOLDS, EXCEEDS, DIFFERS, LAPTOP_ONLY = "holds", "exceeds", "differs", "laptop only"
NOT_COMPARABLE, NOT_RUN = "not comparable", "not run"
STATUSES = (HOLDS, EXCEEDS, DIFFERS, LAPTOP_ONLY, NOT_COMPARABLE, NOT_RUN)
SCALES = ("laptop", "desktop", "paper-fast", "paper")  # presets that count, the smallest first
COMPARISONS: dict[str, Callable[[float, float, float], bool]] = {
    "equals": lambda ours, value, tolerance: abs(ours - value) <= tolerance,
    "at least": lambda ours, value, tolerance: ours >= value - tolerance,
    "at most": lambda ours, value, tolerance: ours <= value + tolerance,
    "above": lambda ours, value, tolerance: ours > value + tolerance,
}


@dataclass(frozen=True)
class Claim:
    """One row of ``claims.csv``; every value is text.

    Attributes
    ----------
    key, paper, where : str
        ``where`` it is printed, or what implies it.
    wording : {"verbatim", "paraphrase", "ours"}
        What the statement is; quotation marks stand around the paper's own words.
    statement, published : str
        As a table shows them.
    value : str
        The number that ours is compared with.
    measure : str
        ``MODULE.FUNCTION name=value ...``; empty where there is nothing to measure.
    shown : str
        Format of our number.
    comparison : {"equals", "at least", "at most", "above"}
        How ours must lie to ``value``, give or take the tolerance.
    tolerance : str
        A number, ``N %`` of the value, or "deviation": the standard deviation that the measure gives beside its mean.
    better : {"higher", ""}
        Of "equals": a number beyond the tolerance on this side exceeds the claim.
    scale : {"", "paper-fast", "paper"}
        The smallest preset whose records can decide; empty where the claim is about accounting, mathematics or code.
    unmet : str
        A condition of the claim that our number does not meet: then it is not comparable.
    why : str
        What our number is. In it ``{scale}`` stands for how the preset that is weighed differs from the paper
        (`scale_of` in the plans of Sparse CAE and CAE-ADMM).
    """

    key: str
    paper: str
    where: str
    wording: str
    statement: str
    published: str
    value: str
    measure: str
    shown: str
    comparison: str
    tolerance: str
    better: str
    scale: str
    unmet: str
    why: str

    def measured(self, records: Records) -> tuple[float, float]:
        """Our number and its deviation (0 if the measure gives none); `LookupError` where records are missing."""
        name, *pairs = shlex.split(self.measure)
        module, function = name.split(".")
        options = {key: _plain(value) for key, _, value in (pair.partition("=") for pair in pairs)}
        found = getattr(PAPERS[module], function)(records, **options)
        return found if isinstance(found, tuple) else (found, 0.0)

    def scale_of(self, preset: str) -> str:
        """How a preset differs from the paper that the measure is of."""
        return str(PAPERS[self.measure.split(".")[0]].scale_of(preset))

    def status(self, ours: float, deviation: float, preset: str) -> str:
        """What our number makes of the claim, if it comes from records of this preset."""
        if self.unmet:
            return NOT_COMPARABLE
        if self.scale and SCALES.index(preset) < SCALES.index(self.scale):
            return LAPTOP_ONLY
        value, tolerance = float(self.value), self._tolerance(deviation)
        if COMPARISONS[self.comparison](ours, value, tolerance):
            return HOLDS
        return EXCEEDS if self.better == "higher" and ours > value else DIFFERS

    def _tolerance(self, deviation: float) -> float:
        if self.tolerance == "deviation":
            return deviation
        number, percent, _ = self.tolerance.partition("%")
        return float(number) / 100 * abs(float(self.value)) if percent else float(number)


@dataclass(frozen=True)
class Verdict:
    """A claim, weighed: our number as it is shown, its preset ("" if no record is behind it), the status, and why."""

    claim: Claim
    ours: str
    preset: str
    status: str
    why: str

    @property
    def key(self) -> str:
        return self.claim.key

    def row(self) -> dict[str, str]:
        """For a table."""
        claim = self.claim
        return {
            "key": claim.key, "paper": claim.paper, "where": claim.where, "claim": claim.statement,
            "published": claim.published, "ours": self.ours, "preset": self.preset, "status": self.status,
            "why": self.why,
        }  # fmt: skip


def _plain(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def read(path: Path | None = None) -> list[Claim]:
    """The claims, in the order of the file."""
    with (path or RESULTS / "claims.csv").open(newline="") as lines:
        return [Claim(**row) for row in csv.DictReader(lines)]


def weigh(claim: Claim, records: Records) -> Verdict:
    """Weigh a claim by the largest preset that has the records."""
    missing = claim.why
    for preset in SCALES[::-1] if claim.measure else ():
        view = records.at(preset)
        try:
            ours, deviation = claim.measured(view)
        except (KeyError, IndexError):  # LookupErrors too, but bugs of the measure: no record is missing
            raise
        except LookupError as error:
            missing = str(error)
            continue
        shown = claim.shown.format(ours) + (f" ± {deviation:.4f}" if deviation else "")
        named = preset if any(study != "baselines" for study in view.asked) else ""
        why = claim.why.replace("{scale}", claim.scale_of(preset) if "{scale}" in claim.why else "")
        why = f"{claim.unmet}; {why}" if claim.unmet else why
        return Verdict(claim, shown, named, claim.status(ours, deviation, preset), why)
    return Verdict(claim, "–", "", NOT_RUN, missing)


def weigh_all(records: Records | None = None) -> list[Verdict]:
    """Weigh every claim."""
    records = records or Records()
    return [weigh(claim, records) for claim in read()]


# Verification ---------------------------------------------------------------------------------------------------------


def agreed() -> Path:
    """Where the statuses stand that were last agreed on."""
    return RESULTS / "verdicts.json"


def lost(now: list[Verdict], before: dict[str, str]) -> list[str]:
    """Keys that held (or exceeded) before and do not now, or are gone."""
    good = (HOLDS, EXCEEDS)
    today = {v.key: v.status for v in now}
    return [key for key, status in before.items() if status in good and today.get(key) not in good]


def verify(records: Records | None = None) -> tuple[list[Verdict], list[str]]:
    """Today's verdicts, and the keys of those that held and no longer do."""
    if not agreed().is_file():
        raise InputError(f"{agreed()} is missing: agree on today's verdicts with `python -m reproduce verify --update`")
    now = weigh_all(records)
    return now, lost(now, json.loads(agreed().read_text()))


def write(verdicts: list[Verdict], path: Path | None = None) -> None:
    """Agree on these verdicts from now on."""
    write_atomic(path or agreed(), (json.dumps({v.key: v.status for v in verdicts}, indent=2) + "\n").encode())

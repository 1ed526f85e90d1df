"""A claim, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

HOLDS, DIFFERS, NOT_RUN = "holds", "differs", "not run"


@dataclass(frozen=True)
class Verdict:
    """One claim, weighed."""

    key: str
    paper: str
    claim: str
    published: str
    ours: str
    tolerance: str
    verdict: str
    why: str


@dataclass(frozen=True)
class Claim:
    """One claim and how it is weighed.

    ``measure`` computes our number from records (`LookupError` where they are missing), ``accepts`` says whether it
    agrees, ``shown`` prints it. ``why`` explains what the number is, whatever the verdict.
    """

    key: str
    paper: str
    claim: str
    published: str
    tolerance: str
    measure: Callable[[], float]
    accepts: Callable[[float], bool]
    shown: str
    why: str

    def weigh(self) -> Verdict:
        told = (self.key, self.paper, self.claim, self.published)
        try:
            ours = self.measure()
        except LookupError as missing:
            return Verdict(*told, "–", self.tolerance, NOT_RUN, str(missing))
        verdict = HOLDS if self.accepts(ours) else DIFFERS
        return Verdict(*told, self.shown.format(ours), self.tolerance, verdict, self.why)

"""What holds: every number and claim of the papers against ours, recomputed from the records each time.

A verdict is *holds*, *differs* (with the reason), or *not run* (the record that could decide is not there).
``sparsecomp verify`` compares today's verdicts with those in ``results/verdicts.json`` and fails if one that
held no longer does.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from sparsecomp import results
from sparsecomp.checks import InputError
from sparsecomp.files import write_atomic
from sparsecomp.verdicts import autoencoders, cae_admm, networks
from sparsecomp.verdicts.base import DIFFERS, HOLDS, NOT_RUN, Claim, Verdict

__all__ = ["DIFFERS", "HOLDS", "NOT_RUN", "Claim", "Verdict", "lost", "table", "verify", "weigh_all", "write"]


def weigh_all() -> list[Verdict]:
    """Every claim against the records that are there."""
    return [claim.weigh() for part in (networks, autoencoders, cae_admm) for claim in part.claims()]


# Verification ---------------------------------------------------------------------------------------------------------


def kept() -> Path:
    """Where the verdicts stand that were last agreed on."""
    return results.folder() / "verdicts.json"


def lost(now: list[Verdict], before: dict[str, str]) -> list[str]:
    """Keys that held before and do not now, or are gone."""
    today = {v.key: v.verdict for v in now}
    return [key for key, verdict in before.items() if verdict == HOLDS and today.get(key) != HOLDS]


def verify() -> tuple[list[Verdict], list[str]]:
    """Today's verdicts, and the keys of those that held and no longer do."""
    if not kept().is_file():
        raise InputError(f"{kept()} is missing: agree on today's verdicts with `sparsecomp verify --update`")
    now = weigh_all()
    return now, lost(now, json.loads(kept().read_text()))


def write(verdicts: list[Verdict], path: Path | None = None) -> None:
    """Agree on these verdicts from now on."""
    write_atomic(path or kept(), (json.dumps({v.key: v.verdict for v in verdicts}, indent=2) + "\n").encode())


def table() -> list[dict]:
    """The verdicts as rows for a table."""
    return [asdict(v) for v in weigh_all()]

"""Every committed record is the one that today's studies would make: none would be made again."""

from __future__ import annotations

import pytest

from sparsecomp import data, profiles, results, studies
from sparsecomp.studies import STUDIES, Setup

at_hand = pytest.mark.skipif(
    not (data.available("kodak") and data.available("bsds500")), reason="needs Kodak and BSDS500"
)


@at_hand
@pytest.mark.parametrize("study", [name for name in STUDIES if name != "cae_admm_mixed"])  # encodes for a minute first
def test_study_dry_run_finds_every_committed_record(study):
    lines = []
    setup = Setup(profiles.get("laptop"), results.folder() / "runs", report=lines.append, dry_run=True)
    made = STUDIES[study](setup)
    assert made and all(path.exists() for path in made), [line for line in lines if line.endswith("to be made")]


def test_study_dry_run_makes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(studies.networks, "fit_set", None)  # not callable: to fit is a failure
    lines = []
    setup = Setup(profiles.get("smoke"), tmp_path, report=lines.append, dry_run=True)
    made = STUDIES["coin"](setup, pictures_of="bundled")
    assert lines == ["coin-5x20-bundled-smoke: the record is to be made"]
    assert made and list(tmp_path.iterdir()) == []

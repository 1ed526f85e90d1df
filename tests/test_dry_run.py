"""`study --dry-run` names what would be made and makes nothing. Committed records: contracts/test_every_study.py."""

from __future__ import annotations

from sparsecomp import profiles, studies
from sparsecomp.studies import STUDIES, Setup


def test_study_dry_run_makes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(studies.networks, "fit_set", None)  # not callable: to fit is a failure
    lines = []
    setup = Setup(profiles.get("smoke"), tmp_path, report=lines.append, dry_run=True)
    made = STUDIES["coin"](setup, pictures_of="bundled")
    assert lines == ["coin-5x20-bundled-smoke: the record is to be made"]
    assert made and list(tmp_path.iterdir()) == []

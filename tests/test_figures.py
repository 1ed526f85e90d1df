"""Parts of figures that no record of the book shows. What figures promise: contracts/test_every_figure.py."""

from __future__ import annotations

import numpy as np
import pytest

from sparsecomp import figures, results, verdicts
from sparsecomp.models.pretrained import default_models


def test_provenance_says_profile_pictures_and_commit():
    record = verdicts.networks.baseline("jpeg")
    said = figures.provenance([record])
    assert "laptop" in said and "24 of kodak" in said and record.environment["commit"][:8] in said


def test_rate_distortion_has_points_at_every_metric_and_reaches_its_top():
    for metric in ("ssim", "ms_ssim"):
        figure = figures.rate_distortion(metric, top=0.5)
        assert figure.axes[0].get_xlim()[1] == 0.5 and figure.axes[0].get_ylabel().endswith("SSIM")
        assert not any("published" in line.get_label() for line in figure.axes[0].lines), "only PSNR was printed"


def test_loonie_rate_distortion_counts_files_or_nonzeros():
    pairs = [{line.get_label(): line.get_xdata() for line in figures.loonie_rate_distortion(accounting).axes[0].lines}
             for accounting in ("nonzeros", "file")]  # fmt: skip
    name = figures.STYLE["nonzeros"][0]
    assert (np.asarray(pairs[1][name]) > pairs[0][name]).all(), "positions cost bits"
    assert figures.STYLE["file"][0] in pairs[1] and figures.STYLE["file"][0] not in pairs[0]


def test_surgery_table_adds_up():
    table = figures.surgery_table(default_models().find("cae-bilevel-l11-seed-0-laptop"))
    left = [float(text.split(" of ")[0].replace(",", "")) for text in table["MACs a pixel"]]
    assert sum(left[:-1]) == pytest.approx(left[-1], abs=len(left) / 2)
    assert table["filters"].iloc[0] == "24 of 24" and table["inputs"].iloc[-1] == ""


def test_models_that_are_kept_are_those_of_their_records():
    models = default_models()
    kept = {models.find(name).key for name in models.names}
    studies = ("cae", "cae_sparse", "cae_admm")
    made = {r.result["model"] for study in studies for r in results.records(study, profile="laptop")}
    assert len(kept) >= 8 and kept <= made
    assert sum(path.stat().st_size for path in models.files.values()) < 15e6

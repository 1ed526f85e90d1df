"""What the data of COIN's and L0onie's figures say beyond test_goldens.py."""

from __future__ import annotations

import numpy as np

from reproduce.papers import loonie
from reproduce.records import Records

LAPTOP = Records(preset="laptop")


def test_coin_rate_distortion_has_printed_points_of_psnr_alone():
    of = {metric: loonie.coin_rate_distortion(LAPTOP, metric).rows for metric in ("psnr", "ssim", "ms_ssim")}
    assert [sum("printed" in row for row in rows) for rows in of.values()] == [1, 0, 0]
    (printed,) = (row for row in of["psnr"] if "printed" in row)
    assert len(printed["x"]) == 6 and printed["y"] == sorted(printed["y"])


def test_rate_distortion_counts_files_or_nonzeros():
    counted, files = (
        {row["series"]: np.array(row["x"]) for row in loonie.rate_distortion(LAPTOP, way).rows}
        for way in ("nonzeros", "file")
    )
    assert (files["nonzeros"] > counted["nonzeros"]).all(), "positions cost bits"
    assert "file" in files and "file" not in counted


def test_race_is_over_budget_first_and_within_it_last():
    gated, *dense = loonie.race_course(LAPTOP).rows
    assert gated["over"] == sorted(gated["over"], reverse=True) and gated["over"][0] and not gated["over"][-1]
    assert len(dense) == 2 and not any(over for row in dense for over in row["over"])

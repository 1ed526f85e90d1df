"""Change and rerun: every chapter runs at parameters other than its own, within the ranges that it states.

Slow, so `make test` leaves these out: ``make test-slow``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reproduce import cli

CHAPTERS = Path(__file__).parents[2] / "notebooks"
OTHER: dict[str, tuple[str, str]] = {
    "00_compression_primer": ("-p step 0.02 -p lam 0.02 -p seed 7", "-p step 0.3 -p lam 0.0005"),
    "01_rate_distortion": ("-p bpp 0.2 -p seed 5", "-p bpp 2.0"),
    "10_coin": ("-p architecture 2x64 -p omega 60.0 -p lr 1e-4", "-p architecture 6x8 -p omega 1.0 -p lr 1e-2"),
    "11_loonie": ("-p keep 0.7 -p dual_lr 1e-3 -p seed 3", "-p keep 0.35 -p dual_lr 5e-3"),
    "12_loonie_results": ("-p only nonzeros -p seed 2", "-p depth 4 -p size 1.5"),
    "13_positions_and_bits": ("-p bpp 0.5", "-p bpp 0.06 -p seed 2"),
    "20_projections": ("-p sparsity 0.5 -p seed 4", "-p sparsity 0.95"),
    "21_double_descent": ("-p sparsity 0.5 -p seed 1 -p lam 0.0", "-p sparsity 0.7 -p steps 60"),
    "22_sparse_cae_results": ("-p seed 3 -p only l1 -p bpp 1.0", "-p only l1inf -p bpp 4.0"),
    "30_admm": ("-p keep 0.05 -p seed 3", "-p keep 0.4 -p seed 11"),
    "31_released_code": ("-p keep 0.05 -p seed 3", "-p keep 0.4 -p seed 11"),
    "32_cae_admm": ("-p seed 1", "-p only unpruned"),
}


def test_every_chapter_has_other_parameters():
    assert sorted(OTHER) == sorted(path.stem for path in CHAPTERS.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize(("chapter", "parameters"), [(name, line) for name, lines in OTHER.items() for line in lines])
def test_chapter_runs_at_other_parameters(chapter, parameters, tmp_path, capsys):
    done = tmp_path / "done.ipynb"
    status = cli.main(["run", str(CHAPTERS / f"{chapter}.py"), *parameters.split(), "--out", str(done)])
    assert status == 0, capsys.readouterr().err
    shutil.rmtree(tmp_path)

"""What every figure and table promises: where its numbers come from; and without records, the command that makes them.

What each draws: test_goldens.py.
"""

from __future__ import annotations

import pandas as pd
import pytest

from sparsecomp import figures, results, studies

FIGURES = figures.FIGURES
OF_FILES = ("loonie-reconstructions", "cae-pictures", "admm-pictures")  # each panel says its rate


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in OF_FILES])
def test_figure_says_where_its_numbers_come_from(name):
    shown, entry = FIGURES[name].function(), FIGURES[name]
    if isinstance(shown, pd.DataFrame):
        assert len(shown) >= 3 and not shown.isna().any(axis=None) and shown.columns[0] in shown._repr_html_()
        return
    said = shown._supxlabel.get_text().replace("\n", " ")
    used = [record for record in results.records(entry.study) if record.environment["commit"][:8] in said]
    assert used and all(f"{what}: " in said for what in ("profile", "device", "commit"))
    assert any(record.config["profile"] in said for record in used)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_without_records_says_which_command_makes_them(name, kept):
    entry = FIGURES[name]
    with pytest.raises(LookupError) as caught:
        entry.function()
    needed = {entry.study, entry.study.removesuffix("_sparse"), "baselines"}  # a second descent needs a first one
    assert any(f"`sparsecomp {study}" in str(caught.value) for study in ("bench", *(f"study {s}" for s in needed)))


def test_figure_map_has_a_row_for_every_figure_with_records():
    table = figures.figure_map()
    assert len(table) == len(FIGURES) == len(set(table["figure"])) and (table["profile"] != "not run").all()
    for entry in FIGURES.values():
        assert entry.command.startswith((f"sparsecomp study {entry.study} ", f"sparsecomp {entry.study} "))
        assert entry.study in (*studies.STUDIES, "bench") and getattr(figures, entry.function.__name__)


def test_record_table_has_every_record_but_those_of_speed():
    table = figures.record_table()
    assert len(table) == sum(len(results.records(study)) for study in ({*studies.STUDIES, "bench"} - {"cae_speed"}))
    assert not table.isna().any(axis=None)

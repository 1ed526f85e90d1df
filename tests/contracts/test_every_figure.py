"""What the data of every figure and table promise: rows that can be drawn, and the records that they come from.

Which numbers they are: test_goldens.py. That the chapters draw them: the execution of the book.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from reproduce import plot, tables
from reproduce.records import Records, runs_folder
from reproduce.studies import PAPERS, STUDIES

FIGURES = tables.FIGURES
EVERY = Records(runs_folder())


@pytest.mark.parametrize("name", FIGURES)
def test_figure_data_are_of_the_records_that_are_given_and_name_the_command_without_them(name, kept):
    """Those of this clone are out of reach of `kept`."""
    entry = FIGURES[name]
    rows, used = entry.function(EVERY.at(entry.preset))
    assert rows and used and all(list(row) == list(rows[0]) or "series" in row for row in rows)
    assert any(record.study == entry.study for record in used)
    for row in rows:
        if "x" in row:
            assert len(row["x"]) == len(row["y"]) > 0 and row["name"] and row["series"]
        if "picture" in row and "title" in row:
            assert row["picture"].dtype == np.uint8 and "dB" in row["title"] or "original" in row["title"]
    assert all(f"{what}: " in plot.provenance(used) for what in ("preset", "device", "commit"))
    with pytest.raises(LookupError) as caught:
        entry.function(Records(preset=entry.preset))
    (command,) = re.findall(r"`python -m reproduce (bench|study \w+|sweep \S+)[^`]*`", str(caught.value))
    # A second descent needs a first one of the same paper, and many are compared with standard codecs.
    of_paper = [study for paper in PAPERS.values() if entry.study in paper.STUDIES for study in paper.STUDIES]
    needed = [study for study in of_paper if study.split("_")[:1] == entry.study.split("_")[:1]]
    assert command in (entry.made_by, "bench", "study baselines", *(f"study {study}" for study in needed))
    assert command != "bench" or entry.study == "bench"


def test_map_and_table_of_records_have_all_of_them():
    table, records = tables.figure_map(), tables.record_table()
    assert len(table) == len(FIGURES) == len(set(table["figure"])) and (table["preset"] != "not run").all()
    for entry in FIGURES.values():
        made_by = entry.made_by or f"study {entry.study}"
        assert entry.command == f"python -m reproduce {made_by}" and made_by.split()[0] in ("study", "bench", "sweep")
        assert entry.study in STUDIES or entry.made_by
    assert len(records) == sum(len(EVERY.find(study)) for study in EVERY.studies) and not records.isna().any(axis=None)

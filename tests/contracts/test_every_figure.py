"""What every figure and table promises: it is of the records that are given, and says so; or which command makes them.

What each draws: test_goldens.py.
"""

from __future__ import annotations

import re

import pandas as pd
import pytest

from reproduce import figures
from reproduce.records import Records, runs_folder
from reproduce.studies import STUDIES

FIGURES = figures.FIGURES
OF_FILES = ("loonie-reconstructions", "cae-pictures", "admm-pictures")  # each panel says its rate
EVERY = Records(runs_folder())


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in OF_FILES])
def test_figure_draws_the_records_that_are_given_and_says_which(name, kept):
    """Those of this clone are out of reach of `kept`."""
    shown, entry = FIGURES[name].function(records=EVERY.at("laptop")), FIGURES[name]
    if isinstance(shown, pd.DataFrame):
        assert len(shown) >= 3 and not shown.isna().any(axis=None) and shown.columns[0] in shown._repr_html_()
        return
    said = shown._supxlabel.get_text().replace("\n", " ")
    used = [record for record in EVERY.find(entry.study) if record.environment["commit"][:8] in said]
    assert used and all(f"{what}: " in said for what in ("preset", "device", "commit"))
    assert any(record.config["profile"] in said for record in used)


@pytest.mark.parametrize("name", FIGURES)
def test_figure_without_records_says_which_command_makes_them(name, kept):
    entry = FIGURES[name]
    with pytest.raises(LookupError) as caught:
        entry.function()
    (command,) = re.findall(r"`python -m reproduce (bench|study \w+)[^`]*`", str(caught.value))
    # A second descent needs a first one, and many are compared with standard codecs.
    needed = (entry.study, entry.study.removesuffix("_sparse"), "baselines")
    assert command in ("bench" if entry.study == "bench" else [f"study {study}" for study in needed])


def test_map_and_table_of_records_have_all_of_them():
    table, records = figures.figure_map(), figures.record_table()
    assert len(table) == len(FIGURES) == len(set(table["figure"])) and (table["preset"] != "not run").all()
    for entry in FIGURES.values():
        study = "bench" if entry.study == "bench" else f"study {entry.study}"
        assert entry.command.startswith(f"python -m reproduce {study}")
        assert entry.study in (*STUDIES, "bench") and getattr(figures, entry.function.__name__) is entry.function
    assert len(records) == sum(len(EVERY.find(study)) for study in EVERY.studies) and not records.isna().any(axis=None)

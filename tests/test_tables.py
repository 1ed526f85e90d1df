"""Tables about the project itself."""

from __future__ import annotations

import records as made

from reproduce import tables


def test_verdict_table_is_of_a_paper_or_of_some_keys(kept):
    records, of = kept(*made.trainings()), "beyond the papers"
    every, some, rest = (tables.verdict_table(of, keys, records) for keys in ("", "admm", "cae-aim"))
    assert 0 < len(some) < len(every) == len(some) + len(rest) and set(some["claim"]) < set(every["claim"])

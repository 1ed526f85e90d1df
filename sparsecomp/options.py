"""Options are frozen dataclasses; here they become plain JSON values, as records, models and checkpoints name them.

An option that came later leaves old names as they are: at its default it is not written, so what was made before it
has the same configuration, the same hash and the same record.
"""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any


def later(default: Any) -> Any:
    """Make a field that what was made before it does not have."""
    return field(default=default, metadata={"later": True})


def as_dict(options: Any) -> dict:
    """Options as plain JSON values; those that came later are there only where they are not at their default."""
    found = {}
    for one in fields(options):
        value = getattr(options, one.name)
        if not (one.metadata.get("later") and value == one.default):
            value = one.metadata.get("written", {}).get(value, value)
            found[one.name] = list(value) if isinstance(value, tuple) else value
    return found

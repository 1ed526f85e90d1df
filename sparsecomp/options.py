"""Options are frozen dataclasses; here they become plain JSON values, as records, models and checkpoints name them.

An option that came later leaves old names as they are: at its default it is not written, so what was made before it
has the same configuration, the same hash and the same record.
"""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any


def later(default: Any) -> Any:
    """Declare an option that older records do not name."""
    return field(default=default, metadata={"later": True})


def as_dict(options: Any) -> dict:
    """Options as plain JSON values; one that came later is written only if it differs from its default."""
    found = {}
    for one in fields(options):
        value = getattr(options, one.name)
        if not (one.metadata.get("later") and value == one.default):
            value = one.metadata.get("written", {}).get(value, value)
            found[one.name] = list(value) if isinstance(value, tuple) else value
    return found

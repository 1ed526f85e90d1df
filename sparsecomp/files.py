"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path of the same name; rename it to ``path`` at the end of the ``with`` block.

    After an error in the block the temporary file is removed and ``path`` is what it was before. Several processes and
    threads may write the same ``path``: each has a temporary path of its own, and the last one to end wins.

    Parameters
    ----------
    path : Path
        In a folder that exists.
    """
    path = Path(path)
    # The temporary *folder* is private. The file in it is made by the caller, so it has the mode of any new file.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".sparsecomp-") as folder:
        beside = Path(folder) / path.name
        yield beside
        os.replace(beside, path)


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``; after an error ``path`` is what it was before."""
    with atomic_path(path) as beside:
        beside.write_bytes(content)

"""Which code made a result: the commit of this clone, and the lock of its environment."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path


def of_clone(commit: str | None = None) -> dict[str, str | bool | None]:
    """Commit, and whether the tracked files are as committed. ``commit`` is for machines that have no git.

    Without it the commit is that of the repository whose top folder holds this package and which tracks it; else None.
    "clean" is None if the commit does not come from git.
    """
    module, head = Path(__file__).resolve(), None
    root = module.parents[1]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    # git looks for a repository in all folders above, so it may find one that has nothing to do with the package.
    if not commit and (top := git("rev-parse", "--show-toplevel")) and Path(top).resolve() == root:
        if git("ls-files", "--error-unmatch", str(module.relative_to(root))) is not None:
            head = git("rev-parse", "HEAD")
    clean = None if head is None else git("status", "--porcelain", "--untracked-files=no") == ""
    return {"commit": commit or head, "clean": clean}


def of_lock() -> str | None:
    """The first digits of the SHA-256 of ``requirements.lock``; None if there is none."""
    lock = Path(__file__).resolve().parents[1] / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:16] if lock.is_file() else None


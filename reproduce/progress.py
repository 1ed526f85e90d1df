"""What a sweep shows while it runs: a bar on a terminal, a line a row elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from reproduce.row import DONE, FAILED, SKIPPED, Outcome


class Shown:
    """The state of a sweep on the console.

    Parameters
    ----------
    rows : int
    """

    def __init__(self, rows: int) -> None:
        self.console = Console(highlight=False, markup=False, stderr=True)
        self.count = {DONE: 0, FAILED: 0, SKIPPED: 0}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Progress(*columns, TimeRemainingColumn(), console=self.console, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("rows", total=rows)

    def dashboard(self, address: str) -> None:
        """Say where Dask shows what its workers do."""
        self.console.print(f"dashboard: {address}", soft_wrap=True)

    def settle(self, outcome: Outcome) -> None:
        """Count a row, and say what became of it."""
        self.count[outcome.status] += 1
        if outcome.status == FAILED:
            self.console.print(f"{outcome.name}: failed: {outcome.error}", soft_wrap=True)
        elif outcome.status == DONE and not self.console.is_terminal:
            self.console.print(f"{outcome.name}: done in {outcome.seconds:.1f} s", soft_wrap=True)
        said = ", ".join(f"{count} {status}" for status, count in self.count.items() if count)
        self.bar.update(self.task, advance=1, description=said)


@contextmanager
def shown(rows: int) -> Iterator[Shown]:
    """Show the progress of so many rows until the block ends."""
    found = Shown(rows)
    with found.bar:
        yield found

"""Workers for sweeps and studies: Dask's, on this machine, behind a scheduler's address, or as jobs of a batch system.

Workers share files with whoever asks for them, run the same commit in the same environment, and take one task at once:
all this is checked before the first task.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reproduce import revision
from sparsecomp.checks import InputError
from sparsecomp.files import write_atomic

if TYPE_CHECKING:
    from distributed import Client

JOBS = {"slurm": "SLURMCluster", "pbs": "PBSCluster"}  # of dask-jobqueue
PATIENCE = 30  # seconds that workers may take to begin
LOST = "the connection to the scheduler is lost; the same command resumes"


def cores() -> int:
    """Cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def client(
    out: Path, workers: int, scheduler: str | None = None, *, gpu: int = 0, memory: int = 0
) -> Iterator[Client]:
    """Connect to workers that are fit for work on ``out``; those that are started here end with the block.

    Parameters
    ----------
    workers : int
        Processes on this machine, or jobs to ask for; of a scheduler's address its own count.
    scheduler : str, optional
        The address of a running scheduler, or ``slurm`` or ``pbs`` (with dask-jobqueue and its configuration).
    gpu, memory : int
        GPUs (0 or 1) and bytes that a task needs: on this machine there are only as many workers as have them.

    Raises
    ------
    ValueError
        If no scheduler answers, it has no workers, there is no GPU, or `check_workers` refuses one.
    """
    import dask
    from distributed import Client

    with dask.config.set({"distributed.comm.timeouts.connect": "10s", "logging.distributed": "error"}):
        if scheduler is not None and scheduler not in JOBS:
            try:
                found = Client(scheduler, timeout="10s", set_as_default=False)
            except (OSError, ValueError) as error:
                raise InputError(f"no scheduler answers at {scheduler}") from error
            try:
                try:
                    found.wait_for_workers(1, timeout=PATIENCE)
                except TimeoutError as error:
                    raise InputError(f"the scheduler at {scheduler} has no workers") from error
                check_workers(found, out)
                yield found
            finally:
                found.close(timeout=2)
            return
        cluster = _local(workers, gpu, memory) if scheduler is None else _jobs(scheduler, workers)
        try:
            with Client(cluster, set_as_default=False) as found:
                found.wait_for_workers(1, timeout=2 * PATIENCE if scheduler is None else None)
                check_workers(found, out)
                yield found
        finally:
            with suppress(Exception):
                _end(cluster)


def _local(workers: int, gpu: int, memory: int) -> Any:
    import psutil
    from distributed import Nanny, Scheduler, SpecCluster

    if memory:
        workers = max(1, min(workers, psutil.virtual_memory().total // memory))
    if gpu:
        import torch

        if not (gpus := torch.cuda.device_count()):
            raise InputError("a GPU is needed, and there is none here")
        workers = min(workers, gpus)
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "error"  # workers read it when they start
    options: dict[str, Any] = {"nthreads": 1, "memory_limit": 0, "dashboard": False}
    spec = {i: {"cls": Nanny, "options": options | {
        "resources": {"GPU": 1} if gpu else {}, "env": {"CUDA_VISIBLE_DEVICES": str(i)} if gpu else {},
    }} for i in range(workers)}  # fmt: skip
    served = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    return SpecCluster(workers=spec, scheduler={"cls": Scheduler, "options": served}, silence_logs=50)


def _end(cluster: Any) -> None:
    """Close a cluster. Workers here are killed: what they are at has kept what it wants to keep."""
    import psutil

    for nanny in cluster.workers.values() if isinstance(cluster.workers, dict) else ():
        nanny.auto_restart = False
        with suppress(AttributeError, psutil.Error):  # jobs of a batch system have no process here
            worker = psutil.Process(nanny.pid)
            for process in (*worker.children(recursive=True), worker):
                process.kill()
    cluster.close(timeout=5)


def _jobs(kind: str, workers: int) -> Any:
    """Ask a batch system for workers; cores, memory, queue and account stand in dask-jobqueue's configuration."""
    try:
        import dask_jobqueue
    except ImportError:
        raise InputError(f"--scheduler {kind} needs dask-jobqueue: pip install dask-jobqueue") from None
    cluster = getattr(dask_jobqueue, JOBS[kind])(processes=1, cores=1)
    cluster.scale(jobs=workers)
    return cluster


def check_workers(client: Client, out: Path) -> None:
    """Refuse workers that do not see ``out``, run another commit or environment, or take several tasks at once.

    Raises
    ------
    ValueError
        With what differs, and on which worker.
    """
    ours, token = environment(), out / f".seen-{uuid.uuid4().hex}"
    write_atomic(token, b"")
    try:
        found = client.run(_who, str(token))
    finally:
        token.unlink(missing_ok=True)
    threads = {address: of["nthreads"] for address, of in client.scheduler_info(n_workers=-1)["workers"].items()}
    for address, theirs in found.items():
        if not theirs["sees"]:
            raise InputError(f"worker {address} does not see {out}: scheduler and workers need one file system")
        if different := differs(theirs, ours):
            raise InputError(f"worker {address} {different}")
        if threads.get(address, 1) != 1:
            raise InputError(f"worker {address} has {threads[address]} threads: start workers with --nthreads 1")


def differs(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """Say what a worker has another of: commit, lock or Python; nothing if it has the same."""
    for name in ("commit", "lock", "python"):
        if name in ours and theirs[name] != ours[name]:
            return f"has another {name}: {theirs[name]}, not {ours[name]}"
    return ""


def environment() -> dict[str, Any]:
    """What a worker must have in common with all others, and what it is."""
    return revision.of_clone() | {
        "lock": revision.of_lock(), "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}", "node": platform.node(),
    }  # fmt: skip


def _who(token: str) -> dict[str, Any]:
    return environment() | {"sees": Path(token).exists()}

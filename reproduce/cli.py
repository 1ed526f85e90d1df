"""The command line of the reproduction: ``python -m reproduce``.

PyTorch is imported inside the commands that need it, so that ``--help`` is there at once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from reproduce import notebooks
from sparsecomp import cli
from sparsecomp.checks import InputError, in_range, one_of
from sparsecomp.cli import Device, Seed, check_out, checked_device, plain
from sparsecomp.files import write_atomic
from sparsecomp.report import show_table
from sparsecomp.training.configs import PRESETS

app = typer.Typer(**plain)
bench_app = typer.Typer(help="Measurements of speed on this machine.", **plain)
app.add_typer(bench_app, name="bench")
app.callback(help="The three papers: make the records, run the chapters, weigh the claims.")(cli.top)

NAMES = ", ".join(PRESETS)
COLUMNS = 10  # of a sweep's table on the console
Precision = Annotated[
    str | None,
    typer.Option(help="Of products while networks are trained: float32, tf32 or bfloat16; else the preset's."),
]
Compiled = Annotated[bool, typer.Option("--compile", help="Compile the networks that are trained (torch.compile).")]
# Known without PyTorch; the tests hold them against the studies.
STUDIES = (
    "baselines", "coin", "first_values", "gallery", "search", "ingredients", "loonie", "loonie_parts", "loonie_race",
    "cae", "cae_sparse", "cae_density", "cae_speed", "cae_coders", "cae_fine", "cae_released", "cae_variants",
    "cae_admm", "cae_admm_mixed", "cae_admm_variants", "cae_admm_rounding", "cae_admm_unpruned", "cae_admm_schedules",
    "cae_admm_steps",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run a command and give the exit status, as `sparsecomp.cli.run`."""
    return cli.run(app, "python -m reproduce", sys.argv[1:] if arguments is None else arguments)


@app.command()
def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(STUDIES) + ".")],
    preset: Annotated[str, typer.Option("--preset", "--profile", help=f"How much is done: {NAMES}.")] = "laptop",
    device: Device = "cpu",
    precision: Precision = None,
    compiled: Compiled = False,
    max_minutes: Annotated[float | None, typer.Option(help="Pause after so many minutes.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where records go; else results/runs.")] = None,
    of: Annotated[str | None, typer.Option("--data", help="Pictures: kodak or bundled; else the study's own.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes on a CPU; else one a core.")] = None,
    seed: Seed = 0,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a running Dask scheduler; or slurm, or pbs.")
    ] = None,
    only: Annotated[str | None, typer.Option(metavar="LABEL", help="Only records whose name contains this.")] = None,
    commit: Annotated[str | None, typer.Option(help="The code's commit, where there is no git.")] = None,
    train_on: Annotated[
        Path | None, typer.Option("--train", metavar="DIR", help="Autoencoders: a folder to train on; else BSDS500.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the records that are there or to be made.")] = False,
    pack: Annotated[bool, typer.Option("--pack", help="Then pack the records into parts of at most 15 MiB.")] = False,
) -> None:
    """Make the records of a study. What is there is kept, what is half done is continued."""
    one_of("preset", preset, PRESETS)
    if max_minutes is not None:
        in_range("max_minutes", max_minutes, 0, ends="(]")
    from concurrent.futures import BrokenExecutor

    import torch

    from reproduce import records, runner
    from reproduce.studies import OWN_PICTURES, STUDIES
    from sparsecomp.training.arithmetic import Arithmetic
    from sparsecomp.training.loop import Paused

    one_of("study", name, STUDIES)
    if of is not None:
        one_of("data", of, ("kodak", "bundled"))
    if of is not None and name in OWN_PICTURES:
        raise InputError(f"study {name} has its own pictures: leave out --data {of}")
    if train_on is not None and not name.startswith("cae"):
        raise InputError(f"study {name} trains no autoencoder: leave out --train {train_on}")
    out = records.runs_folder() if out is None else out.absolute()
    if out.exists() and not out.is_dir():
        raise InputError(f"output {str(out)!r} is there and is no folder")
    torch.set_num_threads(1)  # the work is done by processes, one a core; here only files are measured
    arithmetic = Arithmetic(precision, compiled) if precision else None
    (arithmetic or Arithmetic()).check(checked_device(device))
    request = runner.Request(preset, out, device, seed, of, train_on, arithmetic, compiled and not precision)
    with _workers_die_with_us():
        try:
            made = runner.run(
                STUDIES[name](request), out, workers=workers or records.cores(), only=only, dry_run=dry_run,
                scheduler=scheduler, max_seconds=None if max_minutes is None else 60 * max_minutes, commit=commit,
                report=lambda line: print(line, flush=True),
            )  # fmt: skip
            if dry_run:
                print(f"{sum(not path.exists() for path in made)} of {len(made)} records to be made in {out / name}")
            else:
                print(f"done: {len(made)} records in {out / name}")
        except Paused as reason:
            print(f"paused: {reason}; the same command resumes")
        except BrokenExecutor as error:
            raise MemoryError("a worker was killed, for memory perhaps; the same command resumes") from error
    if pack and not dry_run:
        for part in records.pack(out, (name,)):
            print(f"packed: {part}")


@app.command()
def queue(
    device: Device = "cpu",
    minutes: Annotated[float, typer.Option(help="Everything is written within about so many.")] = 9.0,
    preset: Annotated[list[str] | None, typer.Option(help="Only entries of this preset; may be repeated.")] = None,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="All at preset smoke, on bundled pictures.")] = False,
    precision: Precision = None,
    compiled: Compiled = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where records go; else results/runs.")] = None,
    parts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put back what is packed here; at the end pack what there is.")
    ] = None,
    most: Annotated[float, typer.Option(help="MiB to pack at most; what goes beyond is named and stays.")] = 60.0,
    measure: Annotated[bool, typer.Option("--measure", help="Only measure what was trained; needs no GPU.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that measure; else one a core.")] = None,
    seed: Seed = 0,
    commit: Annotated[str | None, typer.Option(help="The code's commit, where there is no git.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List plans, minutes, what is read and written.")] = False,
) -> None:
    """Run the most valuable unfinished trainings first, and pause at the time limit. The next call resumes."""
    in_range("minutes", minutes, 0, ends="(]")
    for name in preset or ():
        one_of("preset", name, ("paper-fast", "paper"))
    import torch

    from reproduce import queue, records, runner
    from sparsecomp.training.arithmetic import Arithmetic

    arithmetic = Arithmetic(precision or "float32", compiled)
    arithmetic.check(device if dry_run or measure else checked_device(device))
    out = records.runs_folder() if out is None else out.absolute()
    torch.set_num_threads(1)
    of = "bundled" if rehearse else None
    request = runner.Request("smoke" if rehearse else "", out, device, seed, of, arithmetic=arithmetic)
    if dry_run:
        found = queue.tasks(request, preset)
    else:
        found = queue.run(
            request, minutes, presets=preset, parts=parts, most=most, commit=commit,
            stage="measure" if measure else "train", workers=(workers or records.cores()) if measure else 1,
            report=lambda line: print(line, flush=True),
        )  # fmt: skip
    if found:
        rows, title = [task.row() for task in found], f"queue for {device}, {arithmetic.precision}"
        show_table(title, queue.HEADS, rows, queue.totals(found))
    else:
        print("nothing is left to do, or there is too little time to begin")


class _Pairs(TyperCommand):
    """typer knows no list of pairs: ``-p name value`` is read as ``-p name=value``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest, joined = list(args), []
        while rest:
            joined.append(rest.pop(0))
            if joined[-1] == "-p" and len(rest) > 1 and "=" not in rest[0]:
                joined.append(f"{rest.pop(0)}={rest.pop(0)}")
        return super().parse_args(ctx, joined)


@app.command(cls=_Pairs)
def run(
    notebook: Annotated[str, typer.Argument(metavar="NOTEBOOK", help="A chapter, such as 10_coin, or a .py file.")],
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME VALUE", help="Replace a parameter; may be repeated.")
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", "--profile", help=f"Short for -p preset: {NAMES}.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.ipynb", help="The executed notebook; else build/notebooks/NAME.ipynb.")
    ] = None,
) -> None:
    """Run a notebook with parameters of your own."""
    source = notebooks.find(notebook)
    values: dict[str, object] = {}
    if preset is not None:
        one_of("preset", preset, PRESETS)
        values["preset"] = preset
    for pair in parameter or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"-p {pair}: a name and a value are needed")
        values[name] = notebooks.value(text)
    if out is None:
        out = notebooks.folder().parent / "build" / "notebooks" / f"{source.stem}.ipynb"
        out.parent.mkdir(parents=True, exist_ok=True)
    elif out.suffix != ".ipynb":
        raise InputError(f"output {str(out)!r}: a name that ends in .ipynb is needed")
    check_out(out, source)
    print(notebooks.run(source, values, out))


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The grid, such as sweeps/starts.yaml.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Processes here, or jobs to ask for; else one a core.")] = (
        None
    ),
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a running Dask scheduler; or slurm, or pbs.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help=f"Of all rows: {NAMES}.")] = None,
    axis: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=V1,V2", help="Other values of an axis; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where rows go; else build/sweeps/NAME.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a failed row begins again.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the rows, and which have a record.")] = False,
) -> None:
    """Run a notebook over a grid of parameters, row by row, side by side. Rows that have a record are skipped."""
    from reproduce import cluster, grid, progress, sweep_report
    from reproduce import sweep as sweeps

    if preset is not None:
        one_of("preset", preset, PRESETS)
    chosen = grid.read(file, preset)
    for pair in axis or []:
        name, equals, text = pair.partition("=")
        if not equals or not text:
            raise InputError(f"--set {pair}: a name and values are needed, such as bpp=0.1,0.2")
        chosen = chosen.with_axis(name, [notebooks.value(part) for part in text.split(",")])
    folder = (notebooks.folder().parent / "build" / "sweeps" / chosen.name if out is None else out).absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output {str(folder)!r} is there and is no folder")
    tasks = sweeps.tasks_of(chosen, folder, retries)
    if dry_run:
        for task in tasks:
            print(f"{task.name}: the record is {'there' if task.file('json').exists() else 'to be made'}")
        return
    try:
        with _workers_die_with_us(), progress.shown(len(tasks)) as shown:
            outcomes = sweeps.run(
                chosen, tasks, workers=workers or cluster.cores(), scheduler=scheduler, report=shown.settle,
                begun=shown.dashboard,
            )  # fmt: skip
    finally:  # what is done is in the table, whatever ended the sweep
        if folder.exists():
            table, page = sweep_report.write(chosen, tasks)
    rows = sweep_report.rows_of(chosen, tasks)
    every = sweep_report.columns_of(rows)
    columns = every[:COLUMNS]
    notes = [f"{table}" + (f" has {len(every) - COLUMNS} more columns" if len(every) > COLUMNS else ""), f"{page}"]
    show_table(f"sweep {chosen.name}: {sweeps.counts(outcomes)}", columns, [
        [sweep_report.cell(row.get(name)) for name in columns] for row in rows
    ], notes)  # fmt: skip
    if any(outcome.status == sweeps.FAILED for outcome in outcomes):
        raise typer.Exit(1)


def _check_folder(out: Path | None) -> None:
    if out is not None and not out.is_dir():
        raise InputError(f"output {str(out)!r}: there is no such folder")


@bench_app.command("fit")
def bench_fit(
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the table as a record in this folder.")] = None,
) -> None:
    """Time `fast` fits, and `loonie` files, against `reference` (COIN's own way) to the same PSNR; about a minute."""
    from reproduce import bench

    _check_folder(out)
    table = bench.bench_fit(seed)
    if out is not None:
        bench.write(table, out, seed)
    heads = ["mode", "backend", "optimiser", "pixels a step", "ns a pixel and step"]
    heads += [f"s to {target:g} dB" for target in table.targets] + [f"ratio, {target:g} dB" for target in table.targets]
    rows = []
    for row in table.rows:
        cells = [row.mode, row.backend, row.optimiser, f"{row.pixels:,}", f"{row.nanoseconds:,.0f}"]
        cells += ["-" if seconds is None else f"{seconds:,.2f}" for seconds in row.seconds]
        rows.append(cells + ["-" if ratio is None else f"{ratio:.0f}x" for ratio in table.ratios(row)])
    show_table(f"{bench.ARCHITECTURE} on {table.picture}, threads: {table.threads}", heads, rows, [
        f"reference: extrapolated, three timed steps times the steps of a recorded course ({table.course})",
        "fast: whole fits, compiling the kernel and scoring included",
        f"loonie: until one of our files of at most {bench.LOONIE_BPP} bpp (a larger network) has that PSNR",
        f"-: not reached in {bench.FAST.steps} steps, or {bench.GIVE_UP:g} s",
    ])  # fmt: skip


@bench_app.command("projections")
def bench_projections(
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the tensor that is projected.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the table as a record in this folder.")] = None,
) -> None:
    """Time the projections of a layer's weights against sorting them; about ten seconds."""
    from reproduce import bench

    _check_folder(out)
    table = bench.bench_projections(seed)
    if out is not None:
        bench.write_projections(table, out, seed)
    heads = ["projection", "ms", "of a sort", "radius", "zeros", "dead groups", "distance", "x Euclidean"]
    heads.append("released, ms")
    rows = []
    for row in table.rows:
        cells = [row.projection, f"{row.milliseconds:,.1f}", f"{table.ratio(row):.2f}", f"{row.radius:,.4g}"]
        cells += [f"{100 * share:.2f} %" for share in (row.sparsity, row.dead)] + [f"{row.distance:.3f}"]
        cells.append("-" if row.over_euclidean is None else f"{row.over_euclidean:.3f}")
        rows.append([*cells, "-" if row.released is None else f"{row.released:,.0f}"])
    title = f"{'x'.join(map(str, table.shape))}, sort: {table.sort:,.1f} ms, threads: {table.threads}"
    show_table(title, heads, rows, [
        "distance: from the tensor, over the tensor's norm",
        "x Euclidean: distance of a bilevel projection over that of the Euclidean one at the same radius",
        "released: the paper's code, timed once on 4 cores; shown, not counted",
    ])  # fmt: skip


@bench_app.command("sweep")
def bench_sweep(
    workers: Annotated[int, typer.Option(min=1, help="Processes of the sweep that is timed.")] = 2,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the table as a record in this folder.")] = None,
) -> None:
    """Time a sweep against its rows run one after another, and the scheduler by itself; about four minutes."""
    from reproduce import sweep_bench

    _check_folder(out)
    found = sweep_bench.bench_sweep(workers=workers)
    if out is not None:
        sweep_bench.write(found, out)
    show_table(f"sweeps on {workers} workers of one thread", ["measured", "figure"], [
        [f"{found.rows} smoke rows, one after another", f"{found.single:.1f} s"],
        ["the same rows as a sweep", f"{found.swept:.1f} s"],
        ["the sweep, over an even share of the single runs", f"{found.ratio:.2f}x"],
        ["a row that does nothing", f"{found.overhead:.2f} s"],
        [f"{found.empty:,} rows that are done, on {found.simulated} workers", f"{found.scheduled:.1f} s"],
        ["and the memory that they take", f"{found.grown:.0f} MB"],
    ], ["an even share: the time of the single runs over the number of workers"])  # fmt: skip


@app.command()
def verify(
    update: Annotated[bool, typer.Option("--update", help="Agree on today's verdicts from now on.")] = False,
) -> None:
    """Weigh every claim against the records; fail (exit 1) if one that held no longer does."""
    from reproduce import claims

    now, lost = (claims.weigh_all(), []) if update else claims.verify()
    heads = ["paper", "claim", "published", "ours", "preset", "status"]
    show_table("claims, weighed by the records", heads, [[v.row()[head] for head in heads] for v in now], [])
    if update:
        claims.write(now)
    elif lost:
        print(f"reproduce: no longer holds: {', '.join(lost)}", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="FILE.tsv", help="The table to write.")],
    of: Annotated[str | None, typer.Option("--study", metavar="NAME", help="Only this study.")] = None,
) -> None:
    """Write every row of every record as one table, tab-separated."""
    from reproduce.records import Records

    check_out(out, "")
    table = Records().table() if of is None else Records().table().query("study == @of")
    if table.empty:
        raise InputError(f"study {of!r} has no records")
    write_atomic(out, table.dropna(axis=1, how="all").to_csv(None, sep="\t", index=False).encode())
    print(f"{out}: {len(table):,} rows")


@contextmanager
def _workers_die_with_us() -> Iterator[None]:
    """On Ctrl-C or a kill end the processes of a study or sweep, too: they would first finish all that waits."""
    import multiprocessing
    import signal

    def stop(number: int, frame: object) -> NoReturn:
        for process in multiprocessing.active_children():
            process.terminate()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

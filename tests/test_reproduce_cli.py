"""The command line of the reproduction: ``python -m reproduce``."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from reproduce import cli, records, runner, studies
from sparsecomp.training.arithmetic import Arithmetic
from sparsecomp.training.loop import Paused

ROOT = Path(__file__).parents[1]
COMMANDS = ("study", "run", "verify", "bench", "export")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, command: str) -> tuple[int, str, str]:
    status = cli.main(command.split())
    return status, *capsys.readouterr()


def test_help_names_every_command_and_study_and_needs_no_torch(capsys):
    program = "import sys; from reproduce.cli import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert all(re.search(rf"^[^a-z]*{name} ", done.stdout, re.M) for name in COMMANDS)
    assert done.stdout.endswith("False\n")
    assert cli.STUDIES == tuple(studies.STUDIES)
    assert all(name in run(capsys, "study --help")[1] for name in studies.STUDIES)


REFUSED = {
    "study nope --out runs": "study must be one of baselines,",
    "study coin --preset nope --out runs": "preset must be one of smoke,",
    "study coin --preset smoke --data bundled --train photos --out runs": "leave out --train photos",
    "study gallery --preset smoke --data kodak --out runs": "leave out --data kodak",
    "study coin --precision half --out runs": "precision must be one of float32, tf32, bfloat16, got 'half'",
    "study coin --precision tf32 --out runs": "precision must be float32 or bfloat16 on a CPU, got 'tf32'",
    "study coin --max-minutes 0 --out runs": "max_minutes must be a finite number above 0, got 0.0",
    "study coin --preset smoke --data bundled --out file": "file' is there and is no folder",
    "study cae_sparse --preset smoke --data bundled --out runs": "with `python -m reproduce study cae --preset smoke`",
    "run nope": "neither a chapter",
    "export nowhere/all.tsv": "no folder 'nowhere'",
    "export all.tsv --study nope": "study 'nope' has no records",
    "bench": "Missing command",
}


@pytest.mark.parametrize("command", REFUSED)
def test_refused_in_one_line_and_nothing_is_left(capsys, command):
    Path("file").touch()
    status, out, err = run(capsys, command)
    assert (status, out) == (2, "") and re.fullmatch(rf"reproduce: [^\n]*{re.escape(REFUSED[command])}[^\n]*\n", err), (
        err
    )
    assert [path.name for path in Path().iterdir()] == ["file"]


def bug(*arguments: object, **options: object) -> None:
    np.zeros(2) + np.zeros(3)  # a ValueError, as a refusal is one


BUGS = {
    "study coin --preset smoke --data bundled --out runs": "reproduce.runner.run",
    "run chapter.py --out out.ipynb": "reproduce.notebooks.run",
    "bench fit": "reproduce.bench.bench_fit",
    "verify": "reproduce.claims.verify",
    "export all.tsv": "reproduce.records.Records.table",
}


@pytest.mark.parametrize("command", BUGS)
def test_bug_exits_1_and_shows_its_traceback_with_debug_alone(capsys, monkeypatch, command):
    Path("chapter.py").touch()
    monkeypatch.setattr(BUGS[command], bug)
    said = r"reproduce: internal error: ValueError: operands [^\n]+"
    status, out, err = run(capsys, command)
    assert (status, out) == (1, "") and re.fullmatch(said + "; run again with --debug for the traceback\n", err), err
    status, out, err = run(capsys, f"--debug {command}")
    assert (status, out) == (1, "") and "in bug" in err and re.fullmatch(said, err.splitlines()[-1]), err


# Studies --------------------------------------------------------------------------------------------------------------


def test_study_makes_its_record_once_and_packs_it(capsys):
    command = "study coin --preset smoke --data bundled --out runs --workers 1 --pack"
    status, out, err = run(capsys, command)
    (record,) = Path("runs/coin").glob("*.json")
    written = record.read_bytes()
    assert status == 0 and "done: 1 records" in out and not err
    assert "packed: " in out and Path("runs/records.tar.gz.00").stat().st_size > 0
    status, out, _ = run(capsys, command)
    assert status == 0 and "the record is there" in out and record.read_bytes() == written
    status, out, _ = run(capsys, command.replace("--pack", "--seed 1 --dry-run"))
    assert status == 0 and "1 of 1 records to be made" in out and list(Path("runs/coin").glob("*.json")) == [record]


def test_options_reach_the_plans_and_the_runner(capsys, monkeypatch, folder):
    seen: list = []
    monkeypatch.setitem(studies.STUDIES, "cae", lambda request: seen.append(request) or [])
    monkeypatch.setattr(runner, "run", lambda plans, out, **options: seen.append((out, options)) or [])
    options = "--preset paper --max-minutes 9.5 --out runs --data bundled --workers 3 --seed 5 --commit abc --only high"
    assert run(capsys, f"study cae {options} --train photos --precision bfloat16 --compile")[0] == 0
    request, (out, given) = seen
    runs = folder / "runs"
    arithmetic = Arithmetic("bfloat16", compiled=True)
    assert request == runner.Request("paper", runs, "cpu", 5, "bundled", Path("photos"), arithmetic) and out == runs
    expected = {"workers": 3, "only": "high", "dry_run": False, "max_seconds": 570, "commit": "abc"}
    assert expected.items() <= given.items()
    assert run(capsys, "study cae")[0] == 0
    assert seen[2].out == records.runs_folder() and seen[3][1]["workers"] == records.cores()


def test_pause_is_no_error_and_ctrl_c_says_how_to_go_on(capsys, monkeypatch):
    def ends(reason):
        def plans(request):
            raise reason

        monkeypatch.setitem(studies.STUDIES, "coin", plans)
        return run(capsys, "study coin --out runs")

    assert ends(Paused("the time is over")) == (0, "paused: the time is over; the same command resumes\n", "")
    status, out, err = ends(KeyboardInterrupt())
    assert (status, out) == (130, "") and re.fullmatch("reproduce: stopped; the same command resumes[^\n]*\n", err)


@pytest.mark.skipif(sys.platform == "win32", reason="signals to a group of processes are POSIX's")
def test_ctrl_c_ends_a_study_and_its_workers_at_once(folder):
    command = [sys.executable, "-m", "reproduce", "study", "coin", "--data", "bundled", "--workers", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen([*command, "--out", folder / "runs"], start_new_session=True, cwd=ROOT, **pipes)
    try:
        deadline = time.monotonic() + 30
        while not list(Path().glob("runs/coin/.partial/*/")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of them
        out, err = running.communicate(timeout=30)  # until nobody, worker or not, holds the pipes any more
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert (running.returncode, out) == (130, "") and "reproduce: stopped" in err.splitlines()[-1]


# Records and claims ---------------------------------------------------------------------------------------------------


def test_export_writes_every_row_of_every_record(capsys):
    status, out, _ = run(capsys, "export all.tsv")
    with Path("all.tsv").open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    every = records.Records()
    assert status == 0 and out == f"all.tsv: {len(rows):,} rows\n"
    assert len(rows) == sum(len(record.rows) for study in every.studies for record in every.find(study))
    assert run(capsys, "export coin.tsv --study coin")[0] == 0
    assert {row["study"] for row in csv.DictReader(Path("coin.tsv").open(), delimiter="\t")} == {"coin"}


def test_verify_prints_every_claim_and_fails_when_one_no_longer_holds(capsys, monkeypatch):
    status, out, err = run(capsys, "verify")
    assert status == 0 and not err and "coin-5x20" not in out and "5x20 on Kodak" in out
    from reproduce import claims

    real = claims.verify
    monkeypatch.setattr(claims, "verify", lambda: (real()[0], ["coin-5x20"]))
    status, _, err = run(capsys, "verify")
    assert status == 1 and err == "reproduce: no longer holds: coin-5x20\n"

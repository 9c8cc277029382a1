"""Everything that a sweep may meet on one machine. After each, the same command ends with the full grid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from omegaconf import DictConfig

from processes import (
    GRID,
    PROJECT,
    SMALL,
    Start,
    all_four,
    folder_with_data,
    rows,
    run,
    runs,
    trained,
    wait_for,
)
from vae_likelihoods.cells.cell import Cell
from vae_likelihoods.files import sha256
from vae_likelihoods.tracking.connection import connect

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]  # MLflow's own and its dependencies'

SLOW = ["training.epochs=40", "runtime.checkpoint_seconds=0"]  # to be caught alive
SLOWER = ["training.epochs=200", "runtime.checkpoint_seconds=0"]  # and seen by MLflow before
FULL = "No space left on device"


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of MLflow, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("mlflow")
    connect(f"sqlite:///{folder / 'mlflow.db'}", folder)
    return folder / "mlflow.db"


@pytest.fixture
def fresh(prepared_root: Path, tmp_path: Path) -> Path:
    """A folder of results that no command has seen."""
    return folder_with_data(prepared_root, tmp_path)


@pytest.fixture
def root(fresh: Path, database: Path) -> Path:
    """A folder of results with an empty database."""
    shutil.copyfile(database, fresh / "mlflow.db")
    return fresh


def complete(root: Path, *overrides: str, within: Sequence[str] = ()) -> str:
    """Give the same command again, which must succeed, with every cell once in MLflow; return its output."""
    output = run("train", root, "-m", *overrides, within=within).stdout
    assert "failed" not in output
    assert "missing" not in output
    return output


def whole(root: Path) -> None:
    """Check that the four cells of GRID are laid out, and in MLflow once, with their parent."""
    assert trained(root) == {name for name, _ in all_four()}
    assert runs(root) == {**all_four(), ("scratch sweep", "FINISHED"): 1}
    epochs = rows(root, "select count(*) from metrics where key = 'val/bpd' group by run_uuid")
    assert len(epochs) == 4
    assert len(set(epochs)) == 1
    doubled = "select 1 from metrics group by run_uuid, key, step having count(*) > 1"
    assert not rows(root, doubled)


def done(root: Path) -> dict[Path, int]:
    """Return which results are complete, and the inode that says when one is made again."""
    return {path: path.stat().st_ino for path in root.glob(".cells/*/DONE")}


def still(root: Path, before: dict[Path, int]) -> bool:
    """Whether what was done before was not done again."""
    return before.items() <= done(root).items()


def running(root: Path) -> set[str]:
    return {name for name, status in runs(root) if status == "RUNNING"}


# Processes that die


def test_workers_killed_again_and_again(root: Path, start: Start) -> None:
    driver = start("train", root, "-m", *GRID, *SLOW)
    for killed in (1, 2):
        wait_for(lambda: any(root.glob(".cells/*/checkpoint.pt")) and len(driver.workers()) == 2)
        before = done(root)
        os.kill(driver.workers()[0].pid, signal.SIGKILL)
        wait_for(lambda: driver.output.count("the workers broke down") == killed)  # noqa: B023
        assert still(root, before)
    assert "4 done" in driver.end(code=0)
    whole(root)


def test_a_cell_whose_worker_always_dies_costs_no_other_cell(
    root: Path, start: Start, configuration: Callable[..., DictConfig]
) -> None:
    settings = [*SMALL[:2], *SMALL[3:], *SLOW, "likelihood=binomial", "latent_dim=2"]
    cell = Cell.of(configuration(*settings, f"runtime.root='{root}'"))
    driver = start("train", root, "-m", *GRID, *SLOW)
    lock = str(cell.trained.folder / "lock")
    while driver.alive:
        for worker in driver.workers():
            with suppress(psutil.NoSuchProcess):
                if lock in {file.path for file in worker.open_files()}:
                    worker.kill()
        time.sleep(0.02)
    output = driver.end(code=1)
    assert "3 done, 1 missing" in output
    assert "missing  binomial-2-0: its process was lost" in output
    assert not running(root)
    before = done(root)
    assert len(before) == 3
    assert "1 done, 3 taken from the store" in complete(root, *GRID, *SLOW)
    assert still(root, before)
    whole(root)


def test_a_driver_killed_alone_leaves_workers_that_are_waited_for(root: Path, start: Start) -> None:
    driver = start("train", root, "-m", *GRID, *SLOWER)
    wait_for(lambda: len(running(root)) == 3)
    workers = driver.workers()
    driver.send(signal.SIGKILL)
    driver.end(code=-signal.SIGKILL)
    assert all(worker.is_running() for worker in workers)
    again = start("train", root, "-m", *GRID, *SLOWER)
    assert "which another process computes" in again.end(code=0)
    whole(root)
    timings = [path.read_text().splitlines() for path in root.glob(".cells/*/timings.csv")]
    assert [len(lines) for lines in timings] == [201] * 4  # nobody trained an epoch twice


def test_all_processes_killed_at_any_moment(fresh: Path, start: Start) -> None:
    moments = [".mlflow.db.*", ".cells/*/checkpoint.pt", ".cells/*/.DONE.*", "runs/scratch/[!.]*"]
    for moment in moments:
        begun, before = set(fresh.glob(moment)), done(fresh)
        driver = start("train", fresh, "-m", *GRID, *SLOW)
        while driver.alive and set(fresh.glob(moment)) <= begun:
            time.sleep(0.001)
        assert driver.alive, driver.output
        driver.send(signal.SIGKILL, group=True)
        driver.end(code=-signal.SIGKILL)
        assert still(fresh, before)
    before = done(fresh)
    complete(fresh, *GRID, *SLOW)
    assert still(fresh, before)
    whole(fresh)

    driver = start("evaluate", fresh, "-m", *GRID, *SLOW)
    wait_for(lambda: any(fresh.glob("evaluations/scratch/*/metrics.json")))
    driver.send(signal.SIGKILL, group=True)
    driver.end(code=-signal.SIGKILL)
    run("evaluate", fresh, "-m", *GRID, *SLOW)
    assert len(list(fresh.glob("evaluations/scratch/*/metrics.json"))) == 4
    assert rows(fresh, "select count(*) from metrics where key = 'test/bpd'") == [(4,)]
    whole(fresh)


# Signals


def test_signals_to_the_driver_and_to_all_stop_the_workers_and_say_so(root: Path, start: Start) -> None:
    for number, group in [(s, g) for s in (signal.SIGTERM, signal.SIGINT) for g in (False, True)]:
        before = done(root)
        driver = start("train", root, "-m", *GRID, *SLOWER)
        wait_for(lambda: len(running(root)) >= 2 and len(driver.workers()) >= 2)  # noqa: B023
        workers = driver.workers()
        driver.send(number, group)
        lines = driver.end(code=128 + number).splitlines()
        assert lines[-1] == "interrupted; the same command goes on where it stopped"
        assert sum(line.startswith("train scratch: ") for line in lines) == 1
        assert any(line.endswith(": interrupted") for line in lines)
        assert "Traceback" not in driver.output
        wait_for(lambda: not any(worker.is_running() for worker in workers))  # noqa: B023
        assert runs(root)["scratch sweep", "KILLED"] == 1
        assert not running(root)
        assert still(root, before)
    complete(root, *GRID, *SLOWER)
    whole(root)


def test_one_cell_is_interrupted_as_a_sweep_is(root: Path, start: Start) -> None:
    cell = ["likelihood=binomial", "latent_dim=2", *SLOWER]
    process = start("train", root, *cell)
    wait_for(lambda: len(running(root)) == 2)
    process.send(signal.SIGTERM)
    output = process.end(code=128 + signal.SIGTERM)
    assert output.splitlines()[-1] == "interrupted; the same command goes on where it stopped"
    assert set(runs(root)) == {("scratch sweep", "KILLED"), ("binomial-2-0", "KILLED")}
    run("train", root, *cell)
    assert runs(root) == {("scratch sweep", "FINISHED"): 1, ("binomial-2-0", "FINISHED"): 1}


def test_a_second_ctrl_c_does_not_wait_for_mlflow(root: Path, start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes calls and answers none
        address = f"tracking.uri=http://127.0.0.1:{silent.getsockname()[1]}"
        driver = start("train", root, "-m", *GRID, *SLOW, address)
        wait_for(lambda: any(root.glob(".cells/*/checkpoint.pt")))
        workers = driver.workers()
        driver.send(signal.SIGINT)
        wait_for(lambda: "train scratch: " in driver.output)
        assert driver.alive
        driver.send(signal.SIGINT)
        lines = driver.end(code=128 + signal.SIGINT).splitlines()
        assert lines[-1] == "interrupted; the same command goes on where it stopped"
        wait_for(lambda: not any(worker.is_running() for worker in workers))
    complete(root, *GRID, *SLOW)
    whole(root)


# Cells that raise


def test_one_cell_that_raises_for_good_and_one_for_a_while_among_twenty(
    root: Path, configuration: Callable[..., DictConfig]
) -> None:
    rates = [str(rate / 10_000) for rate in range(1, 20)]  # as names of cells have them
    few = ["likelihood=binomial", "latent_dim=2", "training.epochs=1", f"optimizer.lr={','.join(rates)}"]
    grid = [*few[:-1], f"{few[-1]},1e30"]
    small = [setting for setting in SMALL if not setting.startswith("training.epochs")]
    cell = Cell.of(configuration(*small, *few[:-1], "optimizer.lr=0.0007", f"runtime.root='{root}'"))
    blocked = cell.trained.folder / "history.csv"
    blocked.mkdir(parents=True)

    first = run("train", root, "-m", *grid, code=1)
    assert "18 done, 2 failed" in first.stdout
    assert "the loss is not finite in epoch 1" in first.stdout
    assert "failed   binomial-2-0-lr=0.0007: IsADirectoryError" in first.stdout
    assert first.stdout.count("(log: .cells/") == 2
    assert "Traceback" not in first.stdout + first.stderr
    before = done(root)
    blocked.rmdir()
    second = run("train", root, "-m", *grid, code=1)
    assert "1 done, 18 taken from the store, 1 failed" in second.stdout
    assert "19 taken from the store" in complete(root, *few)
    assert still(root, before)
    names = {f"binomial-2-0-lr={rate}" for rate in rates}
    assert trained(root) == names
    counts = runs(root)
    assert {name for name, status in counts if status == "FINISHED"} == {*names, "scratch sweep"}
    assert counts["binomial-2-0-lr=1e+30", "FAILED"] == 1
    assert not running(root)
    assert max(counts[name, "FINISHED"] for name in names) == 1


# Disks


@pytest.fixture(scope="session")
def unshare() -> list[str]:
    """The beginning of a command that runs in a mount namespace of its own, where that is permitted."""
    command = ["unshare", "--mount"]
    process = subprocess.run(
        [*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True
    )
    if process.returncode:
        pytest.fail(f"needs the right to mount: {process.stderr.strip()}")
    return command


@contextmanager
def mounted(unshare: list[str], script: str) -> Iterator[tuple[list[str], Path]]:
    """Mount by a shell script in a mount namespace of its own.

    Yields the beginning of a command that runs in the namespace, and the folder that shows its files here.
    """
    shell = ["sh", "-c", f"set -e\n{script}\necho mounted\nexec sleep 900"]
    with subprocess.Popen([*unshare, *shell], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "mounted\n"
            yield ["nsenter", "--mount", f"--target={holder.pid}"], Path(f"/proc/{holder.pid}/root")
        finally:
            holder.kill()


@pytest.mark.parametrize("full", ["store", "root"])
def test_a_full_disk(fresh: Path, database: Path, unshare: list[str], full: str) -> None:
    disk = fresh.parent / "disk"
    disk.mkdir()
    shutil.copyfile(database, fresh / "mlflow.db")
    root = disk if full == "root" else fresh
    grid = [*GRID, *([f"runtime.store='{disk}'"] if full == "store" else [])]
    script = [
        f"mount -t tmpfs -o size=100m tmpfs '{disk}'",
        f"cp -r '{fresh}/data' '{fresh}/mlflow.db' '{disk}'" if full == "root" else "",
        f"head -c 200k /dev/zero > '{disk}/spare'",
        f"head -c 100m /dev/zero > '{disk}/ballast' 2> /dev/null || rm '{disk}/spare'",
    ]
    with mounted(unshare, "\n".join(script)) as (within, mounts):
        first = run("train", root, "-m", *grid, code=1, within=within)
        failed = [line for line in first.stdout.splitlines() if line.startswith("  failed")]
        assert failed
        assert all(f"-0: OSError: [Errno 28] {FULL}" in line for line in failed)
        assert "Traceback" not in first.stdout + first.stderr
        (mounts / str(disk / "ballast").lstrip("/")).unlink()
        complete(root, *grid, within=within)
        # SQLite resolves links itself, and would leave the namespace: it gets a copy.
        whole(shutil.copytree(mounts / str(root).lstrip("/"), fresh.parent / "copy"))


@pytest.mark.parametrize(
    ("folder", "key"),
    [
        ("", "runtime.root"),
        ("runs", "runtime.root"),
        ("evaluations", ""),
        (".cells", "runtime.store"),
        (str(PROJECT / "logs"), "hydra.sweep.dir"),
    ],
)
def test_a_folder_that_is_read_only(root: Path, unshare: list[str], folder: str, key: str) -> None:
    blocked = root / folder
    blocked.mkdir(exist_ok=True)
    mount = f"mount --bind '{blocked}' '{blocked}'\nmount -o remount,bind,ro '{blocked}'"
    few = ["likelihood=binomial", "latent_dim=2,3", "tracking=none", "runtime.cells_at_once=1"]
    before = sorted(root.iterdir())
    with mounted(unshare, mount) as (within, _):
        if key:
            refused = run("train", root, "-m", *few, code=1, within=within)
            (line,) = refused.stderr.splitlines()
            assert line.startswith(f"{key}=")
            assert f": {blocked}" in line
            assert line.endswith(" cannot be written to (Read-only file system).")
            assert refused.stdout == ""
            assert sorted(root.iterdir()) == before
        else:
            complete(root, *few, within=within)  # who only trains needs no place for evaluations
            refused = run("evaluate", root, "-m", *few, code=1, within=within)
            assert refused.stderr.startswith("runtime.root=")
    if key:
        complete(root, *few)
    run("evaluate", root, "-m", *few)
    assert len(trained(root)) == 2


# Damage


def changed(path: Path) -> None:
    """Change one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def results(root: Path, study: str) -> dict[str, str]:
    """Return the hashes of all results of a study but config.yaml, which names the study."""
    files = (root / "runs" / study).rglob("*.*")
    results = [path for path in files if path.is_file() and path.name != "config.yaml"]
    return {path.relative_to(root / "runs" / study).as_posix(): sha256(path) for path in results}


def test_damaged_checkpoints_and_results(root: Path, start: Start, tmp_path: Path) -> None:
    apart = ["study=expected", f"runtime.store='{tmp_path / 'apart'}'", "tracking=none"]
    run("train", root, "-m", *GRID, *SLOW, *apart)
    expected = results(root, "expected")

    driver = start("train", root, "-m", *GRID, *SLOW)
    wait_for(lambda: len(list(root.glob(".cells/*/checkpoint.pt"))) == 2)
    driver.send(signal.SIGKILL, group=True)
    driver.end(code=-signal.SIGKILL)
    cut, flipped = root.glob(".cells/*/checkpoint.pt")
    cut.write_bytes(cut.read_bytes()[:-100])
    changed(flipped)
    complete(root, *GRID, *SLOW)
    assert results(root, "scratch") == expected

    garbled, emptied, *others = done(root)
    garbled.write_text('{"model.safetensors": ')
    emptied.write_bytes(b"")
    changed(others[0].parent / "model.safetensors")
    (others[1].parent / "grids" / "samples-0001.png").unlink()
    assert "4 done" in complete(root, *GRID, *SLOW)
    assert results(root, "scratch") == expected
    whole(root)


# Company


def test_two_sweeps_of_one_grid_at_once(fresh: Path, start: Start) -> None:
    drivers = [start("train", fresh, "-m", *GRID, *SLOW) for _ in range(2)]
    inodes: dict[Path, int] = {}
    while any(driver.alive for driver in drivers):
        for path, inode in done(fresh).items():
            assert inodes.setdefault(path, inode) == inode  # else it was made twice
        time.sleep(0.02)
    for driver in drivers:
        output = driver.end(code=0)
        assert "failed" not in output
    whole(fresh)

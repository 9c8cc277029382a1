"""An engine that runs jobs as a job array of SLURM, through submitit."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from itertools import repeat
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from typing_extensions import override

from vae_likelihoods.errors import SettingError, UnavailableError, require, require_count

try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher as Submitit
except ImportError:  # Hydra imports every plugin at its start; `setup` refuses this one
    Submitit = Launcher

log = logging.getLogger(__name__)

PROGRAMS = ("sbatch", "srun", "scontrol", "scancel", "sinfo", "sacct")
LOOK_SECONDS, ASK_SECONDS = 1.0, 30.0  # between looks at the files of jobs; between queries to SLURM


class SlurmLauncher(Submitit):
    """Runs each job as one of a SLURM job array, waits for all of them, and returns how each ended.

    Args:
        folder: for submitit's files and logs, visible to all nodes; a relative path is in runtime.root.
        partition: where jobs queue; None: the cluster's default.
        timeout_min: time limit of a job, minutes.
        cpus_per_task: CPU cores of a job.
        mem_gb: memory of a job, GB; None: the cluster's default.
        gpus_per_node: GPUs of a job; None: none.
        array_parallelism: how many jobs run at the same time.
        signal_delay_s: how long before its time limit a job is told to stop, seconds.
        max_num_timeout: how often a job that reached its time limit is queued again.
        setup: shell commands before the job's own.
        additional_parameters: further options of sbatch, by their long names.
    """

    def __init__(
        self,
        folder: str,
        partition: str | None,
        timeout_min: int,
        cpus_per_task: int,
        mem_gb: float | None,
        gpus_per_node: int | None,
        array_parallelism: int,
        signal_delay_s: int,
        max_num_timeout: int,
        setup: Sequence[str],
        additional_parameters: Mapping[str, Any],
    ) -> None:
        self.folder, self.max_num_timeout = folder, max_num_timeout
        self.options: dict[str, Any] = {
            "slurm_partition": partition,
            "timeout_min": timeout_min,
            "cpus_per_task": cpus_per_task,
            "mem_gb": mem_gb,
            "gpus_per_node": gpus_per_node,
            "slurm_array_parallelism": array_parallelism,
            "slurm_signal_delay_s": signal_delay_s,
            "slurm_setup": setup if isinstance(setup, str) else list(setup),
            "slurm_additional_parameters": dict(additional_parameters),
        }

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check the settings and SLURM before a job is submitted.

        Raises:
            SettingError: if a setting is impossible, or the partition does not exist.
            UnavailableError: if the extra, SLURM's programs or its accounting are missing.
        """
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        if Submitit is Launcher or importlib.util.find_spec("submitit") is None:
            raise UnavailableError("needs an extra: pip install -e '.[slurm]'")
        self._check_options()
        _check_slurm(self.options["slurm_partition"])

    def _check_options(self) -> None:
        for key in ("timeout_min", "cpus_per_task", "slurm_array_parallelism"):
            require_count(key.removeprefix("slurm_"), self.options[key])
        require_count("signal_delay_s", self.options["slurm_signal_delay_s"], least=0)
        require_count("max_num_timeout", self.max_num_timeout, least=0)
        limit, early = self.options["timeout_min"], self.options["slurm_signal_delay_s"] / 60 + 1
        reason = f"SLURM may tell a cell to stop {early:g} minutes (signal_delay_s, and 1) before its limit"
        require(limit > early, "timeout_min", limit, reason)
        commands = self.options["slurm_setup"]
        require(isinstance(commands, list), "setup", commands, "must be a list of shell commands")

    @override
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit one array; return when none of its jobs waits or runs.

        A job that was cancelled or killed, or timed out too often, has the status UNKNOWN.

        Raises:
            SettingError: if SLURM rejects the array.
        """
        jobs = self._submit(job_overrides, initial_job_idx)
        try:
            _wait(jobs)
        except KeyboardInterrupt:
            subprocess.run(["scancel", _array(jobs)], check=False)
            log.warning("cancelled the SLURM job %s", _array(jobs))
            raise
        lost_jobs = [job for job in jobs if not job.paths.result_pickle.exists()]
        for job in lost_jobs:
            log.warning("SLURM job %s was lost: %s (log: %s)", job.job_id, job.state, job.paths.stderr)
        return [
            JobReturn(overrides=list(overrides)) if job in lost_jobs else _result(job, overrides)
            for job, overrides in zip(jobs, job_overrides, strict=True)
        ]

    def _submit(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[Any]:
        import submitit

        from vae_likelihoods.files import PROJECT

        folder = Path(self.config.runtime.root or PROJECT).expanduser().absolute() / self.folder
        overrides = [list(each) for each in job_overrides]
        numbers = range(first, first + len(overrides))
        state = Singleton.get_state()
        stderr = io.StringIO()  # the error repeats what sbatch prints there
        try:
            executor = submitit.AutoExecutor(folder, "slurm", slurm_max_num_timeout=self.max_num_timeout)
            executor.update_parameters(name=self.config.hydra.job.name, **self.options)
            with contextlib.redirect_stderr(stderr):
                jobs: list[Any] = executor.map_array(
                    self, overrides, repeat("hydra.sweep.dir"), numbers, map(str, numbers), repeat(state)
                )
        except Exception as error:
            options = {key.removeprefix("slurm_"): value for key, value in self.options.items() if value}
            reason = "; ".join(str(error).replace("sbatch: error: ", "").splitlines())
            raise SettingError("", options, f"SLURM did not take the jobs: {reason}") from error
        print(f"SLURM job {_array(jobs)}: {len(jobs)} cells, logs in {folder}", flush=True)
        return jobs

    @override
    def __call__(self, *arguments: Any) -> JobReturn:
        """Run one job, in a process of its own."""
        import submitit

        number = signal.Signals["SIG" + submitit.JobEnvironment.USR_SIG]
        queue_again: Any = signal.getsignal(number)

        def stop(received: int, frame: FrameType | None) -> None:
            try:
                queue_again(received, frame)
            except Exception as error:
                # Any other error would be recorded as a failure of the cell.
                raise SystemExit(str(error)) from error

        signal.signal(number, stop)
        # As submitit does, but inherited by the processes of a cell: they all live until SLURM kills them.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        result: JobReturn = super().__call__(*arguments)
        return result


def _check_slurm(partition: str | None) -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    reason = f"there is no {', no '.join(missing)} on the PATH; use a machine that submits to SLURM"
    if missing:
        raise UnavailableError(reason)
    code, output = _run("sinfo", "--all", "--noheader", "--format=%R")
    if code != 0:
        raise UnavailableError(f"SLURM does not answer: {output}")
    partitions = sorted(set(output.split()))
    for name in (partition or "").split(","):
        require(
            name in ("", *partitions), "partition", name, "is not a partition of this cluster", partitions
        )
    # As submitit will call it: only sacct tells it that a job was cancelled.
    code, output = _run("sacct", "-o", "JobID,State,NodeList", "--parsable2", "-j", "1")
    need = "without it a cancelled job is not noticed; see docs/running.md"
    if code != 0:
        raise UnavailableError(f"sacct does not answer ({output}); {need}")


def _run(*command: str) -> tuple[int, str]:
    """Return a program's exit code and its output, or its errors if it printed nothing else."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip() or "; ".join(done.stderr.split("\n")).strip("; ")


def _array(jobs: Sequence[Any]) -> str:
    return str(jobs[0].job_id).partition("_")[0]


def _wait(jobs: Sequence[Any]) -> None:
    """Return when every job has a result, or SLURM says that it has ended."""
    last_query = time.monotonic()
    while not all(job.done() for job in jobs):
        time.sleep(LOOK_SECONDS)
        if time.monotonic() - last_query > ASK_SECONDS:  # by itself submitit asks less and less often
            jobs[0].get_info(mode="force")
            last_query = time.monotonic()


def _result(job: Any, overrides: Sequence[str]) -> JobReturn:
    """Return what the job returned; an error outside of its work is returned as a failure."""
    try:
        returned: JobReturn = job.results()[0]
    except Exception as error:
        return JobReturn(overrides=list(overrides), status=JobStatus.FAILED, _return_value=error)
    return returned

"""An engine that runs jobs as tasks of Ray, on this machine or on a cluster that is up."""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, Literal

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from typing_extensions import override

from vae_likelihoods.errors import SettingError, UnavailableError, require, require_count

log = logging.getLogger(__name__)

# Tasks and what they return are small, results are files. Left alone, Ray takes 30 % of the memory.
OBJECT_STORE_BYTES = 100 * 2**20

Amount = float | Literal["auto"]


class RayLauncher(Launcher):
    """Runs each job as a task of Ray, waits for all of them, and says how each ended.

    Args:
        address: of a running cluster; None: Ray is started on this machine, and ended after the sweep.
        num_cpus: how many CPUs a cell claims; "auto": one for each thread of each of its processes.
        num_gpus: how many GPUs a cell claims, below 1 where cells share one; "auto": none if runtime.device
            is no GPU on this machine, else what runtime.processes and runtime.cells_per_gpu ask for.
        max_retries: how often Ray starts a cell again whose process or node died.
        cells_at_once: how many cells run at most; "auto": as many as Ray has room for.
    """

    def __init__(
        self,
        address: str | None,
        num_cpus: Amount,
        num_gpus: Amount,
        max_retries: int,
        cells_at_once: int | Literal["auto"],
    ) -> None:
        self.address, self.num_cpus, self.num_gpus = address, num_cpus, num_gpus
        self.max_retries, self.cells_at_once = max_retries, cells_at_once

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Check what can be checked before Ray is started or asked.

        Raises:
            SettingError: if a setting cannot be.
            UnavailableError: if the extra is not installed.
        """
        self.context, self.task, self.config = hydra_context, task_function, config
        for key, value in {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}.items():
            reason = "must be a number from 0 to 1, a whole number, or auto"
            require(value == "auto" or _is_amount(value), key, value, reason)
        require_count("max_retries", self.max_retries, least=0)
        found = importlib.util.find_spec("ray") is not None
        if not found:
            raise UnavailableError("needs an extra: pip install -e '.[ray]'")

    @override
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a task for each list of overrides; an interrupt ends them all.

        A job whose process or node was lost once too often is UNKNOWN: nothing is said of its cell.

        Raises:
            SettingError: if no cluster answers, or none of its nodes has what a cell claims.
        """
        from hydra_plugins.hydra_joblib_launcher._core import execute_job

        shared = (self.context, self.config, self.task, Singleton.get_state())
        claim = self._claim()
        share = _share(claim["num_gpus"])

        def cell(idx: int, overrides: Sequence[str]) -> JobReturn:
            return execute_job(idx, [*overrides, *share], *shared)

        tasks: list[Any] = []
        # Waited for in Python: Ray's own waiting makes a KeyboardInterrupt of whatever a signal raises.
        ends: list[Future[JobReturn]] = []
        with self._connected() as ray:
            _check_room(claim, [node["Resources"] for node in ray.nodes() if node["Alive"]])
            remote = ray.remote(**claim, max_retries=self.max_retries)(cell)
            try:
                for idx, overrides in enumerate(job_overrides, initial_job_idx):
                    self._wait_for_turn(ends)
                    tasks.append(remote.remote(idx, overrides))
                    ends.append(tasks[-1].future())
                return [_result(ray, end, job) for end, job in zip(ends, job_overrides, strict=True)]
            except BaseException:
                for task in tasks:
                    ray.cancel(task, force=True)
                raise

    def _claim(self) -> dict[str, float]:
        """Return what Ray sets aside for each cell."""
        from vae_likelihoods.cells.settings import available_devices

        runtime = self.config.runtime
        device = available_devices()[0] if runtime.device == "auto" else runtime.device
        gpus = runtime.processes if runtime.processes > 1 else 1 / runtime.cells_per_gpu
        auto = {"num_cpus": runtime.threads * runtime.processes, "num_gpus": gpus if device == "cuda" else 0}
        given = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
        return {key: auto[key] if value == "auto" else value for key, value in given.items()}

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Give the module `ray`, connected to the cluster, or to a Ray of its own."""
        self._set_environment()
        import ray

        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            self._connect(ray)
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put its own there
            yield ray
        finally:
            ray.shutdown(wait_for_processes=True)

    def _set_environment(self) -> None:
        """Say what Ray reads before it begins, unless the user has said it."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Left alone, Ray starts a cell that needs more memory than there is again for ever.
        os.environ.setdefault("RAY_task_oom_retries", str(self.max_retries))
        if self.address is not None:
            # How often a cluster that does not answer is asked, half a minute each time; Ray would 20 times.
            os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
            return
        # Ray listens on every interface and runs what it is sent: let it ask for a secret.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

    def _connect(self, ray: Any) -> None:
        from vae_likelihoods.cells.settings import cores

        quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
        if self.address is None:
            size = {"num_cpus": cores(), "object_store_memory": OBJECT_STORE_BYTES}
            ray.init("local", **size, include_dashboard=False, **quiet)
            return
        try:
            ray.init(self.address, **quiet)
        except Exception as error:
            reason = f"no Ray cluster answers there, or it wants another token ({_line(error)})"
            raise SettingError("address", self.address, reason) from None

    def _wait_for_turn(self, ends: Sequence[Future[JobReturn]]) -> None:
        running = [end for end in ends if not end.done()]
        if self.cells_at_once != "auto" and len(running) >= self.cells_at_once:
            wait(running, return_when=FIRST_COMPLETED)


def _is_amount(value: Any) -> bool:
    """Whether Ray can count `value`: of what is more than 1 it knows no parts."""
    return type(value) in (int, float) and (0 <= value <= 1 or (value > 1 and value == int(value)))


def _share(gpus: float) -> list[str]:
    """Return the override by which so many cells take places on a GPU as Ray sends there.

    Example:
        >>> _share(0.25), _share(1)
        (['runtime.cells_per_gpu=4'], [])
    """
    return [f"runtime.cells_per_gpu={int(1 / gpus + 1e-6)}"] if 0 < gpus < 1 else []


def _check_room(claim: dict[str, float], rooms: Sequence[dict[str, float]]) -> None:
    """Refuse a claim that no node can meet; Ray would wait for such a node for ever."""
    there = [{"num_cpus": room.get("CPU", 0.0), "num_gpus": room.get("GPU", 0.0)} for room in rooms]
    fits = any(all(room[key] >= amount for key, amount in claim.items()) for room in there)
    require(fits, "", claim, "a cell would claim more than any node of Ray has", there)


def _result(ray: Any, end: Future[JobReturn], overrides: Sequence[str]) -> JobReturn:
    """Wait for the end of a task; return what its job returned."""
    try:
        return end.result()
    except ray.exceptions.RayError as error:
        # What the job itself raises is returned. Python raises outside of it where it cannot import the job.
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        log.warning("a cell was lost: %s", _line(cause))
        return JobReturn(overrides=overrides)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]

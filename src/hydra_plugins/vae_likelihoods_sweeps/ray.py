"""An engine that runs jobs as tasks of Ray, on this machine or on a running cluster."""

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

# Tasks and their return values are small, results are files. By default Ray takes 30 % of the memory.
OBJECT_STORE_BYTES = 100 * 2**20

Amount = float | Literal["auto"]


class RayLauncher(Launcher):
    """Runs each job as a task of Ray, waits for all of them, and returns how each ended.

    Args:
        address: of a running cluster; None: Ray is started on this machine, and ended after the sweep.
        num_cpus: how many CPUs a cell claims; "auto": one for each thread of each of its processes.
        num_gpus: how many GPUs a cell claims, less than 1 if cells share one; "auto": 0 if runtime.device is
            no GPU on this machine, else as many as runtime.processes and runtime.cells_per_gpu need.
        max_retries: how often Ray starts a cell again whose process or node died.
        cells_at_once: how many cells run at most at the same time; "auto": as many as Ray has room for.
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
        """Check the settings before Ray is started or contacted.

        Raises:
            SettingError: if a setting is impossible.
            UnavailableError: if the extra is not installed.
        """
        self.context, self.task, self.config = hydra_context, task_function, config
        for key, value in {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}.items():
            reason = "must be a number from 0 to 1, a whole number, or auto"
            require(value == "auto" or _is_amount(value), key, value, reason)
        require_count("max_retries", self.max_retries, least=0)
        if importlib.util.find_spec("ray") is None:
            raise UnavailableError("needs an extra: pip install -e '.[ray]'")

    @override
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a task for each list of overrides; an interrupt ends them all.

        A job whose process or node was lost more than `max_retries` times has the status UNKNOWN.

        Raises:
            SettingError: if no cluster answers, or none of its nodes has what a cell claims.
        """
        from hydra_plugins.hydra_joblib_launcher._core import execute_job

        shared = (self.context, self.config, self.task, Singleton.get_state())
        claim = self._claim()
        share = _share(claim["num_gpus"])

        def cell(idx: int, overrides: Sequence[str]) -> JobReturn:
            returned: JobReturn = execute_job(idx, [*overrides, *share], *shared)
            return returned

        tasks: list[Any] = []
        # Python waits for the tasks: in Ray's own functions any error of a signal becomes KeyboardInterrupt.
        futures: list[Future[JobReturn]] = []
        with self._connected() as ray:
            _check_room(claim, [node["Resources"] for node in ray.nodes() if node["Alive"]])
            remote = ray.remote(**claim, max_retries=self.max_retries)(cell)
            try:
                for idx, overrides in enumerate(job_overrides, initial_job_idx):
                    self._wait_for_turn(futures)
                    tasks.append(remote.remote(idx, overrides))
                    futures.append(tasks[-1].future())
                return [_result(ray, future, job) for future, job in zip(futures, job_overrides, strict=True)]
            except BaseException:
                for task in tasks:
                    ray.cancel(task, force=True)
                raise

    def _claim(self) -> dict[str, float]:
        """Return what Ray reserves for each cell."""
        from vae_likelihoods.cells.settings import available_devices

        runtime = self.config.runtime
        device = available_devices()[0] if runtime.device == "auto" else runtime.device
        gpus = runtime.processes if runtime.processes > 1 else 1 / runtime.cells_per_gpu
        auto = {"num_cpus": runtime.threads * runtime.processes, "num_gpus": gpus if device == "cuda" else 0}
        claim = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
        return {key: auto[key] if value == "auto" else value for key, value in claim.items()}

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Yield the module `ray`, connected to the cluster, or to a Ray that was started for this sweep."""
        self._set_environment()
        import ray

        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            self._connect(ray)
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray has replaced it
            yield ray
        finally:
            ray.shutdown(wait_for_processes=True)

    def _set_environment(self) -> None:
        """Set what Ray reads when it starts, unless the user has set it."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # By default Ray starts a cell that needs too much memory again and again.
        os.environ.setdefault("RAY_task_oom_retries", str(self.max_retries))
        if self.address is not None:
            # How often a cluster that does not answer is tried, half a minute each time; Ray's default is 20.
            os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")
            return
        # Ray listens on every interface and runs whatever it receives: require a secret.
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

    def _wait_for_turn(self, futures: Sequence[Future[JobReturn]]) -> None:
        running = [future for future in futures if not future.done()]
        if self.cells_at_once != "auto" and len(running) >= self.cells_at_once:
            wait(running, return_when=FIRST_COMPLETED)


def _is_amount(value: Any) -> bool:
    """Whether Ray can count `value`: above 1 it has to be a whole number."""
    return type(value) in (int, float) and (0 <= value <= 1 or (value > 1 and value == int(value)))


def _share(gpus: float) -> list[str]:
    """Return the override that gives a GPU as many places as Ray sends cells there.

    Example:
        >>> _share(0.25), _share(1)
        (['runtime.cells_per_gpu=4'], [])
    """
    return [f"runtime.cells_per_gpu={int(1 / gpus + 1e-6)}"] if 0 < gpus < 1 else []


def _check_room(claim: dict[str, float], rooms: Sequence[dict[str, float]]) -> None:
    """Refuse a claim that no node can meet; Ray would wait for such a node forever."""
    nodes = [{"num_cpus": room.get("CPU", 0.0), "num_gpus": room.get("GPU", 0.0)} for room in rooms]
    fits = any(all(node[key] >= amount for key, amount in claim.items()) for node in nodes)
    require(fits, "", claim, "a cell would claim more than any node of Ray has", nodes)


def _result(ray: Any, future: Future[JobReturn], overrides: Sequence[str]) -> JobReturn:
    """Wait for the end of a task; return what its job returned."""
    try:
        return future.result()
    except ray.exceptions.RayError as error:
        # What the job itself raises is returned. Python raises outside of the job if it cannot import it.
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
        log.warning("a cell was lost: %s", _line(cause))
        return JobReturn(overrides=overrides)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]

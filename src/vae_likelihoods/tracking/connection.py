"""The connection with MLflow: its address, its timeouts, and which processes are connected."""

from __future__ import annotations

import gc
import logging
import os
import re
import shlex
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from vae_likelihoods.errors import require
from vae_likelihoods.files import write_whole
from vae_likelihoods.tracking.moved import follow

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SETTINGS = {  # of MLflow's client, unless the user has set them
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
LOGGED = {
    "mlflow": logging.WARNING,
    "mlflow.store.db": logging.CRITICAL,  # an error is reported once, in one line
    "alembic": logging.WARNING,
    "urllib3": logging.ERROR,
}
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
SERVERS = ("http", "https")
_drivers: dict[Path, tuple[str, FileLock]] = {}


def store_uri(uri: str | None, root: Path) -> str:
    """Return the address of MLflow: `uri`, or the database in the folder of results.

    Raises:
        SettingError: if MLflow has no store at such an address, or can have no database in the folder.
    """
    if not uri:
        odd = "MLflow cannot have a database in a folder with %, ? or # in its name; name another address"
        require(not set(str(root)) & set("%?#"), "root", root, f"{odd}, MLFLOW_TRACKING_URI=sqlite:///...")
        return f"sqlite:///{root / 'mlflow.db'}"
    schemes = (*DATABASES, *SERVERS)
    require(scheme_of(uri) in schemes, "uri", uri, "is not the address of an MLflow store", schemes)
    after = uri.partition("://")[2].strip("/")
    require(
        bool(after), "uri", uri, "names no file or host; such as sqlite:///mlflow.db or http://127.0.0.1:5000"
    )
    return uri


def scheme_of(uri: str) -> str:
    """Return the first part of an address, without its driver.

    Example:
        >>> scheme_of("postgresql+psycopg://user@host/database")
        'postgresql'
    """
    return uri.partition(":")[0].partition("+")[0]


def lock_of(root: Path, name: str) -> FileLock:
    """Return one of the locks that processes with the same results share."""
    path = root / "logs" / "tracking" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, thread_local=False)  # the watching thread takes over locks of the main thread


def creation_lock(uri: str, root: Path) -> FileLock:
    """Return the lock for making databases, experiments, data sets and parent runs, one at a time."""
    if uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
        database.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(database.with_name(f"{database.name}.lock"))
    return lock_of(root, "creation")


def driver(root: Path) -> str:
    """Return the name of this process among those that mirror; it holds a lock of that name until it ends."""
    if root not in _drivers:
        name = f"{os.uname().nodename}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        lock = lock_of(root, f"driver-{name}")
        lock.acquire()
        _drivers[root] = name, lock
    return _drivers[root][0]


def is_alive(name: str, root: Path) -> bool:
    """Whether the process that `driver` named may still live.

    Its lock shows that, on every machine that shares `root`. Without the lock, only a process of this machine
    is known to have ended.
    """
    if (root / "logs" / "tracking" / f"driver-{name}.lock").exists():
        try:
            with lock_of(root, f"driver-{name}").acquire(timeout=0):
                return False
        except Timeout:
            return True
    host, _, process = name.partition(":")
    process = process.partition(":")[0]
    if host != os.uname().nodename or not process.isdigit():
        return bool(host)
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def connect(uri: str, root: Path) -> MlflowClient:
    """Open the store; a new database is made by one process at a time."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        Path.home()
    except RuntimeError:  # a user without a home, as in containers: MLflow would not start
        os.environ["HOME"] = str(root / "logs")
    with _no_garbage_collection(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that MLflow imports, and of its first query
        from mlflow.tracking import MlflowClient

        for name, level in LOGGED.items():
            logging.getLogger(name).setLevel(level)
        with creation_lock(uri, root):
            path = Path(uri.removeprefix("sqlite:///"))
            if uri.startswith("sqlite:///") and "?" not in uri and not path.exists():
                # MLflow cannot open a database that was only half made.
                write_whole(path, lambda aside: MlflowClient(tracking_uri=f"sqlite:///{aside}"))
            if uri == f"sqlite:///{root / 'mlflow.db'}":
                follow(path)
            return MlflowClient(tracking_uri=uri)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Switch Python's garbage collection off: it takes a third of the time that MLflow's import takes."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def refusal(uri: str, error: Exception) -> str:
    """Return one line that says that MLflow did not take the results, and what to do."""
    reason = reason_of(uri, error)
    return f"MLflow at {shown(uri)} did not take the results; `make sync` does it later ({reason})"


def reason_of(uri: str, error: Exception) -> str:
    """Return the first line of an error's message, at most 80 characters, or the error's class.

    A database of another version of MLflow needs a command, which is named.
    """
    if "out-of-date database schema" in str(error):
        upgrade = f"`.venv/bin/mlflow db upgrade {shlex.quote(shown(uri))}`"
        return f"it was made by another version of MLflow; copy it, then bring it up to date: {upgrade}"
    return str(error).splitlines()[0][:80] if str(error) else type(error).__name__


def shown(uri: str) -> str:
    """Return an address without its password.

    Example:
        >>> shown("postgresql://user:secret@host/database")
        'postgresql://user:***@host/database'
    """
    return re.sub(r"//([^:/@]*):[^@]*@", r"//\1:***@", uri)


def mlflow_errors() -> tuple[type[Exception], ...]:
    """Return the errors that MLflow raises if a store does not answer, refuses or lacks its driver."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, ImportError, OSError

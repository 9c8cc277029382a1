"""The MLflow UI on 127.0.0.1, and the address of every study's prepared view."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from vae_likelihoods.errors import UnavailableError, require
from vae_likelihoods.tracking.connection import (
    DATABASES,
    connect,
    mlflow_errors,
    reason_of,
    scheme_of,
    shown,
)
from vae_likelihoods.tracking.view import VIEW

HOST = "127.0.0.1"


def addresses(root: Path, uri: str, port: int) -> Iterator[str]:
    """Yield the address of the server and that of each study's prepared view.

    Raises:
        SettingError: if `uri` is not a database, or another program uses the port.
        UnavailableError: if MLflow cannot open the database.
    """
    server = "is not a database; a server has a page of its own: open its address in a browser"
    require(scheme_of(uri) in DATABASES, "uri", shown(uri), server)
    with socket.socket() as probe:
        taken = probe.connect_ex((HOST, port)) == 0
    require(not taken, "port", port, f"another program uses it; try make ui PORT={port + 1}")
    try:
        studies = connect(uri, root).search_experiments()
    except mlflow_errors() as error:
        raise UnavailableError(f"MLflow cannot open {shown(uri)} ({reason_of(uri, error)})") from error
    address = f"http://{HOST}:{port}"
    yield f"MLflow serves {shown(uri)} on {address} (Ctrl-C ends it)"
    for study in studies:
        if study.name != "Default":
            page = f"{address}/#/experiments/{study.experiment_id}/runs"
            yield f"  {study.name:<12} {page}?viewStateShareKey={VIEW}"


def serve(uri: str, port: int) -> NoReturn:
    """Replace this process by MLflow's server."""
    sys.stdout.flush()
    # One worker and no job runner: up in seconds, and nothing outlives it.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    options = {"--backend-store-uri": uri, "--host": HOST, "--port": str(port), "--workers": "1"}
    if os.environ.get("NO_COLOR"):
        options["--uvicorn-opts"] = "--no-use-colors"
    words = [word for option in options.items() for word in option]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *words])

"""Open the MLflow UI on 127.0.0.1, and print the address of every study's prepared view.

.venv/bin/python pipelines/ui.py [--port 5000]
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from vae_likelihoods.files import PROJECT
from vae_likelihoods.tracking.connection import connect, store_uri
from vae_likelihoods.tracking.view import VIEW


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the addresses and become the server."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--root", type=Path, default=PROJECT, help="folder of mlflow.db")
    options = parser.parse_args(arguments)
    uri = store_uri(os.environ.get("MLFLOW_TRACKING_URI"), options.root.absolute())
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            sys.exit(
                f"ui: port {options.port} is taken by another program; try make ui PORT={options.port + 1}"
            )
    address = f"http://127.0.0.1:{options.port}"
    print(f"MLflow serves {uri} on {address} (Ctrl-C ends it)")
    for study in connect(uri, options.root.absolute()).search_experiments():
        if study.name != "Default":
            page = f"{address}/#/experiments/{study.experiment_id}/runs"
            print(f"  {study.name:<12} {page}?viewStateShareKey={VIEW}")
    sys.stdout.flush()
    # One worker and no job runner: up in seconds, and nothing outlives it.
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    served = [
        "--backend-store-uri",
        uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(options.port),
        "--workers",
        "1",
    ]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *served])


if __name__ == "__main__":
    main()

"""A tiny IDX data set, and a real HTTP server on 127.0.0.1 that can send damaged files."""

from __future__ import annotations

import gzip
import hashlib
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_likelihoods.datasets.mirrors import ENVIRONMENT

NAMES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}


def as_idx(array: np.ndarray, code: int = 0x08) -> bytes:
    """Write an IDX file, independently of the parser under test."""
    header = struct.pack(">BBBB", 0, 0, code, array.ndim) + b"".join(
        struct.pack(">I", n) for n in array.shape
    )
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray]:
    """60 + 20 images of 5x4 pixels in 4 classes."""
    draw = np.random.default_rng(0)
    return {
        "train_images": draw.integers(0, 256, (60, 5, 4), dtype=np.uint8),
        "train_labels": np.arange(60, dtype=np.uint8) % 4,
        "test_images": draw.integers(0, 256, (20, 5, 4), dtype=np.uint8),
        "test_labels": np.arange(20, dtype=np.uint8) % 4,
    }


@pytest.fixture(scope="session")
def plain(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The decompressed files, by role."""
    return {role: as_idx(array) for role, array in arrays.items()}


@pytest.fixture(scope="session")
def files(plain: dict[str, bytes]) -> dict[str, dict[str, str]]:
    """The description of the files in a YAML."""
    return {role: {"name": NAMES[role], "md5": hashlib.md5(plain[role]).hexdigest()} for role in NAMES}


@pytest.fixture(autouse=True)
def no_mirror_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.fixture(scope="session")
def fill(plain: dict[str, bytes]) -> Callable[..., Path]:
    """A function that fills a folder with the files of a mirror, as .gz or decompressed."""

    def filled(folder: Path, compress: bool = True) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for role, name in NAMES.items():
            content = gzip.compress(plain[role], mtime=0) if compress else plain[role]
            (folder / (name if compress else name.removesuffix(".gz"))).write_bytes(content)
        return folder

    return filled


@dataclass
class Answer:
    """An answer of the server: only the first `sent` bytes of the announced `body` are sent."""

    body: bytes
    sent: int | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """Answers by path; the answers of a list are given in turn, and the last one is repeated."""

    base: str
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    plain: dict[str, bytes] = field(default_factory=dict)

    def offer(self, folder: str) -> str:
        """Serve whole files under `folder`; return the mirror's address."""
        for role, name in NAMES.items():
            self.answers[f"/{folder}/{name}"] = [Answer(self.packed(role))]
        return f"{self.base}/{folder}/"

    def packed(self, role: str) -> bytes:
        """The .gz file of a role."""
        return gzip.compress(self.plain[role], mtime=0)

    def first(self, folder: str, body: bytes, **answer: Any) -> None:
        """Give another answer to the next request for the train images under `folder`."""
        self.answers[f"/{folder}/{NAMES['train_images']}"].insert(0, Answer(body, **answer))

    def always(self, folder: str, body: bytes, **answer: Any) -> None:
        """Give another answer to every request for the train images under `folder`."""
        self.answers[f"/{folder}/{NAMES['train_images']}"] = [Answer(body, **answer)]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            answers = server.answers.get(self.path, [Answer(b"nothing here", status=404)])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(answer.body[: answer.sent])  # the connection closes after it

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def server(plain: dict[str, bytes]) -> Iterator[Server]:
    record = Server("", plain=plain)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(record))
    record.base = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield record
    http.shutdown()
    thread.join()
    http.server_close()

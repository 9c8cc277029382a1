"""Downloads from a real HTTP server on 127.0.0.1 and from local folders, undamaged and damaged files."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae_likelihoods.datasets.idx_files import IdxFiles
from vae_likelihoods.datasets.mirrors import ENVIRONMENT, DownloadError, RemoteFile
from vae_likelihoods.errors import SettingError

FIRST = "train-images-idx3-ubyte.gz"
STORED = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def source(files: dict[str, Any], *mirrors: str, retries: int = 0, timeout_s: float = 5.0) -> IdxFiles:
    return IdxFiles("tiny_set", 256, list(mirrors), files, 12, retries=retries, timeout_s=timeout_s)


def check_whole(folder: Path, plain: dict[str, bytes]) -> None:
    """Exactly the four decompressed files are in the folder, and nothing lies beside it."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(STORED)
    assert [(folder / name).read_bytes() for name in STORED] == list(plain.values())
    assert [path.name for path in folder.parent.iterdir() if path.name.endswith(".partial")] == []


def test_from_a_server(tmp_path: Path, server, files, plain) -> None:
    assert source(files, server.offer("good")).download(tmp_path / "raw") == STORED
    check_whole(tmp_path / "raw", plain)
    assert server.asked == [f"/good/{file['name']}" for file in files.values()]


def test_a_second_run_asks_for_nothing(tmp_path: Path, server, files, plain) -> None:
    source(files, server.offer("good")).download(tmp_path / "raw")
    server.asked.clear()
    assert source(files, server.offer("good")).download(tmp_path / "raw") == []
    assert server.asked == []


def test_only_damaged_files_are_downloaded_again(tmp_path: Path, server, files, plain) -> None:
    source(files, server.offer("good")).download(tmp_path / "raw")
    (tmp_path / "raw" / STORED[2]).write_bytes(b"damaged")
    server.asked.clear()
    assert source(files, server.offer("good")).download(tmp_path / "raw") == [STORED[2]]
    assert server.asked == [f"/good/{STORED[2]}.gz"]
    check_whole(tmp_path / "raw", plain)


def test_files_can_be_read_by_others_as_the_umask_says(tmp_path: Path, server, files) -> None:
    source(files, server.offer("good")).download(tmp_path / "raw")
    umask = os.umask(0)
    os.umask(umask)
    for path in (tmp_path / "raw").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("written", ["{}", "{}/", "file://{}", "~/{}"])
def test_from_a_local_folder(
    tmp_path: Path,
    files,
    plain,
    fill: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    written: str,
    compress: bool,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = fill(tmp_path / "of files", compress)
    place = "of files" if "~" in written else str(folder).replace(" ", "%20" if "file:" in written else " ")
    source(files, written.format(place)).download(tmp_path / "raw")
    check_whole(tmp_path / "raw", plain)


BAD = {
    "truncated .gz": (lambda good: {"body": good[: len(good) // 2]}, "truncated or damaged .gz"),
    "damaged .gz": (lambda good: {"body": good[:-30] + b"x" * 30}, "truncated or damaged .gz"),
    "other bytes": (lambda good: {"body": gzip.compress(b"something else")}, "its checksum is"),
    "a page of HTML": (lambda good: {"body": b"<html>please log in</html>"}, "its checksum is"),
    "nothing": (lambda good: {"body": b""}, "its checksum is"),
    "not there": (lambda good: {"body": b"", "status": 404}, "no train-images-idx3-ubyte.gz there"),
    "forbidden": (lambda good: {"body": b"", "status": 403}, "no train-images-idx3-ubyte.gz there"),
    "server error": (lambda good: {"body": b"", "status": 503}, "503"),
    "interrupted": (lambda good: {"body": good, "sent": len(good) // 2}, "IncompleteRead"),
}


@pytest.mark.parametrize("how", BAD)
def test_bad_bytes_are_refused_and_the_next_mirror_is_tried(
    tmp_path: Path, server, files, plain, how: str
) -> None:
    bad, good = server.offer("bad"), server.offer("good")
    make, _ = BAD[how]
    server.always("bad", **make(server.packed("train_images")))
    source(files, bad, good).download(tmp_path / "raw")
    check_whole(tmp_path / "raw", plain)
    assert f"/bad/{FIRST}" in server.asked
    assert f"/good/{FIRST}" in server.asked
    assert "/good/train-labels-idx1-ubyte.gz" not in server.asked  # the first mirror had that


@pytest.mark.parametrize("how", BAD)
def test_bad_bytes_leave_nothing_and_are_explained(tmp_path: Path, server, files, how: str) -> None:
    bad = server.offer("bad")
    make, reason = BAD[how]
    server.always("bad", **make(server.packed("train_images")))
    with pytest.raises(DownloadError, match=reason):
        source(files, bad).download(tmp_path / "raw")
    assert list(tmp_path.iterdir()) == []


def test_the_last_error_lists_every_mirror_and_why(tmp_path: Path, server, files, fill) -> None:
    damaged = fill(tmp_path / "damaged")
    (damaged / FIRST).write_bytes(b"damaged")
    missing, bad = server.base + "/missing", server.offer("bad")
    server.always("bad", b"", status=500)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        silent = f"http://127.0.0.1:{unused.getsockname()[1]}/silent"
        mirrors = [str(damaged), str(tmp_path / "no-such-folder"), missing, bad, silent]
        with pytest.raises(DownloadError) as error:
            source(files, *mirrors).download(tmp_path / "raw")
    lines = str(error.value).splitlines()
    reasons = ["its checksum is", f"no {FIRST} there", f"no {FIRST} there", "500", "no answer"]
    assert lines[0].startswith(f"dataset=tiny_set: {FIRST} could not be downloaded")
    for line, mirror, reason in zip(lines[1:6], mirrors, reasons, strict=True):
        assert line.startswith(f"  {mirror}: ")
        assert reason in line
    assert "mirrors=" in lines[6]
    assert ENVIRONMENT in lines[6]


def test_no_mirrors_at_all(tmp_path: Path, files) -> None:
    with pytest.raises(DownloadError, match="no mirrors"):
        source(files).download(tmp_path / "raw")


def test_an_interrupted_transfer_is_repeated(tmp_path: Path, server, files, plain) -> None:
    good = server.offer("good")
    packed = server.packed("train_images")
    server.first("good", packed, sent=len(packed) // 2)
    source(files, good, retries=1).download(tmp_path / "raw")
    check_whole(tmp_path / "raw", plain)
    assert server.asked.count(f"/good/{FIRST}") == 2


def test_a_missing_file_is_not_asked_for_again(tmp_path: Path, server, files) -> None:
    with pytest.raises(DownloadError):
        source(files, server.base, retries=2).download(tmp_path / "raw")
    assert server.asked == [f"/{FIRST}", f"/{FIRST.removesuffix('.gz')}"]


def test_a_host_that_does_not_answer_is_asked_once(tmp_path: Path, files, plain, fill, caplog) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # accepts a connection and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.perf_counter()
        source(files, address, str(fill(tmp_path / "good")), timeout_s=0.5).download(tmp_path / "raw")
    assert time.perf_counter() - began < 1.8  # one timeout, not one for each of four files
    check_whole(tmp_path / "raw", plain)
    assert "no answer" in caplog.text


@pytest.mark.parametrize("checksum", ["md5", "compressed_md5"])
@pytest.mark.parametrize("encoding", ["gzip", "x-gzip"])
def test_a_server_that_declares_gz_as_an_encoding(
    tmp_path: Path, server, files, checksum: str, encoding: str
) -> None:
    good, packed = server.offer("good"), server.packed("train_images")
    server.always("good", packed, headers={"Content-Encoding": encoding})
    if checksum == "compressed_md5":
        compressed = {"name": FIRST, checksum: hashlib.md5(packed).hexdigest()}
        files = {**files, "train_images": compressed}
    assert len(source(files, good).download(tmp_path / "raw")) == 4


def test_whole_files_survive_the_failure_of_another(tmp_path: Path, server, files, plain) -> None:
    good = server.offer("good")
    server.answers["/good/t10k-images-idx3-ubyte.gz"][0].status = 404
    with pytest.raises(DownloadError, match="t10k-images"):
        source(files, good).download(tmp_path / "raw")
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == sorted(STORED[:2])
    assert source(files, server.offer("good")).download(tmp_path / "raw") == STORED[2:]
    check_whole(tmp_path / "raw", plain)


@pytest.mark.parametrize("folder", ["tiny_set", "tiny-set", "."])
def test_the_environment_names_a_mirror_that_is_tried_first(
    tmp_path: Path, server, files, plain, fill, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    fill(tmp_path / "cluster" / folder)
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cluster"))
    source(files, server.offer("good")).download(tmp_path / "raw")
    check_whole(tmp_path / "raw", plain)
    assert server.asked == []


def test_the_environment_may_name_an_address(
    tmp_path: Path, server, files, plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.offer("cluster/tiny_set")
    monkeypatch.setenv(ENVIRONMENT, f"{server.base}/cluster/")
    source(files).download(tmp_path / "raw")
    check_whole(tmp_path / "raw", plain)


def test_another_data_set_in_the_folder_of_the_environment_is_ignored(
    tmp_path: Path, server, files, plain, fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = fill(tmp_path / "cluster")
    for path in cluster.iterdir():  # same names, other data, as MNIST and Fashion-MNIST have
        path.write_bytes(gzip.compress(b"another data set"))
    monkeypatch.setenv(ENVIRONMENT, str(cluster))
    source(files, server.offer("good")).download(tmp_path / "raw")
    check_whole(tmp_path / "raw", plain)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_checksum_of_the_compressed_file_keeps_that_file(
    tmp_path: Path, server, files, plain, arrays, algorithm: str
) -> None:
    compressed = {
        role: {
            "name": file["name"],
            f"compressed_{algorithm}": hashlib.new(algorithm, server.packed(role)).hexdigest(),
        }
        for role, file in files.items()
    }
    packed = source(compressed, server.offer("good"))
    packed.download(tmp_path / "raw")
    assert (tmp_path / "raw" / FIRST).read_bytes() == server.packed("train_images")
    server.asked.clear()
    assert packed.download(tmp_path / "raw") == []
    assert server.asked == []
    np.testing.assert_array_equal(packed.read(tmp_path / "raw")["train"].images[:, 0], arrays["train_images"])


def test_leftovers_of_killed_downloads_are_removed_after_a_day(tmp_path: Path, server, files) -> None:
    old, new = tmp_path / ".raw.old.partial", tmp_path / ".raw.new.partial"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    source(files, server.offer("good")).download(tmp_path / "raw")
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("checksums", [{}, {"md5": "0", "sha256": "0"}, {"md5": "0", "compressed_md5": "0"}])
def test_a_file_has_exactly_one_checksum(checksums: dict[str, str]) -> None:
    with pytest.raises(SettingError, match=r"files=.*exactly one checksum"):
        RemoteFile("file.gz", **checksums)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mirrors", "/a/folder"),
        ("mirrors", ["ftp://somewhere"]),
        ("mirrors", [3]),
        ("retries", -1),
        ("retries", 1.5),
        ("timeout_s", 0),
        ("timeout_s", "long"),
        ("files", {}),
        ("native_levels", 1),
        ("native_levels", 257),
        ("native_levels", True),
        ("validation_size", 0),
        ("split_seed", -1),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(files, key: str, value: Any) -> None:
    good = {"name": "tiny", "native_levels": 256, "mirrors": [], "files": files, "validation_size": 12}
    IdxFiles(**good)
    with pytest.raises(SettingError, match=f"^{key}="):
        IdxFiles(**{**good, key: value})


@pytest.mark.parametrize("wrong", [None, "name.gz", {"md5": "0"}, {"name": "a", "mdfive": "0"}])
def test_a_wrong_description_of_a_file_is_refused(files, wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"^files\.test_labels="):
        IdxFiles("tiny", 256, [], {**files, "test_labels": wrong}, 12)

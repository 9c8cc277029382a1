from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from vae_likelihoods.datasets.idx import parse_idx, read_idx

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def encode(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_round_trip(kind: str, shape: tuple[int, ...]) -> None:
    array = (np.random.default_rng(0).standard_normal(shape) * 50).astype(kind)
    parsed = parse_idx(encode(array))
    np.testing.assert_array_equal(parsed, array)
    assert parsed.dtype == array.dtype
    assert parsed.dtype.isnative


def test_known_bytes() -> None:
    # 16-bit values 1 and 258, written by hand
    assert parse_idx(bytes([0, 0, 0x0B, 1, 0, 0, 0, 2, 0, 1, 1, 2])).tolist() == [1, 258]


GOOD = encode(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=r"truncated|not an IDX file"):
        parse_idx(GOOD[:length])


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="trailing"):
        parse_idx(GOOD + b"\0")


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08\x01", b"\0\0\x07\x01", b"\0\x01\x08\x01", b"\0\0\x08\0"])
def test_another_beginning_is_refused(start: bytes) -> None:
    with pytest.raises(ValueError, match=f"not an IDX file: it begins with {start.hex(' ')}"):
        parse_idx(start + GOOD[4:])


@pytest.mark.parametrize("content", [gzip.compress(GOOD, mtime=0)[:-12], b"<!DOCTYPE html>", GOOD, b""])
def test_a_gz_that_is_truncated_or_none_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "images.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"truncated|not an IDX file"):
        read_idx(tmp_path / "images.gz")


def test_reads_plain_and_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(GOOD)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(GOOD))
    np.testing.assert_array_equal(read_idx(tmp_path / "plain"), read_idx(tmp_path / "packed.gz"))

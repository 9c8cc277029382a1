"""The hash that identifies a prepared data set."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SPLITS = ("train", "validation", "test")


def manifest_sha256(manifest: dict[str, Any]) -> str:
    """Return the hash of `manifest`, which has the hashes of all arrays."""
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

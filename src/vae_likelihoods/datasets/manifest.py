"""The one hash that stands for a prepared data set."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def manifest_sha256(manifest: dict[str, Any]) -> str:
    """Return the hash over everything that `manifest` says, and so over all arrays."""
    said = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

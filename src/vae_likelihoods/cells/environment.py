"""Where a result was computed: all that can change its last digits though no setting did.

It is recorded beside a result, never among the files that are hashed: two machines may give the same bytes.
No key, no training and no evaluation depends on it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from vae_likelihoods.cells.run_files import CHECKPOINT
from vae_likelihoods.cells.settings import Runtime
from vae_likelihoods.files import write_json
from vae_likelihoods.store.entry import Entry

RECORD = "environment.json"
PACKAGES = (
    "imagecodecs", "matplotlib", "mlxtend", "numpy", "pandas", "pillow", "safetensors", "scikit-learn",
    "scipy",
)  # fmt: skip
LIMITS = (
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS",
)  # fmt: skip
"""Variables that keep torch and its libraries from kernels that the processor has."""


def environment(threads: int, device: torch.device) -> dict[str, Any]:
    """Return what this process computes with; no host name, no path, no time.

    Args:
        threads: of one cell.
        device: where the cell is computed.
    """
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "processor": processor(),
            "libc": " ".join(platform.libc_ver()).strip(),
        },
        "kernels": {
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "mkldnn_bfloat16": _mkldnn_bfloat16(),
            "amx": torch.cpu._is_amx_tile_supported(),
            "limits": {name: os.environ[name] for name in LIMITS if os.environ.get(name)},
        },
        "threads": threads,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "python": platform.python_version(),
        "packages": {"torch": str(torch.__version__), **versions},
    }


def _version(name: str) -> str | None:
    """Return the version of a package; None if it is not installed, as training needs only some of them."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def record(folder: Path, runtime: Runtime) -> None:
    """Write into the store's entry `folder` where its result is about to be computed.

    The file is a list: work that goes on from a checkpoint may have begun elsewhere.
    """
    here = environment(runtime.threads, runtime.torch_device)
    continued = (folder / CHECKPOINT).exists()
    before = [earlier for earlier in recorded(folder / RECORD) if earlier != here] if continued else []
    write_json(folder / RECORD, [*before, here])


def recorded(path: Path) -> list[dict[str, Any]]:
    """Return the environments of a RECORD; none if there is no such file, or half of one."""
    try:
        environments: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return environments


def copy_record(folder: Path, path: Path) -> None:
    """Copy the RECORD of a finished entry to `path`, with the hashes of the files that it speaks of.

    A result whose environment nobody recorded leaves no file there.
    """
    environments, files = recorded(folder / RECORD), Entry(folder).files()
    if not environments or not files:  # `make gc` may drop an entry that was laid out a moment ago
        path.unlink(missing_ok=True)
        return
    write_json(path, {"environments": environments, "files": files})


def processor() -> str:
    """Return the model of the CPU in words; what the system does not tell is left out."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return platform.processor()
    lines = (line.partition(":") for line in cpuinfo.read_text().partition("\n\n")[0].splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    # Virtual machines often have a name that says little; the numbers tell processors apart.
    numbers = ("cpu family", "model", "CPU implementer", "CPU part")
    return ", ".join(
        [facts.get("model name", ""), *(f"{key} {facts[key]}" for key in numbers if key in facts)]
    ).lstrip(", ")


def _mkldnn_bfloat16() -> bool:
    """Whether `training.matmul: medium` rounds the factors of products to bfloat16."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(supported()) if supported is not None else False

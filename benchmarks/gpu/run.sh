#!/usr/bin/env bash
# On the machine with the GPU, in the project's folder: bash .gpu/run.sh [OPTION...]; options are those of probe.py.
# Installs the wheels of the bundle aside and runs the probe. $OUT (.gpu/out) gets gpu.txt, gpu.json, and logs of failures.
set -euo pipefail
python=${PYTHON:-python3}
export OUT=${OUT:-$PWD/.gpu/out}
mkdir -p "$OUT"
if [[ ! -d .gpu/site ]]; then
  $python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --target .gpu/site .gpu/wheels/*.whl
fi
export PYTHONPATH="$PWD/src:$PWD/.gpu/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONWARNINGS=ignore
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
fi
$python .gpu/probe.py --out "$OUT" "$@" 2>&1 | tee "$OUT/gpu.txt"

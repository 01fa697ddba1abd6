#!/usr/bin/env bash
# What a few minutes on a machine with an NVIDIA GPU can tell (benchmarks/gpu_day.py):
#     scripts/gpu_day.sh [PART ...] [--json FILE] [--minutes 8]
#     scripts/gpu_day.sh --rehearse      on a CPU, in small sizes
# $PYTHON is the interpreter that has JAX and PyTorch (python3); nothing is installed.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # PyTorch needs some of the GPU's memory as well
if [[ " $* " == *" --rehearse "* ]]; then
  export JAX_PLATFORMS=cpu
else
  export JAX_PLATFORMS=${JAX_PLATFORMS:-cuda,cpu}
fi
exec "${PYTHON:-python3}" -m benchmarks.gpu_day "$@"

#!/usr/bin/env bash
# The table of one GPU, as JSON and as Markdown, in less than nine minutes from a built binary:
#
#   benches/gpu.sh                              builds the bench, then measures --backend wgpu
#   benches/gpu.sh --backend cuda               the same by CUDA
#   benches/gpu.sh --data-dir data/cifar10      trains on CIFAR-10 too
#   GPU_BENCH=./gpu benches/gpu.sh              measures with a binary that was built elsewhere
#
# The results go to gpu/gpu.json and gpu/gpu.md, or to another --out-dir.
set -euo pipefail

here=$(dirname "$0")
note="$(date -u +%F), commit $(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown)"
if [ -n "${GPU_BENCH:-}" ]; then
    exec "$GPU_BENCH" --note "$note" "$@"
fi
features=wgpu
if [[ " $* " == *" cuda"* ]]; then features=wgpu,cuda; fi
# The profile that the examples are built with: it is optimised, and Burn need not be built again.
exec cargo bench --profile dev --bench gpu --features "$features" -- --note "$note" "$@"

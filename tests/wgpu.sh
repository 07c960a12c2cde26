#!/usr/bin/env bash
# Runs the tests of the library on wgpu, with Burn's fusion and without it, and trains by wgpu. The
# tests run on software Vulkan, so that they need no GPU and are the same everywhere. It installs
# nothing. It needs the Vulkan loader and Mesa's llvmpipe; on Debian and Ubuntu:
#
#   apt-get install mesa-vulkan-drivers
#
# Autotune is not compiled in: it would time every kernel for every shape of every test.
set -euo pipefail
cd "$(dirname "$0")/.."

# `find` fails where one of the folders is not there.
driver=$(find /usr/share/vulkan/icd.d /etc/vulkan/icd.d -name 'lvp_icd*.json' 2>/dev/null || true)
driver=$(head -n 1 <<<"$driver")
if [ -z "$driver" ]; then
    echo "tests/wgpu.sh: no llvmpipe; on Debian and Ubuntu: apt-get install mesa-vulkan-drivers" >&2
    exit 1
fi
export VK_DRIVER_FILES="$driver" VK_ICD_FILENAMES="$driver"
runtime=$(mktemp -d)
trap 'rm -rf "$runtime"' EXIT
export XDG_RUNTIME_DIR="$runtime"

features=burn/wgpu,burn/fusion
tests() {
    BURN_DEVICE=wgpu cargo test --locked -p linearconv --features "$features,flex" "$@" --lib --tests
}
echo "wgpu, fused"
tests
echo "wgpu, not fused"
# Burn then searches for nothing to fuse, and runs every operation by itself.
BURN_FUSION_MAX_EXPLORATIONS=0 tests
echo "training by wgpu"
cargo test --locked -p linearconv-zoo --features "$features,linearconv-zoo/wgpu" --test devices

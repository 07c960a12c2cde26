#!/usr/bin/env bash
# Trains in two processes on this machine, by Burn's remote backend: a server, and a run that
# computes there, over the loopback interface.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --example serve --example base --features remote
programs=$(cargo metadata --locked --no-deps --format-version 1 |
    sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/examples
folder=$(mktemp -d)
port=${PORT:-38417}
"$programs/serve" --backend flex --port "$port" >"$folder/server.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT
# The server listens a moment after it has started.
for _ in $(seq 50); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.2
done

"$programs/base" --backend "remote:ws://127.0.0.1:$port" --variant rank --epochs 1 \
    --out-dir "$folder/run"

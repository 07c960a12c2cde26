#!/usr/bin/env bash
# Trains the networks of figs/runs.txt, measures them, and records each result in figs/results, with its
# command, commit and machine. It goes on where it was interrupted, and trains nothing twice: about six hours
# on two cores.
#
# Usage: figs/train.sh MNIST CIFAR10       the folders with the files of the two data sets
set -euo pipefail
mnist=$(realpath "$1") cifar10=$(realpath "$2")
cd "$(dirname "$0")/.."

cores=$(getconf _NPROCESSORS_ONLN)
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
cpu="${cpu:-$(uname -m)}, $cores cores"
export mnist cifar10 cpu

# What the runs are made by stays what it was, whatever is built beside them.
mkdir -p runs/bin figs/results
if [ ! -e runs/bin/commit ]; then
    cargo build --locked --example base --example vgg11 --example compress --example figures
    target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    cp "$target"/debug/examples/{base,vgg11,compress,figures} runs/bin
    git describe --always --dirty >runs/bin/commit
fi

# NAME COMMAND THREADS REPORT: writes a result.
record() {
    {
        printf '{\n  "name": "%s",\n  "command": "%s",\n' "$1" "$2"
        printf '  "commit": "%s",\n  "date": "%s",\n' "$(cat "runs/$1.commit")" "$(cat "runs/$1.date")"
        printf '  "machine": "%s, %s",\n  "report": ' "$cpu" "$3"
        sed '2,$s/^/  /' "$4"
        printf '}\n'
    } >"runs/$1.part"
    mv "runs/$1.part" "figs/results/$1.json"
    echo "$1"
}

# NAME: what a result begins with.
begin() {
    date +%F >"runs/$1.date"
    cp runs/bin/commit "runs/$1.commit"
}

# NAME EXAMPLE FLAGS: trains a network.
train() {
    local name=$1 example=$2 folder=runs/$1
    shift 2
    local flags="$*" data=$mnist
    [ ! -e "figs/results/$name.json" ] || return 0
    case " $flags " in
    *" cifar10 "*) data=$cifar10 ;;
    esac
    # Two runs of one thread take less time than two runs of two threads, one after the other.
    export RAYON_NUM_THREADS=1
    if [ -e "$folder/report.json" ]; then
        :
    elif compgen -G "$folder/checkpoint/model-*.bpk" >/dev/null; then
        "runs/bin/$example" --resume "$folder" >>"$folder.log" 2>&1
    else
        rm -rf "$folder"
        begin "$name"
        # The flags are words.
        # shellcheck disable=SC2086
        "runs/bin/$example" $flags --data-dir "$data" --out-dir "$folder" >"$folder.log" 2>&1
    fi
    record "$name" "cargo run --example $example -- $flags --data-dir DIR --out-dir $folder" \
        "one thread" "$folder/report.json"
}
export -f record begin train

# All dense networks first, since the others load them.
for part in '/^# compressed/q' '1,/^# compressed/d'; do
    sed "$part" figs/runs.txt | grep -v '^#' |
        xargs -P "$cores" -L 1 bash -euo pipefail -c 'train "$@"' train
done

# Alone, since it takes times.
begin measured
runs/bin/figures --measure runs
record measured "cargo run --example figures -- --measure runs" "$cores threads" runs/measured.json

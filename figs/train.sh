#!/usr/bin/env bash
# Trains the networks of figs/runs.txt and records each result in figs/results, with its command, commit
# and machine. It goes on where it was interrupted, and trains nothing twice: about four hours on two cores.
#
# Usage: figs/train.sh MNIST CIFAR10       the folders with the files of the two data sets
set -euo pipefail
mnist=$(realpath "$1") cifar10=$(realpath "$2")
cd "$(dirname "$0")/.."

cores=$(getconf _NPROCESSORS_ONLN)
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
export machine="${cpu:-$(uname -m)}, $cores cores, one thread for each run"
# Two runs of one thread take less time than two runs of two threads one after the other.
export RAYON_NUM_THREADS=1
export mnist cifar10

# What a run's example was built from stays what it was, whatever is built beside it.
mkdir -p runs/bin figs/results
if [ ! -e runs/bin/commit ]; then
    cargo build --locked --example base --example vgg11 --example compress
    target=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    cp "$target"/debug/examples/{base,vgg11,compress} runs/bin
    git describe --always --dirty >runs/bin/commit
fi

train() {
    local name=$1 example=$2
    shift 2
    [ ! -e "figs/results/$name.json" ] || return 0
    local folder=runs/$name flags="$*" data
    case " $flags " in
    *" cifar10 "*) data=$cifar10 ;;
    *) data=$mnist ;;
    esac
    if compgen -G "$folder/checkpoint/model-*.bpk" >/dev/null && [ ! -e "$folder/report.json" ]; then
        "runs/bin/$example" --resume "$folder" >>"$folder.log" 2>&1
    elif [ ! -e "$folder/report.json" ]; then
        rm -rf "$folder"
        date +%F >"runs/$name.date"
        cp runs/bin/commit "runs/$name.commit"
        # The flags are words.
        # shellcheck disable=SC2086
        "runs/bin/$example" $flags --data-dir "$data" --out-dir "$folder" >"$folder.log" 2>&1
    fi
    {
        printf '{\n  "name": "%s",\n' "$name"
        printf '  "command": "cargo run --example %s -- %s --data-dir DIR --out-dir %s",\n' "$example" "$flags" "$folder"
        printf '  "commit": "%s",\n  "date": "%s",\n' "$(cat "runs/$name.commit")" "$(cat "runs/$name.date")"
        printf '  "machine": "%s",\n  "report": ' "$machine"
        sed '2,$s/^/  /' "$folder/report.json"
        printf '}\n'
    } >"runs/$name.json"
    mv "runs/$name.json" "figs/results/$name.json"
    echo "$name"
}
export -f train

# All dense networks first, since the others load them.
for part in '/^# compressed/q' '1,/^# compressed/d'; do
    sed "$part" figs/runs.txt | grep -v '^#' |
        xargs -P "$cores" -L 1 bash -euo pipefail -c 'train "$@"' train
done

"""The best that one could use in place of the crate on a processor, for the model bench's networks:
dense and LinearConv, in PyTorch, ONNX Runtime and OpenVINO.

    pip install -r requirements.txt
    python compare.py --network vgg11 --threads 2 --peak
"""

import argparse
import datetime
import importlib.metadata
import json

import torch

import contestants
from networks import NETWORKS, operations
from peak import peak
from report import table
from timing import medians

BATCHES = [1, 32]
# Every how many batches the correlation loss is added.
INTERVAL = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--network", choices=NETWORKS, help="only this one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rank", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="VGG11 in fewer turns")
    parser.add_argument("--peak", action="store_true", help="measure the machine's best speed too")
    parser.add_argument("--json", metavar="FILE", help="write the medians to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # Each shape of each network is compiled for itself.
    torch._dynamo.config.recompile_limit = 1000

    peaks = {threads: peak(threads) for threads in sorted({1, args.threads}) if args.peak}
    names = [args.network] if args.network else ["vgg11"] if args.quick else list(NETWORKS)
    columns, costs = {}, {}
    for network in names:
        measured, cost = measure(network, args)
        columns |= measured
        costs |= cost

    about = {
        "date": datetime.date.today().isoformat(),
        "threads": args.threads,
        "versions": versions("torch", "onnxruntime", "openvino"),
        "peak GFLOP/s by threads": peaks,
    }
    print_all(about, table(columns, costs, peaks.get(args.threads)))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(about | {"ms": columns, "dense operations": costs}, file, indent=2)
            file.write("\n")


def measure(network, args):
    """The milliseconds of everyone by workload, and the operations of a dense network."""
    models = contestants.models(network, args.rank)
    to_classify, to_train = operations(network)
    columns, costs = {}, {}
    for batch in BATCHES:
        name = f"{network}, inference, batch {batch}"
        entrants = contestants.inference(models, batch, args.threads)
        columns[name] = turns(entrants, 3 if args.quick else 9)
        costs[name] = to_classify * batch
    for fused in [True, False]:
        kind = "fused" if fused else "plain"
        name = f"{network}, training step, batch {contestants.TRAINING_BATCH}, {kind} Adam"
        entrants = contestants.training(models, args.rank, fused)
        times = turns(entrants, 2 if args.quick else 4)
        reference = contestants.REFERENCE.format(args.rank)
        times[reference] += (times.pop(contestants.LOSS) - times[reference]) / INTERVAL
        columns[name] = times
        costs[name] = to_train * contestants.TRAINING_BATCH
    return columns, costs


def turns(entrants, count):
    """The medians of those who can run, and why the others cannot."""
    times = medians({name: run for name, run in entrants.items() if callable(run)}, count)
    return {name: times.get(name, run) for name, run in entrants.items()}


def versions(*packages):
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def print_all(about, rows):
    known = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    print(
        f"{known}; {about['threads']} threads, {about['date']}. Medians in milliseconds; of dense"
    )
    print("networks in parentheses GFLOP/s", end="")
    peaks = about["peak GFLOP/s by threads"]
    if peaks:
        print(", and its share of the peak of as many threads. Peak GFLOP/s:", end="")
        print(
            "", ", ".join(f"{value:.0f} by {threads}" for threads, value in peaks.items()), end=""
        )
    print(".\n")
    print(rows)


if __name__ == "__main__":
    main()

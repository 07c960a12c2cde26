"""The crate beside the best that one could use in its place on a processor, for the model bench's networks:
PyTorch, ONNX Runtime and OpenVINO.

    pip install -r requirements.txt
    python compare.py --network vgg11 --threads 2
"""

import argparse
import datetime
import importlib.metadata
import json
import tempfile

import torch

import contestants
import memory
import ours
from networks import NETWORKS
from peak import peak
from report import counted, table
from timing import medians

BATCHES = [1, 32]
# Every how many batches the correlation loss is added.
INTERVAL = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--network", choices=NETWORKS, help="only this one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="VGG11 in fewer turns")
    parser.add_argument("--json", metavar="FILE", help="write everything to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # Each shape of each network is compiled for itself.
    torch._dynamo.config.recompile_limit = 1000
    # Waits for the compiler before anything is timed.
    ours.program()

    best = peak(args.threads)
    about = {
        "date": datetime.date.today().isoformat(),
        "threads": args.threads,
        "versions": versions("torch", "onnxruntime", "openvino"),
        "peak GFLOP/s": best,
    }
    print_head(about)
    names = [args.network] if args.network else ["vgg11"] if args.quick else list(NETWORKS)
    rows = {}
    for network in names:
        for workload, measured in workloads(network, args):
            print(f"\n{workload}\n\n{table(**measured, peak=best)}", flush=True)
            rows[workload] = measured
    if args.json:
        with open(args.json, "w") as file:
            json.dump(about | {"workloads": rows}, file, indent=2)
            file.write("\n")


def workloads(network, args):
    """The names of the workloads, and of each what `report.table` takes."""
    with tempfile.TemporaryDirectory() as folder:
        for batch in BATCHES:
            files = contestants.onnx_files(network, batch, folder)
            entrants = contestants.inference(network, batch, args.threads, files)
            measured = measure(network, "inference", batch, entrants, 3 if args.quick else 9, args)
            measured["memory"] |= memory_to_classify(network, batch, files, args.threads)
            yield f"{network}, inference, batch {batch}", measured
    batch = contestants.TRAINING_BATCH
    entrants = contestants.training(network)
    measured = measure(network, "training", batch, entrants, 2 if args.quick else 4, args)
    measured["memory"] |= memory_of_pytorch(network, batch, args.threads, True)
    yield f"{network}, training step, batch {batch}", measured


def measure(network, workload, batch, entrants, turns, args):
    """The crate and the others take turns."""
    with ours.Program(network, workload, batch, args.threads) as program:
        entrants = program.contestants() | entrants
        times = medians({name: run for name, run in entrants.items() if callable(run)}, turns)
        # Why the others cannot run.
        times = {name: times.get(name, run) for name, run in entrants.items()}
        for name in [name for name in times if name.endswith(contestants.REGULARIZED)]:
            plain = name.removesuffix(contestants.REGULARIZED)
            times[plain] += (times.pop(name) - times[plain]) / INTERVAL
        known = {
            ours.PREFIX + name: ours.memory(network, workload, batch, args.threads, name)
            for name in program.multiply_adds
            if ours.PREFIX + name in times
        }
        counts = counted(times, program.multiply_adds)
    return {"times": times, "multiply_adds": counts, "memory": known}


def memory_to_classify(network, batch, files, threads):
    by_engines = {
        f"{engine}, {policy}": memory.of_engine(engine, path, batch, threads)
        for engine in installed(memory.MODULES)
        for policy, path in files.items()
    }
    return by_engines | memory_of_pytorch(network, batch, threads, False)


def memory_of_pytorch(network, batch, threads, trains):
    found = {}
    for suffix in contestants.LAYOUTS:
        bytes = memory.of_pytorch(network, contestants.DENSE, batch, threads, trains, suffix != "")
        found[f"PyTorch, dense, eager{suffix}"] = bytes
    reference = contestants.REFERENCE
    bytes = memory.of_pytorch(network, reference, batch, threads, trains, False)
    return found | {f"PyTorch, {reference}": bytes}


def installed(modules):
    known = versions(*modules.values())
    return [engine for engine, module in modules.items() if known[module]]


def versions(*packages):
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def print_head(about):
    known = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if version)
    print(
        f"{known}; {about['threads']} threads, {about['date']}.\n"
        f"Medians of engines that take turns. The peak is {about['peak GFLOP/s']:.0f} GFLOP/s. Memory is\n"
        "what is resident at the most while a process of its own runs, beyond what it had once its\n"
        "libraries were loaded."
    )


if __name__ == "__main__":
    main()

"""The resident memory of a contestant, in a process of its own.

What counts is the most while it runs, beyond what the process had once its libraries were loaded:
weights, maps and working memory, and what an allocator keeps of what was freed. The bench
`contestant` measures the crate in the same way.
"""

import importlib
import json
import subprocess
import sys

CALLS = 3
MODULES = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}


def of_engine(engine, path, batch, threads):
    """The bytes that an engine takes for the ONNX file of this path."""
    return in_a_process("engine", engine, path, batch, threads)


def of_pytorch(network, policy, batch, threads, trains, channels_last):
    """The bytes that PyTorch takes without compiling: the compiler would stay in the process."""
    return in_a_process("pytorch", network, policy, batch, threads, trains, channels_last)


def in_a_process(*what):
    command = [sys.executable, __file__, json.dumps(what)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def measure(start):
    before = status("VmRSS:")
    run = start()
    for _ in range(CALLS):
        run()
    # Forgets the most so far.
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    for _ in range(CALLS):
        run()
    return status("VmHWM:") - before


def status(name):
    with open("/proc/self/status") as file:
        [line] = [line for line in file if line.startswith(name)]
    return int(line.split()[1]) * 1024


def engine(name, path, batch, threads):
    import numpy

    from engines import ENGINES

    importlib.import_module(MODULES[name])
    images = numpy.random.rand(batch, 3, 32, 32).astype(numpy.float32)

    def start():
        run = ENGINES[name](path, threads)
        return lambda: run(images)

    return measure(start)


def pytorch(network, policy, batch, threads, trains, channels_last):
    import torch

    import contestants

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def start():
        model = contestants.model(network, policy).to(memory_format=layout)
        if trains:
            return contestants.step(model, layout)
        return contestants.classify(model, contestants.images(batch).to(memory_format=layout))

    return measure(start)


if __name__ == "__main__":
    kind, *what = json.loads(sys.argv[1])
    print({"engine": engine, "pytorch": pytorch}[kind](*what))

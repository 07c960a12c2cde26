"""Times ONNX files beside each other in ONNX Runtime on the CPU; they take turns.

    python time_onnx.py A.onnx B.onnx .. [--batch 1 32] [--threads 1] [--rounds 50]

Prints the median milliseconds of each file and batch size, and the ratio to the first file.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime


def open_session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The threads of a session that waits for its turn would spin.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def random_input(session, batch):
    """Images for a session. A file of a fixed batch size refuses every other one when it runs."""
    [value] = session.get_inputs()
    images = np.random.default_rng(0).standard_normal([batch, *value.shape[1:]], np.float32)
    return {value.name: images}


def medians(sessions, batch, rounds):
    inputs = [random_input(session, batch) for session in sessions]
    times = [[] for _ in sessions]
    for _ in range(rounds + 1):
        for session, images, taken in zip(sessions, inputs, times):
            before = time.perf_counter()
            session.run(None, images)
            taken.append((time.perf_counter() - before) * 1e3)
    # The first round warms up.
    return [statistics.median(taken[1:]) for taken in times]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=50)
    args = parser.parse_args()
    sessions = [open_session(path, args.threads) for path in args.files]
    width = max(len(Path(path).name) for path in args.files)
    print(f"{'file':{width}}  batch        ms  ratio")
    for batch in args.batch:
        results = medians(sessions, batch, args.rounds)
        for path, median in zip(args.files, results):
            print(f"{Path(path).name:{width}}  {batch:5}  {median:8.3f}  {median / results[0]:5.2f}")


if __name__ == "__main__":
    main()

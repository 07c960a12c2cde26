"""Tucker-2 of a network's convolutions, at the sizes of a plan of this crate's: its nearest rival.

    python benches/tucker.py FOLDER OUTPUT

FOLDER is what `cargo bench --bench compression -- --export FOLDER ..` wrote: for each planned layer the
dense weight, the patches of input that the calibration has kept, and the number of parameters that the
plan keeps. For every layer this searches every pair of ranks with at most as many
parameters for the one that keeps most of the kernel's energy, and writes the kernels that come out, to
be tested by `cargo bench --bench compression -- --kernels OUTPUT ..`.

    W ≈ G ×1 U ×2 V    U: [f, m], V: [c, s], G: [m, s, kh, kw]    parameters: f·m + m·s·kh·kw + c·s

V is of the kernel's unfolding by channels (HOSVD), U of the responses where there are some, and of the
unfolding by filters elsewhere: the metric of the crate. As there, the bias makes up for the mean of what
is lost of the responses.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np


def read(path):
    """The tensors of a safetensors file."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    types = {"F32": np.float32, "F64": np.float64}
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            values = np.frombuffer(raw[start:end], types[entry["dtype"]])
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def write(path, tensors):
    header, data, offset = {}, [], 0
    for name, values in tensors.items():
        values = np.ascontiguousarray(values, np.float32)
        end = offset + values.nbytes
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, end]}
        data.append(values.tobytes())
        offset = end
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(data))


def left(matrix):
    return np.linalg.svd(matrix, full_matrices=False)[0]


def tucker(weight, responses, budget):
    """The best pair of ranks within the budget: the kernel, the ranks and its parameters."""
    filters, channels, height, width = weight.shape
    taps = height * width
    by_filters = weight.reshape(filters, -1)
    u = left(by_filters if responses is None else responses)
    v = left(weight.transpose(1, 0, 2, 3).reshape(channels, -1))
    core = np.einsum("fcxy,fm,cs->msxy", weight, u, v, optimize=True)
    energy = (core**2).sum((2, 3)).cumsum(0).cumsum(1)
    m = np.arange(1, energy.shape[0] + 1)[:, None]
    s = np.arange(1, energy.shape[1] + 1)[None, :]
    parameters = filters * m + m * s * taps + channels * s
    kept = np.where(parameters <= budget, energy, -1.0)
    best = np.unravel_index(kept.argmax(), kept.shape)
    if kept[best] < 0:
        raise SystemExit(f"no pair of ranks of {weight.shape} has {budget} parameters")
    m, s = best[0] + 1, best[1] + 1
    kernel = np.einsum("msxy,fm,cs->fcxy", core[:m, :s], u[:, :m], v[:, :s], optimize=True)
    return kernel, (int(m), int(s)), int(parameters[best])


def main():
    folder, output = map(Path, sys.argv[1:3])
    plan = json.loads((folder / "plan.json").read_text())
    layers = {layer["path"]: layer for layer in plan["layers"]}
    kernels, total, dense = {}, 0, 0
    for path, tensor in read(folder / "weights.safetensors").items():
        layer = layers[path]
        dense += tensor.size
        if layer["choice"] is None:
            total += tensor.size
            continue
        weight = tensor.astype(np.float64)
        responses, mean = None, None
        file = folder / "patches" / f"{path}.safetensors"
        if file.exists():
            patches = read(file)["patches"].astype(np.float64)
            patches = patches.reshape(len(patches), -1)
            mean = patches.mean(0)
            responses = weight.reshape(len(weight), -1) @ (patches - mean).T
        kernel, ranks, parameters = tucker(weight, responses, layer["parameters"])
        kernels[path] = kernel
        if mean is not None:
            kernels[f"{path} shift"] = (weight - kernel).reshape(len(weight), -1) @ mean
        total += parameters
        lost = np.linalg.norm(kernel - weight) / np.linalg.norm(weight)
        print(f"{path}: ranks {ranks}, {parameters} of {layer['parameters']}, error {lost:.4f}")
    print(f"kept {total} of {dense}")
    write(output, kernels)


main()

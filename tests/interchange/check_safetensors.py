"""Loads weights that the Rust side has exported into plain PyTorch and compares the logits.

    python check_safetensors.py FILE.safetensors --network NAME --inputs IO.safetensors

Each convolution is nn.Conv2d where the file has `weight`, and the reference implementation's layer where
it has `conv_weights`. IO.safetensors holds `images` and the Rust side's `logits`.
"""

import argparse
from collections import Counter

import torch
from comparison import compare, read_io
from networks import NETWORKS, build_for
from safetensors.torch import load_file


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--inputs", required=True)
    args = parser.parse_args()
    images, expected = read_io(args.inputs)
    tensors = load_file(args.file)
    network = build_for(tensors, args.network, channels=images.shape[1], classes=expected.shape[1])
    layers = Counter(type(module).__name__ for module in network.modules())
    print({name: layers[name] for name in ["Conv2d", "LinearConv2d"]}, f"{len(tensors)} tensors")
    with torch.no_grad():
        logits = network(torch.from_numpy(images))
    compare(logits.numpy(), expected)


if __name__ == "__main__":
    main()

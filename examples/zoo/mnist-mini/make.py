#!/usr/bin/env python3
"""Make mnist-mini from the four original gzip files of MNIST.

    python3 make.py FOLDER_OF_MNIST

Writes beside this script, in the same format, TRAIN + TEST images drawn from the original
training and test set with a fixed seed, the same number of each digit, in shuffled order.
"""
import gzip, os, random, struct, sys

TRAIN, TEST, SEED = 5000, 1000, 1907


def main():
    source, here = sys.argv[1], os.path.dirname(os.path.abspath(__file__))
    for split, count in (("train", TRAIN), ("t10k", TEST)):
        with gzip.open(os.path.join(source, f"{split}-images-idx3-ubyte.gz")) as f:
            images = f.read()[16:]
        with gzip.open(os.path.join(source, f"{split}-labels-idx1-ubyte.gz")) as f:
            labels = f.read()[8:]
        rng = random.Random(SEED)
        chosen = []
        for digit in range(10):
            chosen += rng.sample([i for i, l in enumerate(labels) if l == digit], count // 10)
        rng.shuffle(chosen)
        pixels = b"".join(images[784 * i : 784 * (i + 1)] for i in chosen)
        write(here, f"{split}-images-idx3-ubyte", struct.pack(">4I", 0x803, count, 28, 28) + pixels)
        write(here, f"{split}-labels-idx1-ubyte",
              struct.pack(">2I", 0x801, count) + bytes(labels[i] for i in chosen))


def write(folder, name, content):
    # No name and no time in the gzip header: the same input gives the same bytes.
    with open(os.path.join(folder, name + ".gz"), "wb") as f:
        with gzip.GzipFile("", "wb", 9, f, 0) as zipped:
            zipped.write(content)


if __name__ == "__main__":
    main()

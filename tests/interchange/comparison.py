"""How the checks read the Rust side's answers and compare others with them."""

import sys

import numpy as np
from safetensors.numpy import load_file

TOLERANCE = 1e-4


def read_io(path):
    """The images that the Rust side has given a network, and its logits."""
    tensors = load_file(path)
    return tensors["images"], tensors["logits"]


def compare(logits, expected):
    """Prints the largest difference, relative to the largest logit; ends the process if it is too large."""
    if logits.shape != expected.shape:
        sys.exit(f"shape {logits.shape}, expected {expected.shape}")
    difference = np.abs(logits - expected).max() / np.abs(expected).max()
    print(f"largest difference {difference:.1e} of the largest logit, {np.abs(expected).max():.3g}")
    if not difference <= TOLERANCE:  # so that NaN fails
        sys.exit(f"above {TOLERANCE:.0e}")

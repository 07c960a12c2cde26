"""The speed that the machine reaches at best, to tell times as shares of it."""

import torch
from torch.nn import functional as F

from timing import shortest

SIDE = 2048
CHANNELS, PIXELS, KERNEL = 256, 32, 3


def peak(threads):
    """GFLOP/s of so many threads: the better of a big product and of a convolution.

    Products are by a library that does not use all of some processors, convolutions by another.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    matrix = torch.rand(SIDE, SIDE)
    layout = {"memory_format": torch.channels_last}
    maps = torch.rand(1, CHANNELS, PIXELS, PIXELS).to(**layout)
    kernel = torch.rand(CHANNELS, CHANNELS, KERNEL, KERNEL).to(**layout)
    product = shortest(lambda: matrix @ matrix, 1)
    convolution = shortest(lambda: F.conv2d(maps, kernel, padding=KERNEL // 2), 1)
    torch.set_num_threads(before)
    # The products with the padding are not counted, as those of the networks' layers are.
    return max(
        2 * SIDE**3 / product / 1e9,
        2 * kernel.numel() * PIXELS**2 / convolution / 1e9,
    )

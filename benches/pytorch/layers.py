"""The convolutions of the networks: dense, and LinearConv as its reference implementation has it."""

import torch
from torch import nn
from torch.nn import functional as F

# Up to so many channels an input is an image, whose channels are not combined.
IMAGE_CHANNELS = 4


def dense(channels, filters, kernel, stride, bias):
    return nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=bias)


class LinearConv2d(nn.Module):
    """A convolution whose kernel is built at every call, as the reference does: half of the filters
    are primary, the others are linear combinations of them. A `rank` bounds that of the matrix of
    combinations. With a `channel_ratio` below 1 the input's channels are combined to fewer first.
    """

    def __init__(self, channels, filters, kernel, stride, bias, rank=None, channel_ratio=1.0):
        super().__init__()
        primary = filters // 2
        kept = int(channels * channel_ratio) if channels > IMAGE_CHANNELS else channels
        self.stride, self.padding, self.rank = stride, kernel // 2, rank
        self.primary = nn.Parameter(torch.empty(primary, kept, kernel, kernel))
        nn.init.xavier_uniform_(self.primary)
        if rank is None:
            self.coefficients = nn.Parameter(small(filters - primary, primary))
        else:
            self.column = nn.Parameter(small(filters - primary, rank))
            self.row = nn.Parameter(small(rank, primary))
        self.channels = nn.Parameter(small(kept, channels - kept)) if kept < channels else None
        self.bias = nn.Parameter(small(filters)) if bias else None

    def factors(self):
        """The matrices that turn primary maps into secondary ones, in the order of use."""
        return [self.coefficients] if self.rank is None else [self.row, self.column]

    def mix(self):
        """The matrix that turns the input's channels into those that the filters see, if any."""
        if self.channels is None:
            return None
        return torch.cat([torch.eye(len(self.channels)), self.channels], 1)

    def forward(self, images):
        rows = self.primary.flatten(1)
        secondary = self.coefficients if self.rank is None else self.column @ self.row
        kernel = torch.cat([rows, secondary @ rows]).view(-1, *self.primary.shape[1:])
        mix = self.mix()
        if mix is not None:
            kernel = torch.einsum("fshw,sc->fchw", kernel, mix)
        return F.conv2d(images, kernel, self.bias, self.stride, self.padding)

    def pays(self):
        """Whether the crate's policy `auto` would use this layer: `LayerCost::pays`."""
        factored = sum(p.numel() for p in self.parameters() if p is not self.bias)
        filters, channels = 2 * len(self.primary), len(self.primary[0])
        if self.channels is not None:
            channels += self.channels.shape[1]
        whole = filters * channels * self.primary[0, 0].numel()
        # Fewer parameters follow from it: both count the same numbers.
        return 5 * factored <= 4 * whole


def small(*shape):
    return torch.empty(shape).uniform_(-0.1, 0.1)


def linear(**options):
    """LinearConv in every layer."""

    def convolution(*geometry):
        return LinearConv2d(*geometry, **options)

    return convolution


def auto(**options):
    """LinearConv where it pays, by the rule of the crate's `ConvConfig::auto`."""

    def convolution(*geometry):
        layer = LinearConv2d(*geometry, **options)
        return layer if layer.pays() else dense(*geometry)

    return convolution


def correlation_loss(model):
    """How alike the primary filters of every layer are, which the reference trains them not to be."""
    loss = 0.0
    for module in model.modules():
        if isinstance(module, LinearConv2d):
            correlation = torch.corrcoef(module.primary.flatten(1))
            loss = loss + (correlation - torch.eye(len(correlation))).abs().sum()
    return loss

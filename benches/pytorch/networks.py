"""The paper's baseline, VGG11 and ResNet-18 for images of 32x32 pixels, as the crate's zoo has them."""

import torch
from torch import nn

from layers import dense

CLASSES = 10
# Filters of each convolution of the paper's baseline and of VGG11; "M" halves the maps.
BASE = [32, "M", 64, "M", 128, "M", 256, "M"]
VGG11 = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
# Filters and first stride of each stage of ResNet-18, which has two blocks.
RESNET18 = [(64, 1), (128, 2), (256, 2), (512, 2)]


class ConvNorm(nn.Module):
    """A convolution and batch normalization."""

    def __init__(self, convolution, filters):
        super().__init__()
        self.conv = convolution
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, maps):
        return self.norm(self.conv(maps))


class Residual(nn.Module):
    """Two 3x3 convolutions that are added to their input."""

    def __init__(self, convolution, channels, filters, stride):
        super().__init__()

        def layer(channels, kernel, stride):
            return ConvNorm(convolution(channels, filters, kernel, stride, False), filters)

        self.body = nn.Sequential(
            layer(channels, 3, stride), nn.ReLU(inplace=True), layer(filters, 3, 1)
        )
        same = stride == 1 and channels == filters
        self.shortcut = nn.Identity() if same else layer(channels, 1, stride)

    def forward(self, maps):
        return torch.relu_(self.body(maps) + self.shortcut(maps))


def plain(stages, convolution):
    """Layers one after the other, of the convolutions that `convolution(channels, filters, kernel, stride, bias)`
    makes."""
    layers, channels, side = [], 3, 32
    for filters in stages:
        if filters == "M":
            layers.append(nn.MaxPool2d(2))
            side //= 2
        else:
            layers.append(ConvNorm(convolution(channels, filters, 3, 1, True), filters))
            layers.append(nn.ReLU(inplace=True))
            channels = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side * side, CLASSES))


def base(convolution):
    """The paper's baseline, see `plain`."""
    return plain(BASE, convolution)


def vgg11(convolution):
    """VGG11, see `plain`."""
    return plain(VGG11, convolution)


def resnet18(convolution):
    """ResNet-18 of the convolutions that `convolution(channels, filters, kernel, stride, bias)` makes."""
    channels = 64
    layers = [ConvNorm(convolution(3, channels, 3, 1, False), channels), nn.ReLU(inplace=True)]
    for filters, first in RESNET18:
        for stride in [first, 1]:
            layers.append(Residual(convolution, channels, filters, stride))
            channels = filters
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]
    return nn.Sequential(*layers, *head)


NETWORKS = {"vgg11": vgg11, "resnet18": resnet18, "base": base}


def images(batch):
    """The same random images at every call."""
    return torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))


def init(network, convolution):
    """The network, its normalizations as if trained: each has its own scales, shifts and statistics."""
    model = NETWORKS[network](convolution)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            # The statistics of one batch, whole.
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(images(50))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    return model.eval()

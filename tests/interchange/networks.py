"""The zoo's networks in PyTorch, with the parameter names of LinearConv's reference implementation.

SqueezeNet has no reference: its names are those of the Rust struct.
"""

import torch
from torch import nn
from torch.nn import functional as F

KINDS = ["dense", "full", "low_rank"]
IMAGE_SIDE = 32


def uniform(*shape):
    return nn.Parameter(torch.empty(shape).uniform_(-0.1, 0.1))


class LinearConv2d(nn.Module):
    """A convolution as in the paper: its kernel is cat(P, A·P), with each filter of P in one row.

    A is `linear_weights` under a mask or, if a rank is given, `column_weights` · `row_weights`.
    With groups, a secondary filter lies in a later group of channels than the primary filters it
    combines, as in the reference.
    """

    def __init__(self, conv, primary, rank=None):
        super().__init__()
        filters, *filter_shape = conv.weight.shape
        secondary = filters - primary
        self.options = {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups}
        self.conv_weights = nn.Parameter(torch.empty(primary, *filter_shape))
        nn.init.xavier_uniform_(self.conv_weights)
        if rank is None:
            self.linear_weights = uniform(secondary, primary)
        else:
            self.column_weights = uniform(secondary, rank)
            self.row_weights = uniform(rank, primary)
        self.bias = None if conv.bias is None else uniform(filters)
        if rank is None:
            # A parameter, as in the reference, so that its optimizer counts it.
            self.mask = nn.Parameter(torch.ones(secondary, primary), requires_grad=False)

    def coefficients(self):
        if hasattr(self, "mask"):
            return self.linear_weights * self.mask
        return self.column_weights @ self.row_weights

    def forward(self, x):
        rows = self.conv_weights.flatten(1)
        kernel = torch.cat([rows, self.coefficients() @ rows])
        return F.conv2d(x, kernel.unflatten(1, self.conv_weights.shape[1:]), self.bias, **self.options)


def conv(channels, filters, kernel, stride=1, groups=1, bias=False):
    return nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)


def global_average(maps):
    return maps.mean([2, 3])


class Vgg(nn.Module):
    """Stages of 3×3 convolutions, each with a 2×2 max pool at its end."""

    def __init__(self, stages, channels, classes):
        super().__init__()
        self.feat = nn.Sequential()
        for stage in stages:
            layers = []
            for filters in stage:
                layers += [conv(channels, filters, 3, bias=True), nn.BatchNorm2d(filters), nn.ReLU()]
                channels = filters
            self.feat.append(nn.Sequential(*layers, nn.MaxPool2d(2)))
        side = IMAGE_SIDE >> len(stages)
        self.fc = nn.Linear(channels * side * side, classes)

    def forward(self, x):
        return self.fc(self.feat(x).flatten(1))


class AllConv(nn.Module):
    always_dense = ["class_conv"]

    def __init__(self, channels, classes):
        super().__init__()
        self.conv1 = conv(channels, 96, 3, bias=True)
        self.conv2 = conv(96, 96, 3, bias=True)
        self.conv3 = conv(96, 96, 3, stride=2, bias=True)
        self.conv4 = conv(96, 192, 3, bias=True)
        self.conv5 = conv(192, 192, 3, bias=True)
        self.conv6 = conv(192, 192, 3, stride=2, bias=True)
        self.conv7 = conv(192, 192, 3, bias=True)
        self.conv8 = conv(192, 192, 1, bias=True)
        self.class_conv = conv(192, classes, 1, bias=True)

    def forward(self, x):
        x = F.dropout(x, 0.2, self.training)
        for layer in [self.conv1, self.conv2, self.conv3]:
            x = F.relu(layer(x))
        x = F.dropout(x, 0.5, self.training)
        for layer in [self.conv4, self.conv5, self.conv6]:
            x = F.relu(layer(x))
        x = F.dropout(x, 0.5, self.training)
        for layer in [self.conv7, self.conv8, self.class_conv]:
            x = F.relu(layer(x))
        return global_average(x)


class Block(nn.Module):
    """Normalized convolutions with ReLU between them. `shortcut` tells what is added to the result:

    `None` for nothing, an empty list for the input, or a convolution for the normalized projection.
    """

    def __init__(self, convs, shortcut):
        super().__init__()
        # The reference creates its normalizations first, which orders the keys.
        for index, layer in enumerate(convs, 1):
            self.add_module(f"bn{index}", nn.BatchNorm2d(layer.out_channels))
        for index, layer in enumerate(convs, 1):
            self.add_module(f"conv{index}", layer)
        self.depth = len(convs)
        self.adds = shortcut is not None
        self.shortcut = nn.Sequential()
        if shortcut:
            self.shortcut.extend([shortcut, nn.BatchNorm2d(shortcut.out_channels)])

    def forward(self, x):
        y = x
        for index in range(1, self.depth + 1):
            y = F.relu(y) if index > 1 else y
            y = self.get_submodule(f"bn{index}")(self.get_submodule(f"conv{index}")(y))
        return y + self.shortcut(x) if self.adds else y


class Residual(Block):
    """A block of ResNet or, in groups, of ResNeXt: basic, or a bottleneck if it has an expansion."""

    def __init__(self, channels, width, stride, expansion=None, groups=1):
        self.filters = width * (expansion or 1)
        if expansion is None:
            convs = [conv(channels, width, 3, stride), conv(width, width, 3)]
        else:
            convs = [
                conv(channels, width, 1),
                conv(width, width, 3, stride, groups),
                conv(width, self.filters, 1),
            ]
        projects = stride != 1 or channels != self.filters
        super().__init__(convs, conv(channels, self.filters, 1, stride) if projects else [])

    def forward(self, x):
        return F.relu(super().forward(x))


class ResNet(nn.Module):
    def __init__(self, counts, channels, classes, width=64, stem_kernel=3, **block):
        super().__init__()
        self.conv1 = conv(channels, 64, stem_kernel)
        self.bn1 = nn.BatchNorm2d(64)
        self.stages = len(counts)
        channels = 64
        for stage, count in enumerate(counts):
            blocks = nn.Sequential()
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(Residual(channels, width << stage, stride, **block))
                channels = blocks[-1].filters
            self.add_module(f"layer{stage + 1}", blocks)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.linear(global_average(x))


class ResNeXt(ResNet):
    always_dense = ["conv1"]

    def __init__(self, groups, group_width, channels, classes):
        width = groups * group_width
        super().__init__([3, 3, 3], channels, classes, width, stem_kernel=1, expansion=2, groups=groups)


class MobileNetV2(nn.Module):
    # Expansion, filters, number of blocks, and stride of the first of them.
    STAGES = [
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]

    def __init__(self, channels, classes):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(32)
        self.layers = nn.Sequential()
        inputs = 32
        for expansion, filters, count, first_stride in self.STAGES:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                self.layers.append(self.block(inputs, expansion * inputs, filters, stride))
                inputs = filters
        self.bn2 = nn.BatchNorm2d(1280)
        self.linear = nn.Linear(1280, classes)
        self.conv1 = conv(channels, 32, 3)
        self.conv2 = conv(inputs, 1280, 1)

    @staticmethod
    def block(channels, width, filters, stride):
        convs = [
            conv(channels, width, 1),
            conv(width, width, 3, stride, groups=width),
            conv(width, filters, 1),
        ]
        if stride != 1:
            return Block(convs, None)
        return Block(convs, conv(channels, filters, 1) if channels != filters else [])

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(self.layers(x))))
        return self.linear(global_average(x))


class ConvNorm(nn.Module):
    def __init__(self, channels, filters, kernel):
        super().__init__()
        self.conv = conv(channels, filters, kernel)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x):
        return self.norm(self.conv(x))


class Fire(nn.Module):
    def __init__(self, channels, squeeze, expand):
        super().__init__()
        self.squeeze = ConvNorm(channels, squeeze, 1)
        self.expand = nn.ModuleList([ConvNorm(squeeze, expand, 1), ConvNorm(squeeze, expand, 3)])

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([expand(x) for expand in self.expand], 1))


class SqueezeNet(nn.Module):
    always_dense = ["classifier"]
    # Filters of each fire module: the squeezing ones, and those of each expansion.
    STAGES = [
        [(16, 64), (16, 64)],
        [(32, 128), (32, 128)],
        [(48, 192), (48, 192), (64, 256), (64, 256)],
    ]

    def __init__(self, channels, classes):
        super().__init__()
        self.stem = ConvNorm(channels, 64, 3)
        self.stages = nn.ModuleList()
        channels = 64
        for fires in self.STAGES:
            stage = nn.Sequential()
            for squeeze, expand in fires:
                stage.append(Fire(channels, squeeze, expand))
                channels = 2 * expand
            self.stages.append(stage)
        self.classifier = conv(channels, classes, 1, bias=True)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for stage in self.stages:
            x = stage(F.max_pool2d(x, 3, 2, ceil_mode=True))
        x = F.dropout(x, 0.5, self.training)
        return global_average(F.relu(self.classifier(x)))


def resnet18_imagenet(channels, classes):
    """torchvision's ResNet-18, for images of 224×224 pixels."""
    from torchvision.models import resnet18

    assert channels == 3
    return resnet18(num_classes=classes)


# By the names of the command line: from channels and classes to the network.
NETWORKS = {
    "base": lambda *io: Vgg([[32], [64], [128], [256]], *io),
    "vgg11": lambda *io: Vgg([[64], [128], [256] * 2, [512] * 2, [512] * 2], *io),
    "vgg13": lambda *io: Vgg([[64] * 2, [128] * 2, [256] * 2, [512] * 2, [512] * 2], *io),
    "vgg16": lambda *io: Vgg([[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3], *io),
    "vgg19": lambda *io: Vgg([[64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4], *io),
    "allconv": AllConv,
    "resnet18": lambda *io: ResNet([2, 2, 2, 2], *io),
    "resnet34": lambda *io: ResNet([3, 4, 6, 3], *io),
    "resnet50": lambda *io: ResNet([3, 4, 6, 3], *io, expansion=4),
    "resnet101": lambda *io: ResNet([3, 4, 23, 3], *io, expansion=4),
    "resnet152": lambda *io: ResNet([3, 8, 36, 3], *io, expansion=4),
    "resnext29": lambda *io: ResNeXt(2, 64, *io),
    "resnext29_4x64d": lambda *io: ResNeXt(4, 64, *io),
    "resnext29_8x64d": lambda *io: ResNeXt(8, 64, *io),
    "resnext29_32x4d": lambda *io: ResNeXt(32, 4, *io),
    "mobilenet_v2": MobileNetV2,
    "squeezenet": SqueezeNet,
    "resnet18_imagenet": resnet18_imagenet,
}


def convolutions(network):
    return [(path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d)]


def build(name, kind="dense", ratio=0.25, channels=3, classes=10):
    """A network with its convolutions of one kind, except those that are always dense."""
    network = NETWORKS[name](channels, classes)
    for path, layer in convolutions(network):
        if kind != "dense" and path not in getattr(network, "always_dense", []):
            primary = layer.out_channels // 2
            # The reference's rank is 0 in small layers.
            rank = max(1, int(primary * ratio)) if kind == "low_rank" else None
            network.set_submodule(path, LinearConv2d(layer, primary, rank))
    return network


def build_for(tensors, name, channels, classes):
    """A network with each convolution of the kind, sizes and bias that the tensors tell, loaded."""
    network = NETWORKS[name](channels, classes)
    for path, layer in convolutions(network):
        if f"{path}.bias" in tensors and layer.bias is None:
            layer.bias = nn.Parameter(torch.empty(layer.out_channels))
        if (weights := tensors.get(f"{path}.conv_weights")) is not None:
            row = tensors.get(f"{path}.row_weights")
            linear = LinearConv2d(layer, len(weights), None if row is None else len(row))
            network.set_submodule(path, linear)
    network.load_state_dict(tensors, strict=True)
    return network.eval()

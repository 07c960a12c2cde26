"""Networks as ONNX, with batch normalization folded into the convolutions and LinearConv factored.

A LinearConv layer is up to four convolutions: 1x1 to combine channels, the primary filters, and one 1x1
for each matrix of coefficients. No exporter is needed, and the shapes are fixed.
"""

import torch
from onnx import TensorProto, checker, helper, numpy_helper
from torch import nn

from layers import LinearConv2d
from networks import ConvNorm, Residual

INPUT, OUTPUT = "images", "logits"


class Graph:
    def __init__(self):
        self.nodes, self.weights = [], []

    def constant(self, values):
        name = f"weight{len(self.weights)}"
        array = values.detach().contiguous().numpy()
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator, inputs, **attributes):
        """Adds a node of one output, and returns that."""
        output = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def conv(self, maps, kernel, bias=None, stride=1):
        side = kernel.shape[-1]
        inputs = [maps, self.constant(kernel)]
        if bias is not None:
            inputs.append(self.constant(bias))
        attributes = {
            "kernel_shape": [side] * 2,
            "strides": [stride] * 2,
            "pads": [side // 2] * 4,
        }
        return self.node("Conv", inputs, **attributes)

    def matrix(self, maps, matrix, bias=None):
        """A 1x1 convolution."""
        return self.conv(maps, matrix[:, :, None, None], bias)


def conv_norm(graph, block, maps):
    """What the convolution and the normalization compute together, as `Conv::folded` of the crate."""
    conv, norm = block.conv, block.norm
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    if conv.bias is not None:
        shift = shift + conv.bias * scale
    if not isinstance(conv, LinearConv2d):
        return graph.conv(maps, conv.weight * scale[:, None, None, None], shift, conv.stride[0])

    mix = conv.mix()
    if mix is not None:
        maps = graph.matrix(maps, mix)
    primary = len(conv.primary)
    kernel = conv.primary * scale[:primary, None, None, None]
    first = graph.conv(maps, kernel, shift[:primary], conv.stride)
    factors = conv.factors()
    # Combinations are of the primary filters as they were: without scale and shift.
    factors[0] = factors[0] / scale[:primary]
    factors[-1] = factors[-1] * scale[primary:, None]
    biases = [torch.zeros(len(factor)) for factor in factors]
    biases[0] = biases[0] - factors[0] @ shift[:primary]
    biases[-1] = biases[-1] + shift[primary:]
    second = first
    for factor, bias in zip(factors, biases):
        second = graph.matrix(second, factor, bias)
    return graph.node("Concat", [first, second], axis=1)


def add(graph, module, maps):
    """Adds a module of a network to the graph, and returns its output."""
    match module:
        case nn.Sequential():
            for part in module:
                maps = add(graph, part, maps)
            return maps
        case ConvNorm():
            return conv_norm(graph, module, maps)
        case Residual():
            body = add(graph, module.body, maps)
            shortcut = add(graph, module.shortcut, maps)
            return graph.node("Relu", [graph.node("Add", [body, shortcut])])
        case nn.Identity():
            return maps
        case nn.ReLU():
            return graph.node("Relu", [maps])
        case nn.MaxPool2d():
            side = [module.kernel_size] * 2
            return graph.node("MaxPool", [maps], kernel_shape=side, strides=side)
        case nn.AdaptiveAvgPool2d():
            return graph.node("GlobalAveragePool", [maps])
        case nn.Flatten():
            return graph.node("Flatten", [maps])
        case nn.Linear():
            weights = [graph.constant(values) for values in (module.weight, module.bias)]
            return graph.node("Gemm", [maps, *weights], transB=1)
    raise TypeError(f"no ONNX for {type(module).__name__}")


def onnx_model(model, batch):
    """The network for batches of this size, as the bytes of an ONNX file."""
    graph = Graph()
    features = add(graph, model, INPUT)
    graph.nodes.append(helper.make_node("Identity", [features], [OUTPUT], OUTPUT))
    classes = model[-1].out_features
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in [(INPUT, [batch, 3, 32, 32]), (OUTPUT, [batch, classes])]
    ]
    whole = helper.make_graph(graph.nodes, "network", ends[:1], ends[1:], graph.weights)
    # Of an opset and format that every runtime of the last years reads.
    onnx = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(onnx)
    return onnx.SerializeToString()

"""Checks an ONNX file that the Rust side has exported, and its logits in ONNX Runtime.

    python check_onnx.py FILE.onnx --inputs IO.safetensors

IO.safetensors holds `images` and the Rust side's `logits`.
"""

import argparse
from collections import Counter

import onnx
import onnxruntime
from comparison import compare, read_io


def shape(value):
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("--inputs", required=True)
    args = parser.parse_args()
    onnx.checker.check_model(args.file, full_check=True)
    model = onnx.load(args.file)
    print("opset", {entry.domain or "ai.onnx": entry.version for entry in model.opset_import})
    for value in [*model.graph.input, *model.graph.output]:
        print(value.name, shape(value))
    print("operators", dict(Counter(node.op_type for node in model.graph.node).most_common()))
    print("metadata", {entry.key: entry.value for entry in model.metadata_props})

    images, expected = read_io(args.inputs)
    session = onnxruntime.InferenceSession(args.file, providers=["CPUExecutionProvider"])
    [name] = [value.name for value in session.get_inputs()]
    [logits] = session.run(None, {name: images})
    compare(logits, expected)


if __name__ == "__main__":
    main()

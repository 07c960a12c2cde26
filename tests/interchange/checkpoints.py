"""Writes PyTorch checkpoints as LinearConv's reference implementation does, to test a loader with.

    python checkpoints.py OUT [--network NAME] [--channels 1] [--classes 100]

Beside each NAME.ckpt lies NAME.safetensors: `input`, and the `logits` of evaluation mode. All numbers
are random but seeded. Without --network this writes every network, and also OUT/forms, which holds one
network in the forms that others save, and OUT/bad, which holds files that a loader must refuse.
"""

import argparse
import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from unittest import mock

import torch
from networks import IMAGE_SIDE, KINDS, NETWORKS, LinearConv2d, build
from safetensors.torch import save_file
from torch import nn

REFERENCE = ["base", "vgg11", "allconv", "resnet18", "resnext29", "mobilenet_v2"]
IMAGENET = "resnet18_imagenet"
BATCH = 2
# What `bad/code*.pth` would run, to be looked for by a test.
TRACE = "the_checkpoint_ran_this"


@torch.no_grad()
def randomize(network, images):
    """Gives a network weights and running statistics as if trained: activations stay about 1."""
    for module in network.modules():
        if isinstance(module, LinearConv2d):
            nn.init.kaiming_normal_(module.conv_weights)
            primary = module.conv_weights.shape[0]
            if hasattr(module, "mask"):
                module.mask.bernoulli_(0.5)
                nn.init.normal_(module.linear_weights, std=(2 / primary) ** 0.5)
            else:
                nn.init.normal_(module.column_weights, std=module.column_weights.shape[1] ** -0.5)
                nn.init.normal_(module.row_weights, std=primary**-0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.momentum = 1  # the statistics become those of the images
    network.train()(images)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            deviation = module.running_var.sqrt()
            module.running_mean += 0.1 * deviation * torch.randn_like(deviation)
            module.running_var *= torch.empty_like(deviation).uniform_(0.7, 1.3)
            module.num_batches_tracked.fill_(4000)
    return network.eval()


def random_network(name, kind="dense", channels=3, classes=10, side=IMAGE_SIDE, **options):
    torch.manual_seed(0)
    network = build(name, kind, channels=channels, classes=classes, **options)
    return randomize(network, torch.randn(8, channels, side, side))


@torch.no_grad()
def save_logits(path, network, channels=3, side=IMAGE_SIDE):
    images = torch.randn(BATCH, channels, side, side)
    logits = network(images)
    assert logits.isfinite().all() and 0.1 < logits.std() < 100, (path, logits)
    save_file({"input": images, "logits": logits}, path)


def adam(network):
    # With the masks, as in the reference.
    return torch.optim.Adam(network.parameters(), lr=1e-3)


def step(network, optimizer, channels):
    """One step in evaluation mode, so that the running statistics stay."""
    images = torch.randn(BATCH, channels, IMAGE_SIDE, IMAGE_SIDE)
    nn.functional.cross_entropy(network(images), torch.arange(BATCH)).backward()
    optimizer.step()


def checkpoint(network, optimizer):
    return {"epoch": 3, "model_state_dict": network.state_dict(), "opt": optimizer.state_dict()}


def save_network(out, name, kind, channels, classes, steps=False):
    network = random_network(name, kind, channels, classes)
    optimizer = adam(network)
    if steps:
        step(network, optimizer, channels)
    path = out / f"{name}_{kind}"
    if (channels, classes) != (3, 10):
        path = out / f"{path.name}_{channels}x{classes}"
    torch.save(checkpoint(network, optimizer), f"{path}.ckpt")
    save_logits(f"{path}.safetensors", network, channels)


def save_imagenet(out):
    network = random_network(IMAGENET, classes=1000, side=224)
    torch.save(network.state_dict(), out / f"{IMAGENET}.pth")
    save_logits(out / f"{IMAGENET}.safetensors", network, side=224)


def save_forms(out):
    """One network in many forms. All have the logits of `logits.safetensors` but `rank_zero`."""
    out.mkdir(exist_ok=True)
    network = random_network("base", "full")
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(tensor.half())  # so that forms of less precision have the same logits
    save_logits(out / "logits.safetensors", network)
    state = network.state_dict()

    def save(name, data, **options):
        torch.save(data, out / name, **options)

    def cast(dtype):
        return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}

    save("state_dict.pth", state)
    save("legacy.ckpt", checkpoint(network, adam(network)), _use_new_zipfile_serialization=False)
    save("legacy_state_dict.pth", state, _use_new_zipfile_serialization=False)
    parallel = OrderedDict((f"module.{key}", value) for key, value in state.items())
    save("data_parallel.pth", {"state_dict": parallel})
    save("data_parallel.ckpt", {"epoch": 3, "model_state_dict": parallel, "opt": {}})
    save("half.pth", cast(torch.float16))
    save("double.pth", cast(torch.float64))
    masks = {key: value.bool() for key, value in state.items() if key.endswith(".mask")}
    save("bool_masks.pth", {**state, **masks})
    save("no_batches_tracked.pth", {k: v for k, v in state.items() if "num_batches" not in k})
    # Views: transposed, and at an offset in a storage of twice the size.
    save("views.pth", {key: view(value) for key, value in state.items()})
    with mock.patch("torch.serialization.location_tag", lambda storage: "cuda:0"):
        save("cuda.ckpt", checkpoint(network, adam(network)))

    # The reference's rank is int(16 · 0.05) = 0 in the first layer.
    network = random_network("base", "low_rank", ratio=0.05)
    layer = network.feat[0][0]
    layer.column_weights = nn.Parameter(torch.empty(16, 0))
    layer.row_weights = nn.Parameter(torch.empty(0, 16))
    save("rank_zero.ckpt", checkpoint(network, adam(network)))
    save_logits(out / "rank_zero.safetensors", network)


def view(tensor):
    if tensor.dim() == 2:
        return tensor.t().contiguous().t()
    return torch.stack([torch.zeros_like(tensor), tensor])[1]


class Code:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, (f"touch {TRACE}",)


def save_bad(out):
    """Files of the same network that a loader must refuse, with an error and nothing else."""
    out.mkdir(exist_ok=True)
    network = random_network("base", "full")
    state = network.state_dict()

    def save(name, data, **options):
        torch.save(data, out / name, **options)

    def file(data, **options):
        buffer = io.BytesIO()
        torch.save(data, buffer, **options)
        return buffer.getvalue()

    save("code.pth", {**state, "code": Code()})
    save("code_legacy.pth", {**state, "code": Code()}, _use_new_zipfile_serialization=False)
    (out / "code_pickle.pth").write_bytes(pickle.dumps(Code()))
    save("whole_model.pth", network)
    for name, options in [("", {}), ("_legacy", {"_use_new_zipfile_serialization": False})]:
        whole = file(checkpoint(network, adam(network)), **options)
        (out / f"truncated{name}.ckpt").write_bytes(whole[: len(whole) // 2])
        (out / f"truncated_head{name}.ckpt").write_bytes(whole[:100])
    (out / "empty.pth").write_bytes(b"")
    (out / "web_page.pth").write_text("<!DOCTYPE html><title>404 Not Found</title>\n")
    save("no_tensors.pth", {"epoch": 3})
    save("wrong_shape.pth", {**state, "fc.weight": torch.zeros(10, 512)})
    save("missing_key.pth", {key: value for key, value in state.items() if key != "feat.2.0.linear_weights"})
    save("unexpected_key.pth", {**state, "feat.4.0.conv_weights": torch.zeros(16, 16, 3, 3)})
    save("other_network.pth", build("resnet18", "low_rank").state_dict())
    # 10 · 2^40 numbers in a file of 4 bytes for them.
    save("huge.pth", {**state, "fc.weight": torch.zeros(1).expand(10, 2**40)})


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--channels", type=int, default=3, help="of the images")
    parser.add_argument("--classes", type=int, default=10)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.network == IMAGENET:
        save_imagenet(args.out)
        return
    for name in [args.network] if args.network else REFERENCE:
        for kind in KINDS:
            # Adam has a state after a step; of one network, because it is twice the weights.
            save_network(args.out, name, kind, args.channels, args.classes, steps=name == "base")
    if args.network is None:
        for kind in KINDS:
            save_network(args.out, "base", kind, channels=1, classes=100)
        save_imagenet(args.out)
        save_forms(args.out / "forms")
        save_bad(args.out / "bad")


if __name__ == "__main__":
    main()

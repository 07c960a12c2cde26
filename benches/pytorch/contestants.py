"""Who takes part: functions that classify a batch or take a training step, by the names of the table.

In place of one that cannot run here stands the reason, a string.
"""

import copy
import functools

import torch
from torch._inductor import config as inductor
from torch.nn import functional as F

from engines import ENGINES
from graphs import onnx_model
from layers import auto, correlation_loss, dense, linear
from networks import CLASSES, images, init

TRAINING_BATCH = 50
LAYOUTS = {"": torch.contiguous_format, ", channels_last": torch.channels_last}
# The largest difference that is rounding, as a share of the largest logit.
TOLERANCE = 1e-4

DENSE = "dense"
REFERENCE = "PyTorch, the reference's way, rank {}"
# The reference with its correlation loss in every step: what the loss costs, and no row of its own.
LOSS = "correlation loss"


def models(network, rank):
    """The networks, by what they are."""
    torch.manual_seed(0)
    policies = {
        DENSE: dense,
        f"rank {rank}": auto(rank=rank),
        "both sides": auto(channel_ratio=0.5),
        REFERENCE.format(rank): linear(rank=rank),
    }
    return {name: init(network, convolution) for name, convolution in policies.items()}


def inference(networks, batch, threads):
    """Everyone who classifies a batch, each with an answer that has been compared with PyTorch's."""
    inputs = images(batch)
    entries = {}
    for name, model in networks.items():
        with torch.no_grad():
            expected = model(inputs)
        if name.startswith("PyTorch"):
            entrants = {name: classify(model, inputs)}
        else:
            entrants = by_engines(name, onnx_model(model, batch), inputs.numpy(), threads)
        if name == DENSE:
            entrants = eager(model, inputs) | compiled(model, inputs) | entrants
        for entrant, run in entrants.items():
            if callable(run):
                check(entrant, torch.as_tensor(run()), expected)
        entries |= entrants
    return entries


def check(name, answer, expected):
    error = ((answer - expected).abs().max() / expected.abs().max()).item()
    if not error <= TOLERANCE:
        raise AssertionError(f"{name}: the answer is off by {error:.1e} of the largest logit")


def classify(model, inputs):
    @torch.no_grad()
    def run():
        return model(inputs)

    return run


def eager(model, inputs):
    entrants = {}
    for suffix, layout in LAYOUTS.items():
        laid_out = copy.deepcopy(model).to(memory_format=layout)
        arranged = inputs.contiguous(memory_format=layout)
        entrants[f"PyTorch, dense, eager{suffix}"] = classify(laid_out, arranged)
    return entrants


def compiled(model, inputs):
    """Without and with freezing, which folds normalizations and lays weights out once."""
    entrants = {}
    for freezing, word in [(False, "compiled"), (True, "compiled and frozen")]:
        # The option keeps the two apart; the setting is what the first call goes by.
        options = {"freezing": freezing}
        for suffix, layout in LAYOUTS.items():
            laid_out = copy.deepcopy(model).to(memory_format=layout)
            fast = torch.compile(laid_out, dynamic=False, options=options)
            run = classify(fast, inputs.contiguous(memory_format=layout))
            with inductor.patch(options):
                entrants[f"PyTorch, dense, {word}{suffix}"] = tried(run)
    return entrants


def tried(run):
    """The function, compiled by its first call, or why it cannot be."""
    try:
        run()
    except torch._dynamo.exc.TorchDynamoException as error:
        reason = str(error).strip().splitlines()[0]
        return f"torch.compile cannot run: {reason}"
    return run


def by_engines(name, onnx, inputs, threads):
    entrants = {}
    for engine, start in ENGINES.items():
        try:
            entrants[f"{engine}, {name}"] = functools.partial(start(onnx, threads), inputs)
        except ImportError as error:
            entrants[f"{engine}, {name}"] = str(error)
    return entrants


def training(networks, rank, fused):
    """Everyone who takes a training step, with the given kind of Adam."""
    entrants = {}
    for suffix, layout in LAYOUTS.items():
        model = copy.deepcopy(networks[DENSE]).to(memory_format=layout)
        entrants[f"PyTorch, dense, eager{suffix}"] = step(model, fused, layout)
    for suffix, layout in LAYOUTS.items():
        model = torch.compile(copy.deepcopy(networks[DENSE]).to(memory_format=layout))
        entrants[f"PyTorch, dense, compiled{suffix}"] = tried(step(model, fused, layout))
    name = REFERENCE.format(rank)
    entrants[name] = step(copy.deepcopy(networks[name]), fused)
    entrants[LOSS] = step(copy.deepcopy(networks[name]), fused, regularized=True)
    return entrants


def step(model, fused, layout=torch.contiguous_format, regularized=False):
    """Forward, backward and Adam on the same random images."""
    inputs = images(TRAINING_BATCH).contiguous(memory_format=layout)
    labels = torch.arange(TRAINING_BATCH) % CLASSES
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=fused)
    model.train()

    def run():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        if regularized:
            loss = loss + 0.01 * correlation_loss(model)
        loss.backward()
        optimizer.step()

    return run

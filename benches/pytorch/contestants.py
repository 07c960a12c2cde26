"""Who takes part: functions that classify a batch or take a training step, by the names of the table.

In place of one that cannot run here stands the reason, a string.
"""

import copy
import functools
import os

import torch
from torch._inductor import config as inductor
from torch.nn import functional as F

from engines import ENGINES
from graphs import onnx_model
from layers import auto, correlation_loss, dense, linear
from networks import CLASSES, images, init

TRAINING_BATCH = 50
RANK = 10
LAYOUTS = {"": torch.contiguous_format, ", channels_last": torch.channels_last}
# The largest difference that is rounding, as a share of the largest logit.
TOLERANCE = 1e-4

DENSE = "dense"
REFERENCE = f"the reference's way, rank {RANK}"
POLICIES = {
    DENSE: dense,
    f"rank {RANK}": auto(rank=RANK),
    "both sides": auto(channel_ratio=0.5),
    REFERENCE: linear(rank=RANK),
}
# How the name of a contestant ends that adds the correlation loss at every step.
REGULARIZED = ", correlation loss"


def model(network, policy):
    torch.manual_seed(0)
    return init(network, POLICIES[policy])


def onnx_files(network, batch, folder):
    """The paths of the networks as ONNX, by what they are."""
    paths = {}
    for policy in POLICIES:
        if policy != REFERENCE:
            path = os.path.join(folder, f"{network}, {policy}, {batch}.onnx")
            with open(path, "wb") as file:
                file.write(onnx_model(model(network, policy), batch))
            paths[policy] = path
    return paths


def inference(network, batch, threads, files):
    """Everyone who classifies a batch, each with an answer that has been compared with PyTorch's."""
    inputs = images(batch)
    entries = {}
    for policy in POLICIES:
        found = model(network, policy)
        with torch.no_grad():
            expected = found(inputs)
        if policy == REFERENCE:
            entrants = {f"PyTorch, {policy}": classify(found, inputs)}
        else:
            entrants = by_engines(policy, files[policy], inputs.numpy(), threads)
        if policy == DENSE:
            entrants = eager(found, inputs) | compiled(found, inputs) | entrants
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


def by_engines(name, path, inputs, threads):
    entrants = {}
    for engine, start in ENGINES.items():
        try:
            entrants[f"{engine}, {name}"] = functools.partial(start(path, threads), inputs)
        except ImportError as error:
            entrants[f"{engine}, {name}"] = str(error)
    return entrants


def training(network):
    """Everyone who takes a training step."""
    entrants = {}
    for suffix, layout in LAYOUTS.items():
        found = model(network, DENSE).to(memory_format=layout)
        entrants[f"PyTorch, dense, eager{suffix}"] = step(found, layout)
    for suffix, layout in LAYOUTS.items():
        fast = torch.compile(model(network, DENSE).to(memory_format=layout))
        entrants[f"PyTorch, dense, compiled{suffix}"] = tried(step(fast, layout))
    name = f"PyTorch, {REFERENCE}"
    entrants[name] = step(model(network, REFERENCE))
    entrants[name + REGULARIZED] = step(model(network, REFERENCE), regularized=True)
    return entrants


def step(model, layout=torch.contiguous_format, regularized=False):
    """Forward, backward and Adam, fused into one kernel, on the same random images."""
    inputs = images(TRAINING_BATCH).contiguous(memory_format=layout)
    labels = torch.arange(TRAINING_BATCH) % CLASSES
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    model.train()

    def run():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        if regularized:
            loss = loss + 0.01 * correlation_loss(model)
        loss.backward()
        optimizer.step()

    return run

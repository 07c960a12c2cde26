"""VGG11 in PyTorch, to compare the model bench with: dense, and with every kernel rebuilt at every
step from primary filters and low-rank coefficients, as LinearConv's reference implementation does.

    pip install -r requirements.txt
    python vgg11.py --threads 2
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F

# Filters of each convolution; "M" halves the maps.
LAYERS = [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"]
CLASSES = 10
TRAINING_BATCH = 50
# Every how many batches the correlation loss is added.
INTERVAL = 10


class LinearConv2d(nn.Module):
    """A 3x3 convolution whose kernel is built at every call, as the reference does."""

    def __init__(self, channels, filters, rank):
        super().__init__()
        primary = filters // 2
        self.primary = nn.Parameter(torch.empty(primary, channels, 3, 3))
        nn.init.xavier_uniform_(self.primary)
        self.column = nn.Parameter(torch.empty(filters - primary, rank).uniform_(-0.1, 0.1))
        self.row = nn.Parameter(torch.empty(rank, primary).uniform_(-0.1, 0.1))
        self.bias = nn.Parameter(torch.empty(filters).uniform_(-0.1, 0.1))

    def forward(self, images):
        rows = self.primary.flatten(1)
        secondary = (self.column @ self.row) @ rows
        kernel = torch.cat([rows, secondary]).view(-1, *self.primary.shape[1:])
        return F.conv2d(images, kernel, self.bias, padding=1)


class Vgg11(nn.Module):
    def __init__(self, convolution):
        super().__init__()
        layers, channels = [], 3
        for filters in LAYERS:
            if filters == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [convolution(channels, filters), nn.BatchNorm2d(filters), nn.ReLU()]
                channels = filters
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, images):
        return self.classifier(self.features(images).flatten(1))


def correlation_loss(model):
    loss = 0.0
    for module in model.modules():
        if isinstance(module, LinearConv2d):
            correlation = torch.corrcoef(module.primary.flatten(1))
            loss = loss + (correlation - torch.eye(len(correlation))).abs().sum()
    return loss


def inference(model, batch):
    images = torch.rand(batch, 3, 32, 32)
    model.eval()

    @torch.no_grad()
    def run():
        model(images)

    return run


def training(model, regularized):
    images = torch.rand(TRAINING_BATCH, 3, 32, 32)
    labels = torch.arange(TRAINING_BATCH) % CLASSES
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    model.train()

    def run():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        if regularized:
            loss = loss + 0.01 * correlation_loss(model)
        loss.backward()
        optimizer.step()

    return run


def medians(contestants, turns, seconds):
    """Median milliseconds of each, all of them taking turns."""
    times = {name: [] for name in contestants}
    for run in contestants.values():
        run()
    started = time.perf_counter()
    while len(next(iter(times.values()))) < turns or time.perf_counter() - started < seconds:
        for name, run in contestants.items():
            before = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - before) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rank", type=int, default=10)
    parser.add_argument("--json", help="write the medians to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    models = {
        "dense": Vgg11(lambda c, f: nn.Conv2d(c, f, 3, padding=1)),
        "reference": Vgg11(lambda c, f: LinearConv2d(c, f, args.rank)),
    }
    report = {}
    for batch in [1, 32]:
        runs = {name: inference(model, batch) for name, model in models.items()}
        report[f"inference, batch {batch}"] = medians(runs, 15, 3)
    runs = {"dense": training(models["dense"], False)}
    for name, regularized in [("reference", False), ("with correlation loss", True)]:
        runs[name] = training(models["reference"], regularized)
    steps = medians(runs, 7, 3)
    extra = steps.pop("with correlation loss") - steps["reference"]
    steps["reference"] += extra / INTERVAL
    report[f"training step, batch {TRAINING_BATCH}"] = steps

    print(f"PyTorch {torch.__version__}, {args.threads} threads, milliseconds")
    for row, times in report.items():
        cells = ", ".join(f"{name} {value:.1f}" for name, value in times.items())
        print(f"{row}: {cells}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()

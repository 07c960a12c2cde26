"""Alternating measurements, as in the crate's other benches. `benches/visits` has the same turns."""

import statistics
import time

# Threads of one engine that wait for work would slow the next engine: until they sleep, nothing runs.
PAUSE = 0.02
# A visit is at least so long. Calls are counted that begin after the settling: the
# first calls after a pause find cold caches, and threads that sleep.
VISIT = 0.06
SETTLING = 0.02


def medians(contestants, turns):
    """The median milliseconds of each, all of them taking turns of a few calls in a row."""
    times = {name: [] for name in contestants}
    # The first steps of an optimizer allocate its state.
    for run in contestants.values():
        run()
    for _ in range(turns):
        for name, run in contestants.items():
            times[name] += visit(run)
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def visit(run):
    """The seconds of calls in a row, those of the first few left out. One call at least is counted."""
    if hasattr(run, "visit"):
        return run.visit()
    time.sleep(PAUSE)
    settled = []
    began = time.perf_counter()
    while True:
        start = time.perf_counter() - began
        if start >= VISIT and settled:
            return settled
        run()
        if start >= SETTLING:
            settled.append(time.perf_counter() - began - start)


def shortest(run, seconds):
    """The shortest time that it takes, tried for so many seconds."""
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best

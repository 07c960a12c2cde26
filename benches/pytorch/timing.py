"""Alternating measurements, as in the crate's other benches. `benches/visits` has the same turns."""

import statistics
import time

# Threads of one engine that wait for work would slow the next engine: until they sleep, nothing runs.
PAUSE = 0.02
# A visit is so long, or one call. Calls that begin at its start are not counted, if others are.
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
    """The seconds of calls in a row, those of the first few left out."""
    if hasattr(run, "visit"):
        return run.visit()
    time.sleep(PAUSE)
    calls = []
    began = end = time.perf_counter()
    while end - began < VISIT:
        start = end
        run()
        end = time.perf_counter()
        calls.append((start - began, end - start))
    settled = [seconds for start, seconds in calls if start >= SETTLING]
    return settled or [calls[-1][1]]


def shortest(run, seconds):
    """The shortest time that it takes, tried for so many seconds."""
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best

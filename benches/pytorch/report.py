"""The table of a workload."""

from contestants import DENSE
from ours import PREFIX

ONNX_RUNTIME = "ONNX Runtime, dense"
PYTORCH = "**PyTorch, dense, the best**"


def table(times, multiply_adds, memory, peak):
    """Markdown: a row for everyone.

    `times` has the milliseconds of everyone, or why they are missing; `multiply_adds` and `memory` those
    of whom they are known; `peak` is the speed of the machine in GFLOP/s.
    """
    known = {name: time for name, time in times.items() if not isinstance(time, str)}
    best = min(
        (name for name in known if name.startswith("PyTorch, dense")), key=known.get, default=None
    )
    anchor = ONNX_RUNTIME if ONNX_RUNTIME in known else best
    columns = ["", "ms", f"ratio to {anchor}", "GFLOP/s", "of the peak", "MiB"]
    lines = [cells(columns), "|---" + "|---:" * (len(columns) - 1) + "|"]

    def row(title, name):
        if name not in known:
            return cells([title, f"not run: {times[name]}", "–", "–", "–", "–"])
        time = known[name]
        ratio = f"{time / known[anchor]:.2f}" if anchor else "–"
        speed = share = "–"
        if name in multiply_adds:
            gflops = 2 * multiply_adds[name] / time / 1e6
            speed, share = f"{gflops:.0f}", f"{gflops / peak:.0%}"
        mebibytes = f"{memory[name] / 2**20:.0f}" if name in memory else "–"
        return cells([title, digits(time), ratio, speed, share, mebibytes])

    lines += [row(name, name) for name in times]
    if best:
        lines.append(row(PYTORCH, best))
    return "\n".join(lines)


def counted(names, multiply_adds):
    """The multiply-adds of everyone, from those of the crate's networks by what they are.

    A network of another engine has as many. The reference's way builds kernels, and is not counted.
    """
    found = {}
    for name in names:
        what = name.removeprefix(PREFIX)
        if name.startswith("PyTorch, dense"):
            what = DENSE
        for engine in ("ONNX Runtime, ", "OpenVINO, "):
            what = what.removeprefix(engine)
        if what in multiply_adds:
            found[name] = multiply_adds[what]
    return found


def digits(value):
    """Three of them."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def cells(values):
    return f"| {' | '.join(values)} |"

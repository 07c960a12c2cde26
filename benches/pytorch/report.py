"""The table."""


def table(columns, operations, peak):
    """Markdown: a row for everyone, a column for every workload.

    `columns` has the milliseconds of everyone by workload, or why they are missing; `operations` those
    of a dense network, for the speed; `peak` the speed of the machine in GFLOP/s, if known.
    """
    names = list(dict.fromkeys(name for times in columns.values() for name in times))
    lines = [cells(["ms", *columns]), "|---" + "|---:" * len(columns) + "|"]
    notes = {}

    def cell(workload, value, is_dense):
        if value is None:
            return ""
        if isinstance(value, str):
            number = notes.setdefault(value, len(notes) + 1)
            return f"not run [{number}]"
        if not is_dense:
            return digits(value)
        speed = operations[workload] / value / 1e6
        share = f", {speed / peak:.0%}" if peak else ""
        return f"{digits(value)} ({speed:.0f}{share})"

    def row(title, choose, is_dense):
        line = [cell(workload, choose(times), is_dense) for workload, times in columns.items()]
        lines.append(cells([title, *line]))

    for name in names:
        row(name, lambda times: times.get(name), dense(name))
    row("**PyTorch, dense, the best**", lambda times: best(times, "PyTorch"), True)
    row("**dense, the best**", lambda times: best(times, ""), True)
    lines += [f"\n[{number}] {note}" for note, number in notes.items()]
    return "\n".join(lines)


def dense(name):
    return ", dense" in name


def best(times, engine):
    known = [
        value
        for name, value in times.items()
        if dense(name) and name.startswith(engine) and not isinstance(value, str)
    ]
    return min(known, default=None)


def digits(value):
    """Three of them."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def cells(values):
    return f"| {' | '.join(values)} |"

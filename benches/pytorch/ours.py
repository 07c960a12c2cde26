"""The crate as a contestant: the bench `contestant`, a program that answers by its standard output."""

import functools
import json
import os
import subprocess

BENCH = "contestant"
PREFIX = "linearconv, "


@functools.cache
def program():
    """Builds the program by the profile of the examples, and returns its path."""
    command = ["cargo", "bench", "--profile", "dev", "--no-run", "--bench", BENCH]
    built = subprocess.run(
        [*command, "--message-format", "json"],
        cwd=os.path.dirname(__file__),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == BENCH:
            return message["executable"]
    raise RuntimeError(f"cargo has built no {BENCH}")


def command(network, workload, batch):
    return [program(), network, workload, str(batch)]


def environment(threads):
    return os.environ | {"RAYON_NUM_THREADS": str(threads)}


class Program:
    """The running program for one workload. Close it in the end."""

    def __init__(self, network, workload, batch, threads):
        self.process = subprocess.Popen(
            command(network, workload, batch),
            env=environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # The multiply-adds of every contestant, by its name in the program.
        self.multiply_adds = dict(self.answer())

    def contestants(self):
        return {PREFIX + name: Contestant(self, name) for name in self.multiply_adds}

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{BENCH} has ended")
        return json.loads(line)

    def ask(self, name):
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


class Contestant:
    """One network of the program."""

    def __init__(self, program, name):
        self.program, self.name = program, name

    def visit(self):
        """The seconds of calls in a row, without the way to the program and back."""
        return self.program.ask(self.name)

    __call__ = visit


def memory(network, workload, batch, threads, name):
    """The bytes that the contestant of this name takes in a process of its own."""
    asked = [*command(network, workload, batch), "--memory", name]
    run = subprocess.run(asked, env=environment(threads), stdout=subprocess.PIPE, check=True)
    return int(run.stdout)

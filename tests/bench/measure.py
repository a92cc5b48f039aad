# SPDX-License-Identifier: Apache-2.0
"""Timing one command, and paired rounds of several."""
import os
import select
import signal
import statistics
import time


class Failed(Exception):
    """A measured or preparing command failed; the text says which and why."""


class Runner:
    """Runs commands with stdout and stderr in a file, so that a daemonised child never holds a pipe of ours open."""

    def __init__(self, scratch, timeout=300):
        self.log = str(scratch / "command.log")
        self.timeout = timeout
        self.usage = None  # of the last command and what it waited for: a daemon's work is not in it

    def timed(self, argv):
        """Milliseconds from spawn to exit."""
        argv = [str(argument) for argument in argv]
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                   (os.POSIX_SPAWN_DUP2, 1, 2)]
        begin = time.perf_counter_ns()
        pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
        watch = os.pidfd_open(pid)
        ended = select.select([watch], [], [], self.timeout)[0]
        if not ended:
            os.kill(pid, signal.SIGKILL)
        _, status, self.usage = os.wait4(pid, 0)
        elapsed = time.perf_counter_ns() - begin
        os.close(watch)
        code = os.waitstatus_to_exitcode(status)
        if not ended or code != 0:
            what = f"exit code {code}" if ended else f"no end within {self.timeout} s"
            raise Failed(f"{' '.join(argv)}: {what}: {self.output().strip()[-400:]}")
        return elapsed / 1e6

    def run(self, argv):
        """The output of a command that is not measured."""
        self.timed(argv)
        return self.output()

    def output(self):
        with open(self.log, errors="replace") as log:
            return log.read()


class Samples:
    """One case's times, a list a contestant, all lists in the same order of rounds."""

    def __init__(self, times, failures):
        self.times, self.failures = times, failures
        self.usage = {}  # name -> (peak MiB of one process, CPU seconds); a daemon's is not in it

    def median(self, name):
        return statistics.median(self.times[name]) if self.times.get(name) else None

    def ratio(self, name, base):
        """The median of base's time divided by name's, round by round: below 1 means that base is faster."""
        if not self.times.get(name) or not self.times.get(base):
            return None
        return statistics.median(ours / theirs for ours, theirs in zip(self.times[base], self.times[name]))


def paired(contestants, runs, warm_up, step):
    """`step(contestant, round)` for each, interleaved; the order rotates, so that neither drift nor what a predecessor
    leaves behind favours one. Who fails once is out of this case, with the reason."""
    times, failures = {name: [] for name in contestants}, {}
    for number in range(-warm_up, runs):
        shift = number % len(contestants)
        for name in contestants[shift:] + contestants[:shift]:
            if name in failures:
                continue
            try:
                milliseconds = step(name, number)
            except Failed as failure:
                failures[name] = str(failure)
                times[name] = []
                continue
            if number >= 0:
                times[name].append(milliseconds)
    return Samples(times, failures)

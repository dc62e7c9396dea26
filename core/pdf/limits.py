"""What the child does to itself before it touches a file, and around each request."""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from core.pdf.values import PdfLimits

_MIB = 1024 * 1024
_OPEN_FILES = 32
_PARENT_POLL_SECONDS = 0.5


class BudgetExceeded(BaseException):
    """The time for this piece of work is over.

    No Exception, so that the parsers' own recovery code does not swallow it.
    """


def confine(limits: PdfLimits) -> None:
    """Bound this process for good: memory, files, no new processes, gone with its parent."""
    _follow_parent()
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_mb * _MIB),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def allow_cpu(seconds: float) -> None:
    """From now on at most `seconds` of processor time; the kernel ends the process past it."""
    allowance = int(time.process_time() + seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard != resource.RLIM_INFINITY:
        allowance = min(allowance, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (allowance, hard))


@contextmanager
def fatal_budget(seconds: float) -> Iterator[None]:
    """Processor time for native code, which nothing can interrupt: past it the process dies."""
    with _timer(seconds, signal.SIG_DFL):
        yield


@contextmanager
def budget(seconds: float) -> Iterator[None]:
    """Processor time for Python code: past it BudgetExceeded is raised inside."""
    with _timer(seconds, _raise_budget_exceeded):
        yield


def resident_mb() -> float:
    """Resident memory of this process in MiB (proc(5), statm)."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / _MIB


@contextmanager
def _timer(seconds: float, action: "signal.Handlers | object") -> Iterator[None]:
    signal.signal(signal.SIGPROF, action)  # type: ignore[arg-type]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _raise_budget_exceeded(_signal: int, _frame: FrameType | None) -> None:
    raise BudgetExceeded


def _follow_parent() -> None:
    # PR_SET_PDEATHSIG would fire when the *thread* that started us ends, which in a
    # threaded server is not the end of the parent; end of input is seen only when idle.
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_SECONDS)
        os._exit(1)

    threading.stack_size(256 * 1024)
    threading.Thread(target=watch, daemon=True).start()

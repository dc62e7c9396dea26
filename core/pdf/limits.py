"""Limits that the child sets for itself: before it opens a file, and for each request."""

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

    It is not an Exception, so that the parsers' own error handling does not catch it.
    """


def confine(limits: PdfLimits) -> None:
    """Limit memory and open files, forbid new processes, and end with the parent. Permanent."""
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
    """Allow `seconds` of processor time from now on; then the kernel ends the process."""
    allowance = int(time.process_time() + seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard != resource.RLIM_INFINITY:
        allowance = min(allowance, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (allowance, hard))


@contextmanager
def fatal_budget(seconds: float) -> Iterator[None]:
    """Limit processor time of native code. It cannot be interrupted, so the process is killed."""
    with _timer(seconds, signal.SIG_DFL):
        yield


@contextmanager
def budget(seconds: float) -> Iterator[None]:
    """Limit processor time of Python code: raises BudgetExceeded inside the block."""
    with _timer(seconds, _raise_budget_exceeded):
        yield


def resident_mb() -> float:
    """Resident memory of this process in MiB (proc(5), statm)."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / _MIB


@contextmanager
def _timer(seconds: float, action: "signal.Handlers | object") -> Iterator[None]:
    before = signal.signal(signal.SIGPROF, action)  # type: ignore[arg-type]
    left, _ = signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        # A block inside another one does not count against the outer one's time.
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        signal.setitimer(signal.ITIMER_PROF, left)


def _raise_budget_exceeded(_signal: int, _frame: FrameType | None) -> None:
    raise BudgetExceeded


def _follow_parent() -> None:
    # PR_SET_PDEATHSIG would fire at the end of the *thread* that started this process, and in a
    # threaded server the parent goes on. The end of the input is noticed only between requests.
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_SECONDS)
        os._exit(1)

    threading.stack_size(256 * 1024)
    threading.Thread(target=watch, daemon=True).start()

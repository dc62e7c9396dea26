"""Limits how many turns of a process have a transaction at the same time."""

import heapq
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Stage(IntEnum):
    """The transactions of a turn. The turns that are further go first."""

    END = 0
    CONTEXT = 1
    OPENING = 2


class Admission:
    """A semaphore with priorities. Safe to share between threads.

    When hundreds of turns begin at once, a turn that has begun should not wait for all the
    others to begin. Turns at the same stage enter in the order of their arrival.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._lock = threading.Lock()
        self._arrivals = itertools.count()
        self._waiting: list[tuple[Stage, int, threading.Event]] = []

    @contextmanager
    def __call__(self, stage: Stage) -> Iterator[None]:
        """Wait for a place, and hold it inside the block."""
        self._enter(stage)
        try:
            yield
        finally:
            self._leave()

    def _enter(self, stage: Stage) -> None:
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return
            admitted = threading.Event()
            heapq.heappush(self._waiting, (stage, next(self._arrivals), admitted))
        admitted.wait()

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                heapq.heappop(self._waiting)[2].set()  # it gets this place
            else:
                self._free += 1

"""Measures how the work of a function grows with its input, even on a busy machine."""

import time
from collections.abc import Callable

FACTOR = 16
_ATTEMPTS = 12


def grows_quadratically(work: Callable[[int], object], *, size: int) -> bool:
    """Whether `work(size)` costs much more than its share of `work(FACTOR * size)`.

    Linear work costs FACTOR times as much for FACTOR times the size, quadratic work its square.
    The limit is the geometric mean of both, in processor time, and one attempt of many below
    it is enough: a busy machine sometimes makes the large size look four times too slow, but
    not every time.
    """
    return not any(_ratio(work, size) < FACTOR**1.5 for _ in range(_ATTEMPTS))


def _ratio(work: Callable[[int], object], size: int) -> float:
    # Run the small size FACTOR times, so that both measurements take about as long.
    small = _seconds(lambda: [work(size) for _ in range(FACTOR)]) / FACTOR
    return _seconds(lambda: work(FACTOR * size)) / max(small, 1e-6)


def _seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started

"""The order in which turns get to the database, and requests to threads."""

import re
import threading
import time
from collections.abc import Callable

from core.conversations.admission import Admission, Stage
from tests.harness import SLOW_MACHINE_SECONDS
from web.server.lanes import NOTHING, Lane


def test_a_turn_that_is_further_goes_first() -> None:
    admission, entered = Admission(1), list[tuple[Stage, int]]()

    def enter(stage: Stage, number: int) -> None:
        with admission(stage):
            entered.append((stage, number))

    arrivals = [Stage.OPENING, Stage.CONTEXT, Stage.OPENING, Stage.END, Stage.CONTEXT]
    threads = []
    with admission(Stage.OPENING):
        for number, stage in enumerate(arrivals):
            threads.append(threading.Thread(target=enter, args=(stage, number)))
            threads[-1].start()
            _wait_for(lambda: len(admission._waiting) == len(threads))
        assert not entered
    for thread in threads:
        thread.join(SLOW_MACHINE_SECONDS)
    assert entered == [
        (Stage.END, 3),
        (Stage.CONTEXT, 1),
        (Stage.CONTEXT, 4),
        (Stage.OPENING, 0),
        (Stage.OPENING, 2),
    ]


def test_admission_frees_a_place_after_an_error() -> None:
    admission = Admission(1)
    for _ in range(3):
        try:
            with admission(Stage.END):
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
    with admission(Stage.OPENING):
        pass


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SLOW_MACHINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_lane_has_one_thread_of_sixteen_and_keeps_the_order() -> None:
    lane: Lane[int] = Lane(NOTHING, threads=32)
    assert [lane.enter(number) for number in range(5)] == [True, True, False, False, False]
    assert [lane.leave() for _ in range(5)] == [2, 3, 4, None, None]
    assert lane.enter(5)


def test_a_lane_of_few_threads_has_one() -> None:
    lane: Lane[int] = Lane(NOTHING, threads=4)
    assert (lane.enter(1), lane.enter(2)) == (True, False)


def test_a_lane_takes_the_requests_of_its_pattern() -> None:
    lane: Lane[int] = Lane(re.compile(rb"POST /chat[ ?]"), threads=4)
    assert lane.takes(bytearray(b"POST /chat HTTP/1.1\r\n"))
    assert not lane.takes(b"GET /chat HTTP/1.1\r\n")
    assert not Lane(NOTHING, threads=4).takes(b"POST /chat HTTP/1.1\r\n")

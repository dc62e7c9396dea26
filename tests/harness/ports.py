"""Free ports, such that two test processes do not pick the same one at the same time."""

import os
import random
from collections.abc import Iterator

from launcher.servers import port_is_free

# Below ip_local_port_range, from which Linux takes the ports of outgoing connections: a port
# from here stays free until its server listens.
_FIRST, _PER_PROCESS, _PROCESSES = 10_240, 2_200, 10


def free_port() -> int:
    """A TCP port of this test process's own share that nobody listens on right now."""
    return next(port for port in _candidates if port_is_free(port, host="127.0.0.1"))


def _own_ports() -> Iterator[int]:
    """The ports of this pytest-xdist worker's share, from a random one on, round and round."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    offset = random.randrange(_PER_PROCESS)  # another run of the tests may be under way
    while True:
        yield _FIRST + number * _PER_PROCESS + offset
        offset = (offset + 1) % _PER_PROCESS


_candidates = _own_ports()

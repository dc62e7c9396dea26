"""Free ports, such that two test processes do not pick the same one at the same time."""

import os
import random
from collections.abc import Iterator

from launcher.servers import port_is_free

# Below ip_local_port_range, from which Linux takes the ports of outgoing connections, so that a
# port stays free until its server listens.
_FIRST, _PER_PROCESS, _PROCESSES = 10_240, 2_200, 10


def free_port() -> int:
    """A free TCP port from this test process's share."""
    return next(port for port in _candidates if port_is_free(port, host="127.0.0.1"))


def _own_ports() -> Iterator[int]:
    """The ports of this pytest-xdist worker's share, endlessly, from a random one on."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    offset = random.randrange(_PER_PROCESS)  # another test run may be in progress
    while True:
        yield _FIRST + number * _PER_PROCESS + offset
        offset = (offset + 1) % _PER_PROCESS


_candidates = _own_ports()

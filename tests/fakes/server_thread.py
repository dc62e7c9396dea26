"""Runs the standard library's servers in a thread, for the fakes and some tests."""

import threading
from socketserver import TCPServer
from typing import Self

_POLL_SECONDS = 0.02  # how soon `stop` takes effect


class ServerThread:
    """Serves between `start` and `stop`, or inside `with`."""

    def __init__(self, server: TCPServer) -> None:
        self._server = server
        self._thread = threading.Thread(
            target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )

    @property
    def address(self) -> str:
        """`127.0.0.1:PORT`."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

"""A real SOCKS5 proxy (RFC 1928): CONNECT without a login, nothing else."""

import contextlib
import socket
import struct
import threading
from socketserver import BaseRequestHandler, ThreadingTCPServer

from tests.fakes.server_thread import ServerThread


class SocksProxy(ServerThread):
    """Serves on a free port of 127.0.0.1 inside `with`; `targets` lists what clients asked for."""

    def __init__(self) -> None:
        self.targets: list[tuple[str, int]] = []
        server = _Server(("127.0.0.1", 0), _Handler)
        server.targets = self.targets
        super().__init__(server)

    @property
    def url(self) -> str:
        return f"socks5://{self.address}"


class _Server(ThreadingTCPServer):
    daemon_threads = True
    targets: list[tuple[str, int]]


class _Handler(BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        _, methods = self._read(2)
        self._read(methods)
        self.request.sendall(b"\x05\x00")  # no login
        target = self._target()
        self.server.targets.append(target)
        with socket.create_connection(target) as upstream:
            self.request.sendall(b"\x05\x00\x00\x01" + bytes(6))
            back = threading.Thread(target=_pump, args=(upstream, self.request), daemon=True)
            back.start()
            _pump(self.request, upstream)
            back.join()

    def _target(self) -> tuple[str, int]:
        *_, kind = self._read(4)
        host = self._read(self._read(1)[0]).decode() if kind == 3 else self._address(kind)
        (port,) = struct.unpack("!H", self._read(2))
        return host, port

    def _address(self, kind: int) -> str:
        family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
        return socket.inet_ntop(family, self._read(size))

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.request.recv(size - len(data))
        return data


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

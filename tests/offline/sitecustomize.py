"""Blocks the network for the whole suite: on PYTHONPATH it does so in every subprocess, conftest.py imports it too."""

import socket

LOOPBACK = ("127.", "localhost", "::1")


class NetworkBlockedError(OSError):
    """A test asked for an address that is not this machine."""


def block() -> None:
    """Make every look-up and connection outside the loopback range an error."""
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def checked(self: socket.socket, address):  # type: ignore[no-untyped-def]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            raise NetworkBlockedError(f"the network is blocked in tests: {address}")
        return connect(self, address)

    def looked_up(host, *args, **kwargs):  # type: ignore[no-untyped-def]
        if host and not str(host).startswith(LOOPBACK):
            raise NetworkBlockedError(f"the network is blocked in tests: {host}")
        return getaddrinfo(host, *args, **kwargs)

    socket.socket.connect = checked  # type: ignore[method-assign]
    socket.getaddrinfo = looked_up


block()

"""Clients that hang up while nothing is read from their connections.

Nothing watches a connection that is not read, and a read would first return what the client had sent before it left.
The kernel reports the end without a read, as EPOLLRDHUP. It cannot where a client left more than the kernel takes in: that
end is seen when the connection is read again. Tested by tests/api/test_hang_ups.py.
"""

import asyncio
import select
from collections.abc import Callable


class HangUps:
    """The connections of one server that are not read."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._gone: dict[int, Callable[[], None]] = {}

    def watch(self, descriptor: int, gone: Callable[[], None]) -> None:
        """Calls `gone` once, as soon as the client has ended what it sends, and soon if it has already."""
        if self._epoll is None:
            self._epoll = select.epoll()
            # One descriptor for all: it is readable while one of them has something to report.
            asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._report, self._epoll)
        self._epoll.register(descriptor, select.EPOLLRDHUP)
        self._gone[descriptor] = gone

    def leave(self, descriptor: int) -> None:
        """To be called before the connection is read again, or closed."""
        if self._epoll is not None and self._gone.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def _report(self, epoll: select.epoll) -> None:
        for descriptor, _ in epoll.poll(0):
            gone = self._gone[descriptor]
            self.leave(descriptor)
            gone()

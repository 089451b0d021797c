"""The one way out: an HTTP request to an address that a brand named, and nothing that the brand could turn against us.

A name is resolved once for a connection, what must not be reached is left out, and the connection goes to exactly an
address that was checked; TLS and the Host header keep the name. No redirect is followed, no proxy of the environment
used, no encoding undone; an answer has its time and its size. Whatever goes wrong is an answer, never an exception.
Tested by tests/engine/test_outbound.py.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Self

import httpcore2
import httpx2

from kosminar.core.webhook import cleaned, without_header_values

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

SECONDS_MAX: Final = 15.0
"""From the look-up of the name to the last byte of the answer that is read."""

LOOK_UP_SECONDS_MAX: Final = 3.0
"""For a name that is only looked at. One whose server is silent for as long is taken for one that is not known yet."""

ANSWER_BYTES_MAX: Final = 64 * 1024
# A connection that is used again saves a handshake; one that is not must not be kept for ever.
IDLE_SECONDS: Final = 30.0
# A name whose server is silent holds a thread for long, though never more than one.
RESOLVER_COUNT: Final = 64

# Protocol assignments, of which Python's versions know different parts; the 6to4 relays; and newer documentation.
NEVER: Final = (IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24"), IPv6Network("3fff::/20"))
GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_PORTS: Final = {"https": 443, "http": 80}
# What looks like IPv6 here is an IPv4 address behind a translator.
NAT64: Final = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Without a status nothing did, and `error` says why; with one, it is what a failure said."""

    status: int | None
    error: str | None
    retry_after: str | None
    milliseconds: int


class NotReachable(httpcore2.ConnectError):
    """The name has no address that may be reached. Says nothing of those it has: they may be our neighbours'."""


def reachable(address: Address, networks: Iterable[Network]) -> bool:
    """Whether an address is one of the public internet, or of the networks that the operator allows.

    An IPv4 address that is wrapped in IPv6 is judged by what is inside.
    """
    inside = _inside(address)
    if allowed(inside, networks):
        return True
    if isinstance(inside, IPv6Address):
        if inside.sixtofour is not None:
            return reachable(inside.sixtofour, ())
        if inside not in GLOBAL_UNICAST:
            return False
    return inside.is_global and not inside.is_multicast and not any(inside in network for network in NEVER)


def allowed(address: Address, networks: Iterable[Network]) -> bool:
    """Whether the operator names it: then it may be private, and spoken to without TLS."""
    inside = _inside(address)
    return any(inside in network for network in networks)


def _inside(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else address


class Sender:
    """Use with `async with`. `networks` are the operator's exceptions from public addresses and from TLS."""

    def __init__(
        self,
        *,
        networks: Sequence[Network],
        user_agent: str,
        seconds: float = SECONDS_MAX,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.user_agent = user_agent
        self._seconds = seconds
        self._resolver = _Resolver()
        self._resolve = self._resolver.resolve if resolve is None else resolve
        self._may: dict[str, Callable[[Address], bool]] = {
            "https": lambda address: reachable(address, networks),
            "http": lambda address: allowed(address, networks),
        }
        # How many connections there may be is decided by who sends.
        self._pools = {
            "https": httpcore2.AsyncConnectionPool(
                ssl_context=ssl_context or httpcore2.default_ssl_context(),
                network_backend=_Backend(self._resolve, self._may["https"]),
                max_connections=None,
                keepalive_expiry=IDLE_SECONDS,
            ),
            "http": httpcore2.AsyncConnectionPool(
                network_backend=_Backend(self._resolve, self._may["http"]),
                max_connections=None,
                keepalive_expiry=IDLE_SECONDS,
            ),
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for pool in self._pools.values():
            await pool.aclose()
        self._resolver.close()

    async def may_be_reached(self, url: str) -> bool:
        """Whether the URL names an address to which we send, or none that is known now.

        It is looked up again for each connection: a name says nothing lasting.
        """
        try:
            parsed = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError):
            return False
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS_MAX):
                found = await self._resolve(parsed.raw_host.decode("ascii"), parsed.port or _PORTS[parsed.scheme])
        except (OSError, TimeoutError, UnicodeError):
            return True
        may = self._may[parsed.scheme]
        return not found or any(may(ip_address(text)) for text in found)

    async def post(
        self, url: str, *, headers: Mapping[str, str], body: bytes, hidden: Mapping[str, str] | None = None
    ) -> Answer:
        """One attempt, with everything that can become of it.

        The values of the `hidden` headers are in no error, also where the receiver repeats them. The HTTP library's
        words about what it could not send or read are in none either: they quote headers.
        """
        started = time.monotonic()
        seen = _Seen()
        try:
            async with asyncio.timeout(self._seconds):
                await self._exchange(url, headers, body, seen)
        except TimeoutError:
            error: str | None = f"no answer within {self._seconds:g} s"
        except NotReachable as refusal:
            error = str(refusal)
        except (httpx2.InvalidURL, httpcore2.LocalProtocolError, ValueError, TypeError):
            error = "the URL or a header of the endpoint cannot be sent; set them again"
        except httpcore2.ProtocolError:
            error = "no proper HTTP answer"
        except (httpcore2.NetworkError, httpcore2.TimeoutException, OSError) as failure:
            error = f"{_told(failure)}: {failure}" if str(failure) else _told(failure)
        else:
            error = None
        milliseconds = round((time.monotonic() - started) * 1000)
        if seen.status is not None:
            # The status is the receiver's word, whatever became of the rest of its answer.
            said = cleaned(without_header_values(seen.body.decode(errors="replace"), hidden or {}))
            return Answer(seen.status, said or None, seen.retry_after, milliseconds)
        return Answer(None, cleaned(error or "no answer"), None, milliseconds)

    async def _exchange(self, url: str, headers: Mapping[str, str], body: bytes, seen: "_Seen") -> None:
        parsed = httpx2.URL(url)
        pool = self._pools.get(parsed.scheme)
        if pool is None or not parsed.host:
            raise ValueError("no such scheme")
        target = httpcore2.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path)
        sent = [(b"host", parsed.netloc)] + [
            (name.encode("ascii"), its.encode("ascii")) for name, its in headers.items()
        ]
        async with pool.stream("POST", target, headers=sent, content=body) as response:
            seen.status = response.status
            seen.retry_after = _header(response.headers, b"retry-after")
            async for part in response.aiter_stream():
                seen.body += part[: ANSWER_BYTES_MAX - len(seen.body)]
                if len(seen.body) >= ANSWER_BYTES_MAX:
                    # Leaving here closes the connection, and with it whatever else would come.
                    return


class _Seen:
    """As much of an answer as came before it was complete, or was not."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.body = b""


class _Backend(httpcore2.AsyncNetworkBackend):
    """Connects to addresses that may be reached, and says which; never asks for a name twice."""

    def __init__(self, resolve: Resolve, may: Callable[[Address], bool]) -> None:
        self._resolve = resolve
        self._may = may
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- The signature is the library's.
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        found = [address for text in await self._resolve(host, port) if self._may(address := ip_address(text))]
        if not found:
            raise NotReachable("the name has no address that may be reached")
        # One after another; the time is the sender's, so the last one gets what the first ones left.
        for address in found[:-1]:
            try:
                return await self._connect(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._connect(found[-1], port, timeout, local_address, socket_options)

    async def _connect(
        self,
        address: Address,
        port: int,
        timeout: float | None,  # noqa: ASYNC109 -- The signature is the library's.
        local_address: str | None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None,
    ) -> httpcore2.AsyncNetworkStream:
        return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)


class _Resolver:
    """Looks names up on threads of its own, each name on one at a time: a silent name server holds up nobody else's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_COUNT, thread_name_prefix="resolver")
        self._under_way: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses, in the system's order. Raises OSError if there are none."""
        key = (host, port)
        looking = self._under_way.get(key)
        if looking is None:
            looking = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
            self._under_way[key] = looking
            looking.add_done_callback(lambda done: self._forget(key, done))
        # The thread goes on when this attempt is given up, and whoever comes meanwhile waits for the same thread.
        return await asyncio.shield(looking)

    def _forget(self, key: tuple[str, int], done: asyncio.Future[list[str]]) -> None:
        del self._under_way[key]
        if not done.cancelled():
            # Read, so that nobody is warned of a look-up that failed after its last attempt had gone.
            done.exception()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    # A zone, as in fe80::1%eth0, belongs to an address that is never global.
    return list(dict.fromkeys(str(place[0]).partition("%")[0] for *_, place in found))


def _told(failure: Exception) -> str:
    match failure:
        case socket.gaierror():
            return "the name could not be resolved"
        case httpcore2.ConnectError():
            return "could not connect"
        case _:
            return "the connection broke"


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in headers if name.lower() == wanted), None)

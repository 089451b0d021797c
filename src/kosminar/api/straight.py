"""The straight way: operations that are asked all day are found by their path before the router, and answered past it.

It is the same operation, judged by the same reception; only the framework's own work on request and response is spared,
about a tenth of the server's time under such requests (ADR-0024). Whatever is not found here takes the way of all others.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from litestar.types import ASGIApp, Receive, Scope, Send

from kosminar.api.operation import Operation
from kosminar.api.reception import Reception
from kosminar.api.sending import send_answer

_PARAMETER: Final = re.compile(r"{(\w+)}")


def go_straight(
    app: ASGIApp, reception: Reception, operations: Sequence[Operation], *, routed: Callable[[Operation], str]
) -> ASGIApp:
    """The application, with these operations answered before its router; `routed` is an operation's path there."""
    ways = [
        (operation.method, re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", routed(operation))), operation)
        for operation in operations
    ]

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        for method, path, operation in ways:
            if scope.get("method") == method and (match := path.fullmatch(scope["path"])):
                scope["path_params"] = match.groupdict()
                await send_answer(await reception.answer(operation, scope, receive), scope, send)
                return
        await app(scope, receive, send)

    return enter

"""The customer or the endpoint that a path names; unknown and foreign ones answer alike (decision 31)."""

from collections.abc import Iterator
from contextlib import contextmanager

from kosminar.api.operation import Call, Refused, Version
from kosminar.core.customer import Customer
from kosminar.core.endpoint import Endpoint
from kosminar.core.errors import Code, Complaint
from kosminar.engine.use_cases.endpoints import UnknownEndpoint
from kosminar.store import customers, webhook_endpoints
from kosminar.store.deliveries import EndpointRemoved
from kosminar.store.queries import Connection


async def require_customer(connection: Connection, call: Call, organisation_id: int, customer_id: int) -> Customer:
    """Raises Refused with 310011: 404 on the native surface, 400 on the compatible one, as all its refusals."""
    customer = await customers.find(connection, organisation_id, customer_id)
    if customer is None:
        raise Refused(Complaint.of(Code.UNKNOWN_CUSTOMER), status=404 if call.version is Version.V1 else 400)
    return customer


async def require_endpoint(connection: Connection, call: Call) -> Endpoint:
    """Raises Refused with 404."""
    with only_known_endpoints():
        endpoint = await webhook_endpoints.find(connection, call.organisation_id, call.ids["endpointId"])
        if endpoint is None:
            raise UnknownEndpoint
    return endpoint


@contextmanager
def only_known_endpoints() -> Iterator[None]:
    """Refuses with 404; an endpoint that is removed meanwhile is as unknown as one that never was."""
    try:
        yield
    except (UnknownEndpoint, EndpointRemoved):
        raise Refused(Complaint.of(Code.UNKNOWN_ENDPOINT), status=404) from None

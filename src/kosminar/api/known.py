"""The customer that a path names; unknown and foreign ones answer alike (decision 31)."""

from kosminar.api.operation import Call, Refused, Version
from kosminar.core.customer import Customer
from kosminar.core.errors import Code, Complaint
from kosminar.store import customers
from kosminar.store.queries import Connection


async def require_customer(connection: Connection, call: Call, organisation_id: int, customer_id: int) -> Customer:
    """Raises Refused with 310011: 404 on the native surface, 400 on the compatible one, as all its refusals."""
    customer = await customers.find(connection, organisation_id, customer_id)
    if customer is None:
        raise Refused(Complaint.of(Code.UNKNOWN_CUSTOMER), status=404 if call.version is Version.V1 else 400)
    return customer

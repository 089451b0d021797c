"""Who a customer is: the identifiers that name one, and what becomes of a request to register some.

Owns how an identifier is written so that it can be found (its normal form is stored for ever: changing a rule here
orphans identifiers) and the decision between a new customer, one that exists, and a rejection. Given and generated ids
share one space. Knows no storage; engine/use_cases/customers.py makes it true against parallel requests.
Rules and their edges: tests/core/test_customer.py.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar

from kosminar.core import amount
from kosminar.core.errors import MESSAGES, Code, Fault

T = TypeVar("T")

# The schema's own bounds, in characters, of an identifier as written and in its normal form.
IDENTIFIER_LENGTH_MAX: Final = 255
NAME_LENGTH_MAX: Final = 200

NO_IDENTITY: Final = "must have a customerId, an externalId, a mobile or an email"

# PostgreSQL's text can hold neither NUL nor half of a surrogate pair.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
# How people group the digits of a number: blanks, dots, slashes, brackets, and dashes of every width.
_SEPARATORS = re.compile(r"[\s./()\[\]\u2010-\u2015-]")
_MOBILE = re.compile(r"\+?[0-9]+")
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")


class IdentifierType(StrEnum):
    """What names a customer beside the customer id; each is unique within an organisation."""

    EXTERNAL_ID = "externalId"
    MOBILE = "mobile"
    EMAIL = "email"


class Identifier(NamedTuple):
    """An identifier in its normal form: two that name the same customer are equal."""

    type: IdentifierType
    value: str

    @classmethod
    def of(cls, identifier_type: IdentifierType, written: str) -> "Identifier":
        """The identifier that a text names; raises ValueError with a message that completes the field's name.

        An external id is taken exactly. Of a mobile number only the digits matter: a raw + in a
        query arrives as a blank, and must find the same customer; of an e-mail
        address neither case nor blanks around it.

        >>> Identifier.of(IdentifierType.MOBILE, "+44 (20) 7946-0000").value
        '442079460000'
        """
        _text(written, IDENTIFIER_LENGTH_MAX)
        if identifier_type is IdentifierType.EXTERNAL_ID:
            return cls(identifier_type, written)
        if identifier_type is IdentifierType.MOBILE:
            value = _SEPARATORS.sub("", written)
            if not _MOBILE.fullmatch(value):
                raise ValueError("must be a number of ASCII digits, with or without + before it")
            return cls(identifier_type, value.removeprefix("+"))
        # Not casefold, which makes one address of two: ß and ss are different domains.
        value = written.strip().lower()
        # A list of customers without addresses says "none" or "n/a", and must not become one customer.
        if not _EMAIL.fullmatch(value):
            raise ValueError("must be an e-mail address")
        if len(value) > IDENTIFIER_LENGTH_MAX:  # A few letters are two in lower case.
            raise ValueError(f"must be text of 1 to {IDENTIFIER_LENGTH_MAX} characters in lower case")
        return cls(identifier_type, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCustomer:
    """A request to register one customer, read and found faultless; texts as they were written."""

    customer_id: int | None = None
    external_id: str | None = None
    mobile: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None

    def identifiers(self) -> list[Identifier]:
        written = {
            IdentifierType.EXTERNAL_ID: self.external_id,
            IdentifierType.MOBILE: self.mobile,
            IdentifierType.EMAIL: self.email,
        }
        return [Identifier.of(identifier_type, text) for identifier_type, text in written.items() if text is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """A customer as shown."""

    customer_id: int
    external_id: str | None
    mobile: str | None
    email: str | None
    first_name: str | None
    last_name: str | None
    created_at: datetime


def read(members: Mapping[str, object], path: str = "") -> tuple[NewCustomer, list[Fault]]:
    """A customer from a request's object, and everything that is wrong with it; with a fault, use nothing else.

    Null is absent, unknown fields are ignored. The id is a whole number: a text of digits is none (decision 24).
    """
    faults: list[Fault] = []

    def optional(name: str, reader: Callable[[object], T]) -> T | None:
        value = members.get(name)
        if value is None:
            return None
        try:
            return reader(value)
        except ValueError as error:
            faults.append(Fault(f"{path}.{name}" if path else name, str(error)))
            return None

    def identifier(identifier_type: IdentifierType) -> str | None:
        return optional(identifier_type, lambda value: read_identifier(identifier_type, value))

    new = NewCustomer(
        customer_id=optional("customerId", lambda value: amount.whole_number(value, minimum=1, maximum=amount.ID_MAX)),
        external_id=identifier(IdentifierType.EXTERNAL_ID),
        mobile=identifier(IdentifierType.MOBILE),
        email=identifier(IdentifierType.EMAIL),
        first_name=optional("firstName", lambda value: _text(value, NAME_LENGTH_MAX)),
        last_name=optional("lastName", lambda value: _text(value, NAME_LENGTH_MAX)),
    )
    if not faults and new.customer_id is None and not new.identifiers():
        # Nobody could find such a customer again, and a repeated request would make another one.
        faults.append(Fault(path, NO_IDENTITY))
    return new, faults


def read_identifier(identifier_type: IdentifierType, value: object) -> str:
    """A request's value as it was written, if it can be an identifier of that type; else raises ValueError."""
    written = _text(value, IDENTIFIER_LENGTH_MAX)
    Identifier.of(identifier_type, written)
    return written


class Status(StrEnum):
    """What became of a request to register a customer."""

    CREATED = "created"
    EXISTS = "exists"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Registration:
    """The answer to one request: the customer's id unless rejected, and then the reason."""

    customer_id: int | None
    status: Status
    code: Code | None = None
    message: str | None = None

    @classmethod
    def rejected(cls, code: Code, message: str) -> "Registration":
        return cls(None, Status.REJECTED, code, message)


def register(
    customers: Sequence[NewCustomer],
    *,
    known_ids: Collection[int],
    owners: Mapping[Identifier, int],
    free_ids: Iterator[int],
) -> list[Registration]:
    """Decides one by one, in order, each seeing what those before it created.

    A given id or an identifier that is known means that the customer exists; nothing of a customer who exists is
    changed, also not by identifiers that are new. Identifiers of two customers, or of another than the given id, are
    rejected. `free_ids` yields generated ids that nobody has and that no request of the same batch gives.
    """
    ids, owner_of = set(known_ids), dict(owners)
    results = []
    for new in customers:
        identifiers = new.identifiers()
        named = {owner_of[identifier] for identifier in identifiers if identifier in owner_of}
        if new.customer_id is not None:
            named.add(new.customer_id)
        if len(named) > 1:
            results.append(Registration.rejected(Code.IDENTIFIER_TAKEN, MESSAGES[Code.IDENTIFIER_TAKEN]))
            continue
        customer_id = named.pop() if named else next(free_ids)
        if customer_id in ids or any(identifier in owner_of for identifier in identifiers):
            results.append(Registration(customer_id, Status.EXISTS))
            continue
        ids.add(customer_id)
        owner_of |= dict.fromkeys(identifiers, customer_id)
        results.append(Registration(customer_id, Status.CREATED))
    return results


def _text(value: object, length_max: int) -> str:
    if not isinstance(value, str) or len(value) > length_max or not value.strip():
        raise ValueError(f"must be text of 1 to {length_max} characters")
    if _UNSTORABLE.search(value):
        raise ValueError("must not contain the character NUL or half of a surrogate pair")
    return value

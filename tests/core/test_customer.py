from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosminar.core.amount import ID_MAX
from kosminar.core.customer import (
    NO_IDENTITY,
    Identifier,
    IdentifierType,
    NewCustomer,
    Registration,
    Status,
    read,
    register,
)
from kosminar.core.errors import Code

GENERATED_FROM = 1_000_000_000
EXTERNAL_ID, MOBILE, EMAIL = IdentifierType.EXTERNAL_ID, IdentifierType.MOBILE, IdentifierType.EMAIL


def created(customer_id: int) -> Registration:
    return Registration(customer_id, Status.CREATED)


def exists(customer_id: int) -> Registration:
    return Registration(customer_id, Status.EXISTS)


def decide(*customers: NewCustomer, known: dict[int, NewCustomer] | None = None) -> list[Registration]:
    """Decides on the customers, each known one having the identifiers of its request."""
    known = known or {}
    owners = {identifier: customer_id for customer_id, new in known.items() for identifier in new.identifiers()}
    return register(customers, known_ids=known.keys(), owners=owners, free_ids=count(GENERATED_FROM))


@pytest.mark.parametrize(
    ("identifier_type", "written", "value"),
    [
        (EXTERNAL_ID, " Ana 7 ", " Ana 7 "),
        (EXTERNAL_ID, "x" * 255, "x" * 255),
        (MOBILE, "+44 (20) 7946-0000", "442079460000"),
        (MOBILE, "020.7946/0000", "02079460000"),
        (MOBILE, "020\u00a07946\u20110000", "02079460000"),
        (MOBILE, "7", "7"),
        (EMAIL, " Ana@Example.COM\n", "ana@example.com"),
        (EMAIL, "ana+shop@example.com", "ana+shop@example.com"),
        (EMAIL, "JÜRGEN@STRAßE.DE", "jürgen@straße.de"),
    ],
)
def test_an_identifier_has_one_normal_form(identifier_type: IdentifierType, written: str, value: str) -> None:
    assert Identifier.of(identifier_type, written) == (identifier_type, value)


@pytest.mark.parametrize(
    ("identifier_type", "written"),
    [
        (EXTERNAL_ID, ""),
        (EXTERNAL_ID, " "),
        (EXTERNAL_ID, "x" * 256),
        (EXTERNAL_ID, "a\0b"),
        (EXTERNAL_ID, "a\ud800"),
        (MOBILE, "+"),
        (MOBILE, "- ."),
        (MOBILE, "44+20"),
        (MOBILE, "++44"),
        (MOBILE, "n/a"),
        (MOBILE, "٠١٢٣"),
        (EMAIL, "n/a"),
        (EMAIL, "@example.com"),
        (EMAIL, "ana@"),
        (EMAIL, "ana@b@example.com"),
        (EMAIL, "ana maria@example.com"),
        # 255 characters as written, and more in lower case.
        (EMAIL, "İ" * 243 + "@example.com"),
    ],
)
def test_what_can_name_nobody_is_no_identifier(identifier_type: IdentifierType, written: str) -> None:
    with pytest.raises(ValueError, match=r"^must "):
        Identifier.of(identifier_type, written)


@given(st.sampled_from(IdentifierType), st.text("aAİßΣ@.+-( 0179", min_size=1, max_size=260))
def test_a_normal_form_is_its_own_normal_form_and_fits_the_schema(identifier_type: IdentifierType, text: str) -> None:
    try:
        identifier = Identifier.of(identifier_type, text)
    except ValueError:
        return

    assert Identifier.of(identifier_type, identifier.value) == identifier
    assert 1 <= len(identifier.value) <= 255


def test_a_customer_is_read_as_written() -> None:
    new, faults = read(
        {"customerId": ID_MAX, "externalId": "A-7", "mobile": "+44 20", "email": "Ana@x.org", "firstName": " Ana "}
    )

    assert faults == []
    assert new == NewCustomer(
        customer_id=ID_MAX, external_id="A-7", mobile="+44 20", email="Ana@x.org", first_name=" Ana "
    )


def test_null_is_absent_and_unknown_fields_are_ignored() -> None:
    assert read({"customerId": 1, "email": None, "lastName": None, "loves": "tea"}) == (NewCustomer(customer_id=1), [])


@pytest.mark.parametrize("value", [0, -1, ID_MAX + 1, "1", 1.0, True, [1], {}])
def test_an_id_is_a_whole_number_from_1_to_2_to_the_63_minus_1(value: Any) -> None:
    _, faults = read({"customerId": value, "email": "ana@x.org"})

    assert [str(fault) for fault in faults] == [f"customerId must be a whole number from 1 to {ID_MAX}"]


def test_every_fault_is_named_with_its_path() -> None:
    members = {"customerId": "1", "externalId": 7, "mobile": "-", "email": "x" * 300, "firstName": "", "lastName": "\0"}

    _, faults = read(members, "customers[3]")

    assert [fault.path for fault in faults] == [f"customers[3].{name}" for name in members]


@pytest.mark.parametrize("members", [{}, {"firstName": "Ana"}, {"externalId": None}])
def test_a_customer_whom_nothing_names_is_refused(members: dict[str, Any]) -> None:
    _, faults = read(members, "customers[0]")

    assert [tuple(fault) for fault in faults] == [("customers[0]", NO_IDENTITY)]


@pytest.mark.parametrize("length", [200, 201])
def test_a_name_has_up_to_200_characters(length: int) -> None:
    _, faults = read({"customerId": 1, "lastName": "x" * length})

    assert bool(faults) == (length > 200)


def test_a_customer_is_created_with_the_given_id_or_a_generated_one() -> None:
    results = decide(NewCustomer(customer_id=7), NewCustomer(email="ana@x.org"), NewCustomer(external_id="B"))

    assert results == [created(7), created(GENERATED_FROM), created(GENERATED_FROM + 1)]


def test_who_has_the_given_id_exists_whatever_new_identifiers_come_with_it() -> None:
    assert decide(NewCustomer(customer_id=7, email="new@x.org"), known={7: NewCustomer()}) == [exists(7)]


def test_who_has_an_identifier_exists_whatever_new_identifiers_come_with_it() -> None:
    known = {7: NewCustomer(email="ana@x.org", mobile="44")}

    assert (
        decide(
            NewCustomer(email="ANA@X.org", external_id="new"),
            NewCustomer(email="ana@x.org", mobile="4-4"),
            NewCustomer(customer_id=7, mobile="44"),
            known=known,
        )
        == [exists(7)] * 3
    )


@pytest.mark.parametrize(
    "new",
    [
        pytest.param(NewCustomer(email="ana@x.org", mobile="45"), id="two customers"),
        pytest.param(NewCustomer(customer_id=8, email="ana@x.org"), id="another than the given id, who exists"),
        pytest.param(NewCustomer(customer_id=9, email="ana@x.org"), id="another than the given id, who is new"),
    ],
)
def test_identifiers_of_somebody_else_are_rejected(new: NewCustomer) -> None:
    known = {7: NewCustomer(email="ana@x.org"), 8: NewCustomer(mobile="45")}

    (result,) = decide(new, known=known)

    assert (result.customer_id, result.status, result.code) == (None, Status.REJECTED, Code.IDENTIFIER_TAKEN)
    assert result.message


def test_the_same_customer_twice_in_one_request_is_created_once() -> None:
    results = decide(
        NewCustomer(email="ana@x.org"),
        NewCustomer(email="Ana@x.org"),
        NewCustomer(customer_id=7),
        NewCustomer(customer_id=7),
    )

    assert results == [created(GENERATED_FROM), exists(GENERATED_FROM), created(7), exists(7)]


def test_identifiers_that_come_with_one_who_exists_or_is_rejected_stay_free() -> None:
    results = decide(
        NewCustomer(customer_id=7, external_id="free"),
        NewCustomer(customer_id=9, email="ana@x.org", external_id="free too"),
        NewCustomer(customer_id=10, external_id="free"),
        NewCustomer(customer_id=11, external_id="free too"),
        known={7: NewCustomer(email="ana@x.org")},
    )

    assert [result.status for result in results] == [Status.EXISTS, Status.REJECTED, Status.CREATED, Status.CREATED]

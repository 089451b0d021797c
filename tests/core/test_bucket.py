"""The bucket of a row is fixed for ever: other values here would mean that stored rows are lost."""

from kosminar.core.bucket import bucket_of_customer, bucket_of_identifier
from kosminar.core.number import stable_number


def test_buckets_are_what_they_always_were() -> None:
    assert [bucket_of_customer(1, n) for n in (1, 2, 1_000_000_000)] == [6, 72, 227]
    assert bucket_of_identifier(1, "email", "ana@example.org") == 206


def test_customers_spread_over_all_buckets() -> None:
    assert len({bucket_of_customer(1, n) for n in range(5_000)}) == 256


def test_a_stable_number_is_a_positive_bigint() -> None:
    assert stable_number(1, 2, "bill:7") == 7012995064958343780
    assert all(1 <= stable_number(n) < 2**63 for n in range(1_000))

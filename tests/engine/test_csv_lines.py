"""Which records a file has, and that each of its lines is in exactly one, whatever quotes, breaks and bytes do."""

import csv
import io
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kosminar.engine.csv_lines import RECORD_BYTES_MAX, RECORD_LINES_MAX, ImportRefused, Line, Lines

FIELDS = ("id", "customerId", "occurredAt")
HEADER = b"id,customerId,occurredAt,attributes.note\n"
NOTE_FIRST = b"attributes.note,id,customerId,occurredAt\n"

Write = Callable[..., list[Line]]


def numbered(fields: Mapping[str, str]) -> bool:
    return fields.get("customerId", "").isdecimal()


def read(path: Path, content: bytes) -> list[Line]:
    path.write_bytes(content)
    return list(Lines(path, FIELDS, {}, attributes=True, plausible=numbered))


@pytest.fixture
def lines_of(tmp_path: Path) -> Write:
    """The records of a file of these lines behind a header."""
    return lambda *rows, header=HEADER: read(tmp_path / "file.csv", header + b"".join(rows))


def faultless(lines: Iterable[Line]) -> list[int]:
    return [line.line_number for line in lines if line.fault is None]


def faults(lines: Iterable[Line]) -> dict[int, str]:
    return {line.line_number: line.fault for line in lines if line.fault is not None}


def row(number: int, note: str = "") -> bytes:
    return f"b{number},601,2031-02-01,{note}\n".encode()


# ---------------------------------------------------------------- quotes


def test_a_quote_that_is_closed_thousands_of_lines_later_takes_no_line_between_with_it(lines_of: Write) -> None:
    lines = lines_of(
        row(2), row(3, '"open'), *(row(number) for number in range(4, 5_000)), row(5_000, 'x"'), row(5_001)
    )

    assert faultless(lines) == [2, *range(4, 5_002)]
    assert faults(lines) == {
        3: "opens a quote that is not closed within 100 lines and 262,144 bytes; the lines after it are read by themselves"
    }
    assert lines[-2].fields["attributes.note"] == 'x"'


@pytest.mark.parametrize("distance", [1, 2, 50, RECORD_LINES_MAX - 1, RECORD_LINES_MAX, RECORD_LINES_MAX + 1])
def test_a_quote_that_a_stray_one_closes_takes_no_record_between_with_it(lines_of: Write, distance: int) -> None:
    between = [row(number) for number in range(3, 2 + distance)]

    lines = lines_of(row(2, '"open'), *between, row(2 + distance, '"'), row(3 + distance))

    assert faultless(lines) == [*range(3, 2 + distance), 3 + distance]
    assert list(faults(lines)) == [2, 2 + distance]


def test_the_refusal_names_the_line_that_was_swallowed(lines_of: Write) -> None:
    lines = lines_of(row(2, '"open'), row(3), row(4, '"'))

    assert faults(lines)[2] == (
        "opens a quote that is closed on line 4, but line 3 is a record by itself; each line is read by itself"
    )


def test_a_stray_quote_before_quoted_cells_is_refused_alone(lines_of: Write) -> None:
    lines = lines_of(row(2, '"open'), row(3, '"well"'), row(4, '"quoted"'))

    assert faultless(lines) == [3, 4]
    assert faults(lines) == {
        2: "opens a quote, and line 3 is then not CSV: ',' expected after '\"'; each line is read by itself"
    }


def test_what_a_quote_holds_together_with_other_cells_than_the_header_is_read_line_by_line(lines_of: Write) -> None:
    lines = lines_of(b'b2,601,"2031-02-01\n', b'x",y,z\n', row(4))

    assert faultless(lines) == [4]
    assert "closed on line 3, with 5 cells where the header has 4" in faults(lines)[2]
    assert faults(lines)[3] == "has 3 cells where the header has 4"


@pytest.mark.parametrize("count", [2, 3, RECORD_LINES_MAX])
def test_a_note_of_several_lines_is_one_record(lines_of: Write, count: int) -> None:
    note = "\n".join(["first"] + [f'a, "b" {number}' for number in range(count - 1)])

    [line, after] = lines_of(row(2, '"' + note.replace('"', '""') + '"'), row(3))

    assert (line.line_count, line.fields["attributes.note"]) == (count, note)
    assert after.line_number == 2 + count


def test_a_note_of_one_line_too_many_is_read_line_by_line(lines_of: Write) -> None:
    lines = lines_of(row(2, '"' + "x\n" * RECORD_LINES_MAX + '"'), row(3))

    assert faultless(lines) == [3 + RECORD_LINES_MAX]
    assert list(faults(lines)) == list(range(2, 3 + RECORD_LINES_MAX))


def test_a_note_in_the_first_column_ends_on_a_line_that_looks_like_a_record(lines_of: Write) -> None:
    [line] = lines_of(b'"two\nlines",b2,601,2031-02-01\n', header=NOTE_FIRST)

    assert line.fields == {
        "attributes.note": "two\nlines",
        "id": "b2",
        "customerId": "601",
        "occurredAt": "2031-02-01",
    }


@pytest.mark.parametrize(
    ("header", "opened", "closed", "why"),
    [
        (b"id,customerId,occurredAt\n", b'"b2,601,2031-02-01\n', b'b3",602,2031-02-01\n', "id has no line break"),
        (b"id,customerId,occurredAt\n", b'b2,601,"2031-02-01\n', b'"\n', "occurredAt has no line break"),
        (NOTE_FIRST, b'"6 ft,b2,601,2031-02-01\n', b'2 ft",b3,602,2031-02-01\n', "line 2 is a record by itself"),
    ],
)
def test_a_quote_makes_no_record_of_two(lines_of: Write, header: bytes, opened: bytes, closed: bytes, why: str) -> None:
    lines = lines_of(opened, closed, header=header)

    assert [line.line_number for line in lines] == [2, 3]
    assert why in faults(lines)[2]


def test_an_address_with_as_many_commas_as_a_record_is_no_record(lines_of: Write) -> None:
    [line] = lines_of(row(2, '"Flat 3\nGreen Street, Sector 4, Pune, 411001\nIndia"'))

    assert line.line_count == 3


def test_a_quote_that_is_open_at_the_end_of_the_file_takes_nothing_with_it(lines_of: Write) -> None:
    lines = lines_of(row(2), row(3, '"open'), row(4), row(5)[:-1])

    assert faultless(lines) == [2, 4, 5]
    assert faults(lines)[3].startswith("opens a quote that is not closed before the end of the file")


# ---------------------------------------------------------------- bytes, breaks and lengths


def test_bytes_that_are_no_utf_8_and_nul_are_refused_with_their_record_alone(lines_of: Write) -> None:
    lines = lines_of(row(2), b'b3,601,2031-02-01,"\xff\nx"\n', b"b5,601,2031-02-01,\x00\n", row(6))

    assert faultless(lines) == [2, 6]
    assert [(line.line_number, line.line_count) for line in lines if line.fault] == [(3, 2), (5, 1)]


def test_lines_end_with_lf_or_cr_lf_and_the_last_one_with_nothing(lines_of: Write) -> None:
    lines = lines_of(
        row(2), b"b3,601,2031-02-01,x\r\n", b"\r\n", b"\n", b"b6,601,2031-02-01,x\ry\n", b"b7,601,2031-02-01,z"
    )

    assert faultless(lines) == [2, 3, 7]
    assert faults(lines) == {6: "is not CSV: a carriage return stands outside quotes; lines end with LF or CR LF"}
    assert [lines[index].fields["attributes.note"] for index in (1, 3)] == ["x", "z"]


def test_a_byte_order_mark_belongs_to_no_column(lines_of: Write) -> None:
    [line] = lines_of(row(2), header=b"\xef\xbb\xbf" + HEADER)

    assert line.fields["id"] == "b2"


def test_a_line_is_as_long_as_a_record_may_be_and_no_longer(lines_of: Write) -> None:
    rest = RECORD_BYTES_MAX - len(row(2)) - 3
    halves = "x" * (rest // 2), "y" * (rest - rest // 2)
    header = HEADER.replace(b"\n", b",attributes.more\n")
    longest = row(2, f"{halves[0]},{halves[1]}xx")
    assert len(longest) == RECORD_BYTES_MAX

    lines = lines_of(longest, longest.replace(b"xx\n", b"xxx\n"), row(4, ","), header=header)

    assert faultless(lines) == [2, 4]
    assert faults(lines) == {3: "is longer than 262,144 bytes"}


def test_neither_a_quote_that_is_never_closed_nor_an_endless_line_fills_the_memory(tmp_path: Path) -> None:
    """Five million bytes behind an open quote, and as many in a line, within two."""
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.write(HEADER + row(2, '"open'))
        file.writelines(row(3, "x" * 1_000) for _ in range(5_000))
        file.writelines(b"y" * 1_000 for _ in range(5_000))
    lines = Lines(path, FIELDS, {}, attributes=True, plausible=numbered)

    tracemalloc.start()
    counted = sum(line.line_count for line in lines)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (counted, lines.position) == (5_002, path.stat().st_size)
    assert peak < 2_000_000


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b'id,customerId,"occurredAt\n', "a quote is opened that is not closed on this line"),
        (b'id,customerId,"occurredAt\nb2,601,2031"\n', "a quote is opened that is not closed on this line"),
        (b"id,customerId\rb2,601\r", "a carriage return stands outside quotes"),
        (b"id," + b"x" * RECORD_BYTES_MAX, "is longer than 262,144 bytes"),
        (b"\xef\xbb\xbf\n", "is empty"),
    ],
)
def test_a_header_is_one_line(tmp_path: Path, header: bytes, words: str) -> None:
    """What a quote of the header swallowed would be no record, and have no result."""
    with pytest.raises(ImportRefused, match=words):
        read(tmp_path / "file.csv", header)


# ---------------------------------------------------------------- every line

PIECES = st.sampled_from(
    [
        b'"',
        b'""',
        b",",
        b"\n",
        b"\r\n",
        b"\r",
        b"\x00",
        b"\xff",
        b"601",
        b"x",
        b" ",
        b"b,601,2031-02-01,x\n",
        b'b,601,2031-02-01,"',
        b"\n\n",
        b'"\n',
    ]
)
WHOLE = b"b,601,2031-02-01,x"


def covered(lines: Iterable[Line]) -> list[int]:
    return [line.line_number + index for line in lines for index in range(line.line_count)]


@given(pieces=st.lists(PIECES, max_size=60))
@example(pieces=[b'"', b"\n", b'"', b"\n"])
@example(pieces=[b'b,601,2031-02-01,"', b"\n", b"b,601,2031-02-01,x\n", b'b,601,2031-02-01,"', b"\n"])
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_line_that_is_not_empty_is_in_exactly_one_record(pieces: list[bytes], tmp_path: Path) -> None:
    body = b"".join(pieces)

    lines = read(tmp_path / "file.csv", HEADER + body)

    physical = dict(enumerate(body.split(b"\n"), start=2))
    numbers = covered(lines)
    assert numbers == sorted(set(numbers))
    missed = physical.keys() - set(numbers)
    assert all(physical[number].strip(b"\r") == b"" for number in missed)
    assert set(numbers) <= physical.keys()
    # A record without any quote is never part of another one.
    taken = {line.line_number for line in lines if line.fault is None and line.line_count == 1}
    assert {number for number, raw in physical.items() if raw == WHOLE} <= taken


# Without a digit no line of a note is a record by itself.
NOTES = st.text(st.sampled_from('ab",\n é'), max_size=30)


@given(rows=st.lists(st.tuples(st.integers(1, 999), NOTES), max_size=20))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_csv_writer_wrote_is_read_as_it_was(rows: list[tuple[int, str]], tmp_path: Path) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(("b", customer_id, "2031-02-01", note) for customer_id, note in rows)

    lines = read(tmp_path / "file.csv", HEADER + text.getvalue().encode())

    found: list[Any] = [(int(line.fields["customerId"]), line.fields.get("attributes.note", "")) for line in lines]
    assert found == rows

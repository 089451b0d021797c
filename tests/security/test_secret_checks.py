"""Secrets are compared in one place, in constant time, and whoever is unknown is compared all the same."""

import ast
import hmac
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kosminar
from kosminar.core import secret
from kosminar.core.secret import hash_of_password, hash_of_secret, md5_hex, password_matches, secret_matches

SOURCE = Path(kosminar.__file__).parent
# What may be compared with == although its name sounds like a secret: none of it is one.
HARMLESS = {
    # Of a migration; of an activity's content; of a request that its own caller repeats.
    "checksum",
    "fingerprint",
    "request_hash",
}
SECRET_NAME = re.compile(r"secret|password|token|signature|digest|hash|hmac|credential|jwk", re.IGNORECASE)


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), ast.parse(path.read_text(encoding="utf-8"))


def names_in(node: ast.AST) -> Iterator[str]:
    """What an operand is called: a variable, an attribute, or the function whose value it is. Lengths tell nothing."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id == "len"):
        yield from names_in(node.func)
    elif isinstance(node, ast.Subscript):
        yield from names_in(node.value)
        if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            yield node.slice.value


def test_no_secret_is_compared_with_an_operator() -> None:
    found = []
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                names = {name for operand in (node.left, *node.comparators) for name in names_in(operand)}
                found += [f"{module}:{node.lineno} {name}" for name in names - HARMLESS if SECRET_NAME.search(name)]

    assert found == []


def test_one_function_compares_and_it_is_the_constant_time_one() -> None:
    comparing = [
        (module, function.name)
        for module, tree in modules()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr == "compare_digest"
    ]

    assert comparing == [("core/secret.py", "_same")]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, bytes]]:
    pairs: list[tuple[bytes, bytes]] = []
    compare_digest = hmac.compare_digest

    def noting(one: bytes, other: bytes) -> bool:
        pairs.append((one, other))
        return compare_digest(one, other)

    monkeypatch.setattr(secret.hmac, "compare_digest", noting)
    return pairs


@pytest.mark.parametrize("matches", [secret_matches, password_matches])
def test_an_unknown_name_is_compared_as_often_and_at_the_same_length(compared, matches) -> None:
    kept = hash_of_secret("right")

    assert not matches("wrong", kept)
    of_wrong = [tuple(map(len, pair)) for pair in compared]
    compared.clear()
    assert not matches("wrong", None)

    assert [tuple(map(len, pair)) for pair in compared] == of_wrong
    assert of_wrong != []


def test_both_forms_of_a_password_are_compared_whichever_it_was(compared) -> None:
    kept = hash_of_password("right")

    for given in ("right", md5_hex("right"), "wrong"):
        compared.clear()
        password_matches(given, kept)
        assert len(compared) == 2


def test_what_stands_for_nobodys_secret_never_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret, "NOBODYS", hash_of_secret("chosen"))

    assert secret_matches("chosen", None) is False
    assert password_matches("chosen", None) is False
    assert secret_matches("chosen", hash_of_secret("chosen")) is True

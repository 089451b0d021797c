"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import kosminar

MODULES = [m.name for m in pkgutil.walk_packages(kosminar.__path__, "kosminar.") if "__main__" not in m.name]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0

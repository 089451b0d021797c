"""Faults as data: each row of tests/faults.toml breaks one part of a promise and names the test that must then fail.

`make faults` applies every row in a copy of the tree and runs its test. `make faults-page` writes the tables of
docs/reliability.md from the rows. tests/structure/test_faults.py holds rows, parts, tree and page together.
"""

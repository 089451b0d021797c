"""Kinds of groups: what counting, entering, leaving and a period's end mean. One file for each kind."""

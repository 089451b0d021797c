"""Splits the text of a migration into its statements, because a distributed database takes them one at a time.

Knows strings, quoted names, dollar quotes, comments (PostgreSQL's nest) and parentheses; not the bodies of functions
that are written as BEGIN ATOMIC, which have no place in a migration of ours. tests/store/test_statements.py compares it
with PostgreSQL's own parser.
"""

import re
from typing import Final

_SIGN: Final = re.compile(
    r"""
      --[^\n]*
    | /\*
    | (?<![\w$])[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)
    | '[^']*(?:'|\Z)
    | "[^"]*(?:"|\Z)
    | (?<![\w$])(?P<dollar>\$(?:[^\W\d]\w*)?\$).*?(?:(?P=dollar)|\Z)
    | [();]
    """,
    re.DOTALL | re.VERBOSE,
)
_COMMENT_EDGE: Final = re.compile(r"/\*|\*/")


def split(text: str) -> list[str]:
    r"""The statements in their order, each with the comments before it and without its semicolon.

    >>> split("-- Why.\nSELECT ';'; SELECT $$;$$; -- The end.")
    ["-- Why.\nSELECT ';'", 'SELECT $$;$$']
    """
    found, start, at, depth, empty = [], 0, 0, 0, True
    while match := _SIGN.search(text, at):
        sign = match[0]
        empty = empty and not text[at : match.start()].strip()
        at = _end_of_comment(text, match.end()) if sign == "/*" else match.end()
        if sign == ";" and depth == 0:
            if not empty:
                found.append(text[start : match.start()].strip())
            start, empty = at, True
        elif not sign.startswith(("--", "/*")):
            depth += (sign == "(") - (sign == ")")
            empty = False
    if not empty or text[at:].strip():
        found.append(text[start:].strip())
    return found


def _end_of_comment(text: str, at: int) -> int:
    """Where the comment ends that was opened before `at`: with as many ends as beginnings."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, at)):
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at if depth == 0 else len(text)

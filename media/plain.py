"""Text that somebody else wrote into a file, made harmless to store and to show."""

from __future__ import annotations

import unicodedata

LONGEST = 200  # characters

# What starts a tag, a template or a template literal becomes its look-alike, so that a slip further on runs nothing.
_HARMLESS = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")", "`": "'"})


def plain(text: object, longest: int = LONGEST) -> str:
    """One line of at most `longest` characters, without control and direction characters, tags or templates.

    Escaping for HTML stays the duty of whoever shows it: ampersands and quotes are left as they are.
    """
    head = str(text)[: 4 * longest]
    visible = "".join(c if not unicodedata.category(c).startswith(("C", "Z")) else " " if _parts(c) else ""
                      for c in head)
    line = " ".join(visible.translate(_HARMLESS).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _parts(character: str) -> bool:
    """Line breaks, tabs and spaces part words; zero-width and direction characters do not."""
    return character.isspace()

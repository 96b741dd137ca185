"""Texts from files, made harmless."""

from __future__ import annotations

import pytest

from media.plain import plain


@pytest.mark.parametrize("text, shown", [
    ("Lavf60.3.100", "Lavf60.3.100"),
    ("<script>alert(1)</script>", "‹script›alert(1)‹/script›"),
    ("clip${Object.assign(window,{x:1})}", "clip$(Object.assign(window,(x:1)))"),
    ("`{{7*7}}`", "'((7*7))'"),
    ("two\nlines\tand\r\nmore", "two lines and more"),
    ("\x1b[31mred\x00\x07", "[31mred"),
    ("safe\u202e4pm.exe\u2066\u200b", "safe4pm.exe"),  # text direction turned, zero width
    ("lone \ud800 surrogate", "lone surrogate"),
    ("речь 話す é", "речь 話す é"),
    (42, "42"),
])
def test_what_is_left_of_a_text(text, shown):
    assert plain(text) == shown


def test_the_length_is_bounded():
    assert plain("a" * 10_000, 50) == "a" * 49 + "…"
    assert plain("\0" * 10_000 + "end", 50) == ""  # what lies far behind is not searched for
    assert len(plain("abc", 3)) == 3

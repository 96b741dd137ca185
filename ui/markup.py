"""Small pieces that every panel writes with: escaping, times, percentages."""

from __future__ import annotations

import base64
import re
from html import escape as _escape

# A number with its unit, and a span of two: 1,234 · 0.4 s · 12 % · 0.87 to 0.95 · 0.91 (0.87 to 0.95)
_NUMBER = r"[+−±-]?\d[\d,.:]*(?: (?:s|%|MB|px))?"
_NUMBERS = re.compile(rf"{_NUMBER}(?: to {_NUMBER})?(?: \({_NUMBER} to {_NUMBER}\))?")


def escape(text: object) -> str:
    """User text (file names, tags, error sentences) on its way into HTML, attributes included."""
    return _escape(str(text), quote=True)


def clock(seconds: float) -> str:
    """75.25 -> 1:15.2, the form players use; tenths only where there are any."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    whole, tenth = divmod(rest, 10)
    return f"{minutes}:{whole:02d}" + (f".{tenth}" if tenth else "")


def percent(probability: float) -> int:
    """Whole percent; never 0 or 100, which would claim a certainty that no detector has."""
    return min(99, max(1, round(probability * 100)))


def download_link(label: str, name: str, media_type: str, text: str) -> str:
    """A file that lies inside the page itself: no copy of it is ever written to the server's disk."""
    data = base64.b64encode(text.encode("utf-8", "replace")).decode()
    return (f'<a class="tt-download" download="{escape(name)}" href="data:{media_type};base64,{data}">'
            f"{escape(label)}</a>")


def table(caption: str, headers: tuple[str, ...], rows: list[tuple[str, ...]], row_headers: bool = False) -> str:
    """An HTML table; where it is too wide it scrolls, by keyboard too, and its row headers stay. Cells are HTML
    already: the caller escapes."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in headers)
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{cell}</th>' if row_headers and k == 0 else f"<td>{_unbroken(cell)}</td>"
            for k, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    thead = f"<thead><tr>{head}</tr></thead>" if headers else ""
    return (
        f'<div class="tt-table" role="group" aria-label="{escape(caption)}" tabindex="0">'
        f"<table><caption><span>{escape(caption)}</span></caption>{thead}"
        f"<tbody>{body}</tbody></table></div>"
    )


def _unbroken(html: str) -> str:
    """A number and its unit, or a span of two, stay on one line."""
    return html.replace(" ", "&nbsp;") if _NUMBERS.fullmatch(html) else html

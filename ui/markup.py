"""Small pieces that every panel writes with: escaping, times, percentages."""

from __future__ import annotations

from html import escape as _escape


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


def table(caption: str, headers: tuple[str, ...], rows: list[tuple[str, ...]], row_headers: bool = False) -> str:
    """An HTML table; where it is too wide it scrolls, by keyboard too. Cells are HTML already: the caller escapes."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in headers)
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{cell}</th>' if row_headers and k == 0 else f"<td>{cell}</td>"
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

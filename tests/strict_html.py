"""HTML as a strict reader takes it."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "input", "line", "polyline"}


class Page(HTMLParser):
    """Tags with their attributes, words, and what a script holds. Fails on tags that do not close in order."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.tags, self.words, self.script = [], [], "", ""
        self.feed(html)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.script += data
        elif not self.open or self.open[-1] != "style":
            self.words += data + " "

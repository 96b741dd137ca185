"""Corpora as generated trees: tables with text in them, and empty files for clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def tree(tmp_path):
    """tree(*clips, **) -> root. clips: names of empty files; tables: name to text, or to what is written as JSON."""

    def write(*clips: str, tables: dict[str, object] | None = None) -> Path:
        for name, content in {**dict.fromkeys(clips, ""), **(tables or {})}.items():
            path = tmp_path / "corpus" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return tmp_path / "corpus"

    return write

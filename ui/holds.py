"""Who still needs which uploaded file; nobody: it is deleted.

Gradio stores an upload under the hash of its bytes, so two people who send the same clip share one file. Deleting
it after the first one's call would take it from the second. Hence the count: an upload waits until somebody claims
it, and a file goes when the last claim ends and no further upload of it waits.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

PREFIX = "telltale-"
UNCLAIMED_S = 1500  # an upload that nobody claims in this time is left to the periodic sweep


def private_folder() -> str:
    """A folder of this process alone, for uploads; gone when the process ends, or when the next one starts."""
    for old in Path(tempfile.gettempdir()).glob(f"{PREFIX}[0-9]*-*"):
        pid = int(old.name.removeprefix(PREFIX).split("-")[0])
        if not Path(f"/proc/{pid}").exists() and Path("/proc").exists():
            shutil.rmtree(old, ignore_errors=True)  # that process was killed before it could tidy up
    folder = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Holds:
    """Claims on the files inside one folder. Thread-safe."""

    def __init__(self, folder: str | Path, on_delete: Callable[[Path], None] | None = None):
        """`on_delete` is told of each file before it goes, to drop what was made from it."""
        self.folder = Path(folder).resolve()
        self._on_delete = on_delete
        self._lock = threading.Lock()
        self._waiting: dict[Path, list[float]] = defaultdict(list)  # times of uploads that nobody claimed yet
        self._claims: dict[Path, set[str]] = defaultdict(set)

    def owns(self, path: str | Path) -> bool:
        """True for a file inside the folder, whatever dots and links the path has."""
        resolved = Path(path).resolve()
        return resolved.is_relative_to(self.folder) and resolved.is_file()

    def uploaded(self, path: str | Path) -> None:
        with self._lock:
            self._waiting[Path(path).resolve()].append(time.monotonic())

    def claim(self, holder: str, path: str | Path) -> None:
        """`holder` (a session, or one API call) needs the file. Claiming twice is claiming once."""
        resolved = Path(path).resolve()
        with self._lock:
            self._claims[resolved].add(holder)
            if self._waiting[resolved]:
                self._waiting[resolved].pop(0)

    def claim_upload(self, holder: str, upload: dict | None) -> str | None:
        """The path of a file component's value as the browser sent it, claimed; None where it is no file of ours."""
        path = str((upload or {}).get("path") or "")
        if not path or not self.owns(path):
            return None
        self.claim(holder, path)
        return path

    def release(self, holder: str) -> None:
        """`holder` is done: deletes its files that nobody else needs."""
        with self._lock:
            for path in [p for p, holders in self._claims.items() if holder in holders]:
                self._claims[path].discard(holder)
                if not self._claims[path]:
                    del self._claims[path]
                    self._delete(path)

    def _delete(self, path: Path) -> None:
        now = time.monotonic()
        waiting = [t for t in self._waiting.pop(path, []) if now - t < UNCLAIMED_S]
        if waiting:
            self._waiting[path] = waiting
            return
        if not path.is_relative_to(self.folder):  # demo clips are claimed like any other, and stay
            return
        if self._on_delete and path.is_file():
            self._on_delete(path)
        path.unlink(missing_ok=True)
        if path.parent != self.folder and not any(path.parent.iterdir()):
            path.parent.rmdir()


class FilesIn(set):
    """The files in a folder, whoever puts them there, as a set that Gradio's periodic sweep goes through."""

    def __init__(self, folder: str | Path):
        super().__init__()
        self._folder = Path(folder)

    def __iter__(self) -> Iterator[str]:
        return (str(p) for p in self._folder.rglob("*") if p.is_file())


class UploadWatch:
    """ASGI middleware: tells Holds of every file that an upload stored, from the server's own answer."""

    def __init__(self, app, holds: Holds):
        self.app = app
        self.holds = holds

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or not scope["path"].endswith("/upload"):
            return await self.app(scope, receive, send)
        status, body = 0, b""

        async def watch(message):
            nonlocal status, body
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                body += message.get("body", b"")
                if not message.get("more_body") and status == 200:
                    for path in json.loads(body):
                        self.holds.uploaded(path)
            await send(message)

        return await self.app(scope, receive, watch)

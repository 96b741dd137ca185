"""Who still needs which uploaded file; nobody: it is deleted. And that nothing outlives its half hour, nor the process.

Gradio stores an upload under the hash of its bytes, so two people who send the same clip share one file. Deleting
it after the first one's call would take it from the second. Hence the count: an upload waits until somebody claims
it, and a file goes when the last claim ends and no further upload of it waits.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what a killed process left is not swept there
    fcntl = None

log = logging.getLogger("telltale")
PREFIX = "telltale-app-"
KEPT_S = 1680  # what is older goes at the next sweep, whoever holds it: that makes half an hour at most
SWEEP_S = 60


def private_folder() -> Path:
    """A folder of this process alone, for `uploads` and for `work`, its temporary files. Gone when the process ends;
    what a killed process left goes when the next one starts.
    """
    shared = Path(tempfile.gettempdir())
    for left in shared.glob(f"{PREFIX}*"):
        if (lock := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    for _ in range(3):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        if _lock(folder) is not None and folder.is_dir():
            break  # else: a process that starts in this moment took it for one that was left, or there are no locks
    for part in ("uploads", "work"):
        (folder / part).mkdir(parents=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _lock(folder: Path) -> int | None:
    """A lock that the system takes back when this process ends, however it ends: a process number may be another's by
    then. None where a living process has it, or the folder is not ours."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def keep_temporary_files_in(folder: Path) -> None:
    """From now on, temporary files of this process and of those it starts lie in this folder."""
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)


def old_files(folder: Path, kept_s: float) -> list[Path]:
    """The files in a folder, at any depth, that nobody has written for so long."""
    found, now = [], time.time()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if not path.is_dir() and now - path.lstat().st_ctime > kept_s:
                found.append(path)
    return found


class Holds:
    """Claims on the files inside one folder. Thread-safe."""

    def __init__(self, folder: str | Path, on_delete: Callable[[Path], None] | None = None):
        """`on_delete` is told of each file before it goes, to drop what was made from it."""
        self.folder = Path(folder).resolve()
        self.chores: list[Callable[[], None]] = []  # done after each sweep: others drop what they have kept too long
        self._on_delete = on_delete
        self._lock = threading.Lock()
        self._waiting: dict[Path, list[float]] = defaultdict(list)  # times of uploads that nobody claimed yet
        self._claims: dict[Path, set[str]] = defaultdict(set)

    def owns(self, path: str | Path) -> bool:
        """True for a file inside the folder, whatever dots and links the path has."""
        try:
            resolved = Path(path).resolve()
            return resolved.is_relative_to(self.folder) and resolved.is_file()
        except (OSError, ValueError, RuntimeError):  # a name that is too long, a NUL byte, links in a circle
            return False

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

    def claim_upload(self, holder: str, upload: object) -> str | None:
        """The path of a file component's value as the browser sent it, claimed; None where it is no file of ours."""
        path = upload.get("path") if isinstance(upload, dict) else None
        if not isinstance(path, str) or not path or not self.owns(path):
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
                    self._delete_unless_waited_for(path)

    def sweep(self, kept_s: float = KEPT_S) -> None:
        """Deletes every file of the folder that is older, also what an upload that broke off has left."""
        with self._lock:
            for path in old_files(self.folder, kept_s):
                self._claims.pop(path, None)
                self._waiting.pop(path, None)
                self._delete(path)
            for path in [p for p, times in self._waiting.items() if not times and p not in self._claims]:
                del self._waiting[path]

    def tidy(self) -> None:
        """Sweeps and does the chores, each whatever became of the others."""
        for chore in (self.sweep, *self.chores):
            try:
                chore()
            except Exception as fault:  # its message may hold a file's name, and no log may
                log.error("tidying up failed: %s in %s", type(fault).__name__, getattr(chore, "__name__", "a chore"))

    def keep_tidying(self) -> None:
        """Every SWEEP_S, in a thread, as long as the process lives."""

        def work() -> None:
            while True:
                time.sleep(SWEEP_S)
                self.tidy()

        threading.Thread(target=work, name="tidying", daemon=True).start()

    def _delete_unless_waited_for(self, path: Path) -> None:
        now = time.monotonic()
        waiting = [t for t in self._waiting.pop(path, []) if now - t < KEPT_S]
        if waiting:
            self._waiting[path] = waiting
        elif path.is_relative_to(self.folder):  # demo clips are claimed like any other, and stay
            self._delete(path)

    def _delete(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._on_delete and path.is_file():
                self._on_delete(path)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or gone
            if path.parent != self.folder:
                path.parent.rmdir()


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

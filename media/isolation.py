"""Somebody's file is read in a process of its own that has limits and may die: that costs one answer, no more.

    read() ── fork, please ──► server (libraries loaded, never touches a file)
      │                          └── fork ──► worker of one file: confined, then reads (media.worker)
      └──────── request ────────────────────►  │
      ◄──────── records ───────────────────────┘

Where forking is not to be had (other systems than Linux) each file gets a process started afresh, which takes a second
longer; where `resource` is missing too (Windows), the limits of time alone hold.
Records are JSON and raw bytes; those of pictures lie in shared memory where there is some (media.pool). Nothing that a
worker sends is unpickled, and it inherits no secret of the environment.
"""

from __future__ import annotations

import atexit
import itertools
import json
import math
import os
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from media.clip import Finding, MediaError, Reason
from media.limits import Limits, refusal
from media.plain import plain
from media.pool import Pool, PoolWriter

FORKS = sys.platform == "linux"
_HEAD = struct.Struct("<II")  # bytes of JSON, bytes of data
_LONGEST_JSON, _LONGEST_DATA = 8 << 20, 512 << 20
_AHEAD = 6  # records that are read ahead while the last one is worked on
_STARTING_S, _DYING_S = 120.0, 10.0  # much more than it takes, as a busy machine is nobody's fault
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL",
                     "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")
# One thread and one heap: threads would not survive the fork, and each heap reserves address space, which is limited.
_SET_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1",
                    "PYTHONDONTWRITEBYTECODE": "1"}
# The package without its __init__: that one loads torch, of which a worker needs nothing.
_PROGRAM = """
import json, sys, types
sys.path[:] = json.loads(sys.argv[1])
package = types.ModuleType("media")
package.__path__ = [sys.argv[2]]
sys.modules["media"] = package
from media.worker import serve, work_once
serve(int(sys.argv[3])) if len(sys.argv) > 3 else work_once()
"""
_ANOTHER_COPY = "Try the original file, or another download of it."


@dataclass(frozen=True)
class Record:
    """One message of a worker: named facts, and arrays that travel as their raw bytes, one after another."""

    kind: str
    facts: dict = field(default_factory=dict)
    arrays: Sequence[np.ndarray] = ()  # as sent; received: one array [bytes] uint8


class WorkerStopped(Exception):
    """Why a worker gave no answer. how: "crashed", "stalled" or "memory"; as the cause of a MediaError."""

    def __init__(self, how: str, detail: str = "") -> None:
        super().__init__(f"{how} {detail}".strip())
        self.how = how


def read(task: str, arguments: dict, limits: Limits, patience_s: float | None = None) -> Iterator[Record]:
    """What a worker finds in a file, record by record. task: a name of media.worker.TASKS; arguments: as JSON.

    patience_s: how long the worker may be silent while it is waited for (limits.patience_s unless given).
    Raises: MediaError: what the worker refused; DECODE_FAILED where it crashed or was too slow; TOO_LARGE where it
    needed more memory than its limit. RuntimeError where no worker can be started.
    """
    patience_s = limits.patience_s if patience_s is None else patience_s
    if "path" in arguments:  # a server stays in the folder in which it was started
        arguments = arguments | {"path": os.path.join(os.getcwd(), arguments["path"])}
    worker = _ready_worker()
    waited_s = 0.0
    try:
        worker.ask({"task": task, "arguments": arguments, "limits": asdict(limits)})
        while True:
            begin = time.monotonic()
            record = worker.next_record(min(patience_s, limits.decode_s - waited_s))
            waited_s += time.monotonic() - begin
            if record is None:
                _refuse("crashed")
            worker.ended = record.kind in ("end", "refused", "failed")
            if record.kind == "end":
                return
            if record.kind == "refused":
                raise MediaError(_finding(record.facts))
            if record.kind == "failed":
                _refuse(str(record.facts.get("how")), plain(record.facts.get("where", ""), 80))
            yield record
    except queue.Empty:
        _refuse("stalled", f"after {waited_s:.0f} s")
    finally:
        worker.close()


def read_one(task: str, arguments: dict, limits: Limits, patience_s: float | None = None) -> Record:
    """The only record of a task.

    Raises: as read.
    """
    with closing(read(task, arguments, limits, patience_s)) as records:
        record = next(records, None)
    if record is None:
        _refuse("crashed", "without a record")
    return record


def peak_mb() -> float | None:
    """The most memory that any worker has held since the first, stopped ones and shared libraries included; None where
    that is not known."""
    with _server_lock:
        return _server.peak_mb() if _server is not None else None


@contextmanager
def believed_nothing() -> Iterator[None]:
    """Around the reading of a record: what does not fit is the answer of a worker that was broken by its file.

    Raises: MediaError (DECODE_FAILED).
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError):
        _refuse("crashed", "with a record that is none")


def _finding(facts: dict) -> Finding:
    with believed_nothing():
        return Finding(Reason(facts["code"]), plain(facts["message"], 400), plain(facts["remedy"], 400),
                       frozenset({"video", "audio"}))


def _refuse(how: str, detail: str = "") -> NoReturn:
    if how == "memory":
        error = refusal(Reason.TOO_LARGE, "Decoding the file needs more memory than Telltale gives to one clip.",
                        "Try a copy of at most 4K (3840 × 2160) with one video and one sound stream.")
    elif how == "stalled":
        error = refusal(Reason.DECODE_FAILED, "Decoding the file took too long and was stopped.",
                        "Try a shorter piece of it, or a copy in another format.")
    else:
        error = refusal(Reason.DECODE_FAILED, "The decoder broke off while it read the file: its data is damaged.",
                        _ANOTHER_COPY)
    raise error from WorkerStopped(how, detail)


# ---- records --------------------------------------------------------------------------------------------------


def write_record(stream: BinaryIO, record: Record, pool: PoolWriter | None = None) -> None:
    place = pool.write(record.arrays) if pool is not None else None
    text = json.dumps([record.kind, record.facts, place]).encode()
    arrays = [np.ascontiguousarray(array) for array in record.arrays] if place is None else []
    _write(stream, _HEAD.pack(len(text), sum(array.nbytes for array in arrays)) + text)
    for array in arrays:
        _write(stream, array.reshape(-1).view(np.uint8))
    stream.flush()


def read_record(stream: BinaryIO, pool: Pool | None = None) -> Record | None:
    """None at the end, and where what comes is not a record."""
    if (head := _fill(stream, bytearray(_HEAD.size))) is None:
        return None
    text_length, data_length = _HEAD.unpack(head)
    if text_length > _LONGEST_JSON or data_length > _LONGEST_DATA:
        return None
    text, data = _fill(stream, bytearray(text_length)), _fill(stream, np.empty(data_length, np.uint8))
    if text is None or data is None:
        return None
    try:
        kind, facts, place = json.loads(text)
        if place is not None:
            data = pool.look(*place)
    except (ValueError, TypeError, RecursionError, AttributeError, struct.error):
        return None
    return Record(kind, facts, (data,)) if isinstance(kind, str) and isinstance(facts, dict) else None


def _write(stream: BinaryIO, data) -> None:
    view = memoryview(data)
    while len(view):
        view = view[stream.write(view):]


def _fill(stream: BinaryIO, buffer):
    """The buffer, full; None where the stream ends before."""
    view = memoryview(buffer)
    while len(view):
        count = stream.readinto(view)
        if not count:
            return None
        view = view[count:]
    return buffer


def split(record: Record, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The arrays of a received record, uint8, as views.

    Raises: ValueError where they do not have these shapes.
    """
    (data,) = record.arrays
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    if not ends or ends[-1] != len(data) or min(itertools.chain(*shapes)) < 1:
        raise ValueError("shapes and bytes do not fit")
    return [data[end - math.prod(shape):end].reshape(shape) for end, shape in zip(ends, shapes)]


# ---- processes ------------------------------------------------------------------------------------------------


class _Worker:
    """The asking end of one worker."""

    def __init__(self) -> None:
        self.ended = False  # it said that it ends
        self._read_to_end = False
        self._to_worker, self._from_worker, self._stop, self._pool = _fork_worker() if FORKS else _start_worker()
        self._records: queue.Queue[Record | None] = queue.Queue(_AHEAD)
        # Reading ahead lets it decode while faces are looked for, and a queue can be waited for with a limit anywhere.
        threading.Thread(target=self._read_ahead, daemon=True).start()

    def ask(self, request: dict) -> None:
        with suppress(OSError):  # a worker that died is noticed by its answer
            write_record(self._to_worker, Record("request", request))

    def _read_ahead(self) -> None:
        record: Record | None = Record("")
        while record is not None:
            with suppress(OSError, ValueError, MemoryError):
                record = None
                record = read_record(self._from_worker, self._pool)
            self._records.put(record)

    def next_record(self, wait_s: float) -> Record | None:
        """None where the worker is gone.

        Raises: queue.Empty after wait_s.
        """
        record = self._records.get(timeout=max(wait_s, 0.0))
        self._read_to_end = record is None
        return record

    def close(self) -> None:
        if not self.ended:
            self._stop()
        with suppress(queue.Empty):  # the reading thread must not wait for a place in the queue for ever
            while not self._read_to_end:
                self.next_record(_DYING_S)
            self._from_worker.close()
            self._to_worker.close()
            if self._pool is not None:
                self._pool.close()


def _ready_worker() -> _Worker:
    """Raises: RuntimeError."""
    for _ in range(2):  # a server may be killed, by a machine without memory for one
        worker = _Worker()
        with suppress(queue.Empty):
            record = worker.next_record(_STARTING_S)
            if record is not None and record.kind == "ready":
                return worker
        worker.close()
    raise RuntimeError("The process that decodes files does not start.")


def _start_worker() -> tuple[BinaryIO, BinaryIO, Callable[[], None], None]:
    process = subprocess.Popen(_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment())
    threading.Thread(target=process.wait, daemon=True).start()  # whoever is not waited for stays as a zombie
    return process.stdin, process.stdout, process.kill, None


def _fork_worker() -> tuple[BinaryIO, BinaryIO, Callable[[], None], Pool | None]:
    ours, theirs = socket.socketpair()
    pool = None
    with suppress(OSError, AttributeError):  # without shared memory everything goes through the socket
        pool = Pool(ours)
    with theirs:
        try:
            server, name = _ask_server([theirs.fileno(), *([] if pool is None else [pool.handle])])
        finally:
            if pool is not None:
                os.close(pool.handle)
    channel = open(ours.detach(), "r+b", buffering=0)  # noqa: SIM115 (closed by its worker)
    return channel, channel, lambda: server.kill(name), pool


class _Server:
    """Asks a process that has the libraries loaded to fork. It ends when nobody holds this any more."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            # A session of its own: Ctrl+C is for the program that asks.
            self._process = subprocess.Popen(_command(str(theirs.fileno())), pass_fds=[theirs.fileno()],
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=_environment(),
                                             start_new_session=True)

    def fork(self, name: str, handles: list[int]) -> None:
        """handles: the channel, and the shared memory where there is some. Raises: OSError where the server is gone."""
        socket.send_fds(self._control, [f"fork {name}".encode()], handles)

    def kill(self, name: str) -> None:
        with suppress(OSError):
            self._control.send(f"kill {name}".encode())

    def peak_mb(self) -> float | None:
        with suppress(OSError):
            self._control.send(b"peak ")
            if reply := self._control.recv(100):
                return float(reply)
        return None

    def close(self) -> None:
        if os.getpid() == self._owner:  # not where this process was forked: its parent still needs the server
            with suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_DYING_S)
        self._control.close()


_server: _Server | None = None
_server_lock = threading.Lock()
_numbers = itertools.count()


def _ask_server(handles: list[int]) -> tuple[_Server, str]:
    global _server
    name = f"{os.getpid()}.{next(_numbers)}"  # its own also in a fork of this process, which shares the server
    with _server_lock:
        if _server is not None:
            try:
                _server.fork(name, handles)
                return _server, name
            except OSError:  # killed while it was idle
                _server.close()
        else:
            atexit.register(_close_server)
        _server = _Server()
        _server.fork(name, handles)
        return _server, name


def _close_server() -> None:
    if _server is not None:
        _server.close()


def _command(*more: str) -> list[str]:
    return [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(Path(__file__).resolve().parent), *more]


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ} | _SET_ENVIRONMENT

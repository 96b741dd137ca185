"""The worker's side of media.isolation: confine this process, read one file, send what was found, end."""

from __future__ import annotations

import gc
import math
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import resource
except ImportError:  # Windows: whoever asks still watches the time
    resource = None

from media.clip import MediaError
from media.decoder import decode_clip, decode_pictures, decode_sound
from media.isolation import Record, read_record, write_record
from media.limits import Limits
from media.pool import PoolWriter
from media.provenance import examine
from media.still import decode_still

# What a worker can be asked for: arguments by name, as JSON, and limits.
TASKS: dict[str, Callable[..., Iterator[Record]]] = {
    "clip": decode_clip,
    "still": decode_still,
    "pictures": decode_pictures,
    "sound": decode_sound,
    "provenance": examine,
}


def serve(control_fd: int) -> None:
    """Forks a worker for each request until nobody can send one any more; this process never touches a file."""
    gc.freeze()  # what is loaded stays: a worker's garbage collection need not copy it
    control = socket.socket(fileno=control_fd)
    workers: dict[str, int] = {}  # name -> process id
    peak_kb = 0
    while True:
        message, handles, _, _ = socket.recv_fds(control, 200, 2)
        action, _, name = message.decode().partition(" ")
        for known, pid in list(workers.items()):
            found, _, used = os.wait4(pid, 0 if action == "peak" else os.WNOHANG)
            if found:  # from now on the number may be another process's
                del workers[known]
                peak_kb = max(peak_kb, used.ru_maxrss)
        if not message:
            break
        if action == "fork":
            with suppress(OSError):  # no process to be had: the channel closes, and that is an answer
                if (pid := os.fork()) == 0:
                    control.close()
                    with open(handles[0], "r+b", buffering=0) as channel:
                        told = socket.socket(fileno=os.dup(handles[0]))
                        shared = [PoolWriter(handle, told) for handle in handles[1:]]
                        _work(channel, channel, *shared)
                    os._exit(0)
                workers[name] = pid
            for handle in handles:
                os.close(handle)
        elif action == "kill" and name in workers:
            os.kill(workers[name], signal.SIGKILL)
        elif action == "peak":
            control.send(str(peak_kb / 1e3).encode())
    for pid in workers.values():
        os.kill(pid, signal.SIGKILL)


def work_once() -> None:
    """One request on standard input, its answer on standard output."""
    with open(os.dup(1), "wb", buffering=0) as answers:
        _work(sys.stdin.buffer, answers)


def _work(requests: BinaryIO, answers: BinaryIO, pool: PoolWriter | None = None) -> None:
    with suppress(OSError):  # nobody listens any more
        write_record(answers, Record("ready"))
        request = read_record(requests)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for said in (1, 2):  # what a library prints is no record, and belongs in no log
            os.dup2(nowhere, said)
        if request is not None:
            write_record(answers, _last_record(request.facts, answers, pool))


def _last_record(request: dict, answers: BinaryIO, pool: PoolWriter | None) -> Record:
    """Works, and says how it ended. Messages of unknown errors stay here: they may quote the file or its name."""
    limits = Limits(**request["limits"])
    confine(limits)
    try:
        for record in TASKS[request["task"]](**request["arguments"], limits=limits):
            write_record(answers, record, pool)
            allow_silence(limits)
        return Record("end")
    except MediaError as error:
        return Record("refused", error.finding.to_json())
    except MemoryError:
        return Record("failed", {"how": "memory"})
    except OSError:
        raise
    except Exception as error:
        return Record("failed", {"how": "crashed", "where": _where(error)})


def confine(limits: Limits) -> None:
    """Sets this process's limits for good."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, this process goes first
    if resource is None:
        return
    _lower("RLIMIT_CORE", 0)  # it would hold the clip
    _lower("RLIMIT_FSIZE", 0)  # writes nothing
    _lower("RLIMIT_CPU", math.ceil(limits.cpu_s))
    allow_silence(limits)
    if taken := _address_space():
        _lower("RLIMIT_AS", taken + limits.memory_bytes)


def allow_silence(limits: Limits) -> None:
    """Until the next call this process may work for patience_cpu_s; then the system ends it, wherever it is."""
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    until_s = math.ceil(min(used.ru_utime + used.ru_stime + limits.patience_cpu_s, limits.cpu_s))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (until_s, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _lower(name: str, value: int) -> None:
    with suppress(AttributeError, ValueError, OSError):  # not every system knows each limit
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _address_space() -> int:
    """Bytes; 0 where the system does not say."""
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return pages * resource.getpagesize()
    return 0


def _where(error: BaseException) -> str:
    """Kind and place of an error of ours, without its words."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f"{Path(last.tb_frame.f_code.co_filename).name}:{last.tb_lineno}" if last is not None else ""
    return f"{type(error).__name__} {place}"

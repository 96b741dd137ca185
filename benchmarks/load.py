"""People at once on the running app: does everybody get the right answer, in turn, told how long it takes?

    python -m benchmarks.load [--users 20] [--requests 200] [--clips CLIP ...] [--detectors all|ID,...]
                              [--kill-worker] [--json]

Starts app.py in a process of its own, with a temporary folder of its own. Each user asks /analyse about one clip after
the other, through gradio_client. Every clip that is sent is a copy with a tag of its own: its bytes are sent by nobody
else and nothing can be taken from a cache, while its scores have to be those that the same clip got when nobody else
was there. An answer about other bytes or with other scores is a wrong one.
Nobody may be answered after somebody who asked when the first was in the queue already. --kill-worker kills the process
that decodes somebody's clip, in the middle of the run: that may cost one answer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import av
import httpx
import numpy as np
import psutil
from gradio_client import Client, handle_file

ROOT = Path(__file__).resolve().parent.parent
DEMOS = ROOT / "assets" / "examples"
STARTING_S = 900.0  # much more than it takes, as a busy machine is nobody's fault
LOOK_S = 0.2  # between two looks at one's place in the queue
AT_ONCE_S = 0.05  # answers that come this close together came at the same time
JUDGED = ("verdict", "score", "reasons", "consensus", "detectors")  # of an answer: what the clip's bytes decide


class RunningApp:
    """app.py in a process of its own. `folder` holds its temporary files and nothing else."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._log = folder.with_name(f"{folder.name}.log")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "app.py", "--no-browser", "--host", "127.0.0.1", "--port", str(port)], cwd=ROOT,
                env={**os.environ, "TMPDIR": str(folder)}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._seen = psutil.Process(self._process.pid)

    def wait_until_it_serves(self) -> None:
        """Raises: RuntimeError with the log, where it does not start."""
        until = time.monotonic() + STARTING_S
        while time.monotonic() < until and self._process.poll() is None:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/config", timeout=30).status_code == 200:
                    return
            time.sleep(0.5)
        raise RuntimeError(f"app.py does not start:\n{self.log()}")

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def memory_mb(self) -> tuple[float, float]:
        """Of the app itself, and of it with the processes that it started. Shared pages count in each."""
        sizes = []
        for process in (self._seen, *self._seen.children(recursive=True)):
            with suppress(psutil.Error):
                sizes.append(process.memory_info().rss / 1e6)
        return sizes[0], sum(sizes)

    def children(self) -> set[int]:
        return {child.pid for child in self._seen.children(recursive=True)}

    def left_files(self, patience_s: float = 20.0) -> list[Path]:
        """Files in its temporary folder, once those of closed sessions have had time to go."""
        until = time.monotonic() + patience_s
        while True:
            left = [p for p in self.folder.rglob("*") if p.is_file()]
            if not left or time.monotonic() > until:
                return left
            time.sleep(0.5)

    def kill(self) -> None:
        """As a crash does: nothing of it can tidy up."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def running_app() -> Iterator[RunningApp]:
    with tempfile.TemporaryDirectory(prefix="telltale-load-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "tmp").mkdir()
        app = RunningApp(Path(folder) / "tmp")
        try:
            app.wait_until_it_serves()
            yield app
        finally:
            app.stop()


@dataclass
class Request:
    """One clip that one user asks about. Times are of the monotonic clock."""

    clip: int  # of the clips that copies are sent of
    sent: float = 0.0
    arrived: float = 0.0  # when it was first seen in the queue, or past it
    answered: float = 0.0
    failure: str = ""  # in words; "": there is an answer
    wrong: bool = False
    waited: bool = False  # was seen in the queue
    told_position: bool = False
    told_estimate: bool = False


@dataclass
class Load:
    """What `users` find who send `requests` clips together."""

    app: RunningApp
    clips: Sequence[Path]
    detectors: list[str] | None  # None: all
    folder: Path  # for the copies
    references: list[dict] = field(default_factory=list)  # judged(answer) of each clip, when nobody else was there
    done: list[Request] = field(default_factory=list)
    memory_mb: list[tuple[float, float]] = field(default_factory=list)  # after each answer

    def __post_init__(self) -> None:
        self._tally = threading.Lock()
        self._sent = 0

    def learn(self) -> None:
        """Asks about each clip once, alone. Raises: RuntimeError where that fails already."""
        client = self._client()
        for clip in self.clips:
            path = self._copy(clip, "reference")
            answer = client.predict(handle_file(str(path)), self.detectors, api_name="/analyse")
            if answer["sha256"] != sha256_of(path):
                raise RuntimeError(f"{clip.name} cannot be judged even alone: {answer.get('error')}")
            self.references.append(judged(answer))
            path.unlink()
        client.close()

    def run(self, users: int, requests: int) -> None:
        people = [threading.Thread(target=self._ask_on, args=(requests,), daemon=True) for _ in range(users)]
        for person in people:
            person.start()
        for person in people:
            person.join()

    def kill_one_worker(self, after: int, patience_s: float = 600.0) -> bool:
        """Kills the first process that the app starts once there are `after` answers, as soon as it is there."""
        idle = self.app.children()
        while len(self.done) < after:
            idle = self.app.children()
            time.sleep(LOOK_S)
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            for pid in self.app.children() - idle:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return True
            time.sleep(0.02)
        return False

    def _client(self) -> Client:
        return Client(self.app.url, verbose=False, analytics_enabled=False)

    def _copy(self, clip: Path, tag: str) -> Path:
        path = self.folder / f"{tag}-{clip.name}"
        write_tagged_copy(clip, path, tag)
        return path

    def _ask_on(self, requests: int) -> None:
        client = self._client()
        while True:
            with self._tally:
                number, self._sent = self._sent, self._sent + 1
            if number >= requests:
                break
            request = Request(number % len(self.clips))
            path = self._copy(self.clips[request.clip], f"copy-{number}")
            self._ask(client, path, request)
            path.unlink()
            with self._tally:
                self.done.append(request)
                self.memory_mb.append(self.app.memory_mb())
        client.close()

    def _ask(self, client: Client, path: Path, request: Request) -> None:
        """Asks, and fills in what came of it."""

        def came(_) -> None:
            request.answered = time.monotonic()

        request.sent = time.monotonic()
        job = client.submit(handle_file(str(path)), self.detectors, api_name="/analyse")
        job.future.add_done_callback(came)
        while not job.done():
            place = job.status()
            if not request.arrived and place.code.name not in ("STARTING", "JOINING_QUEUE", "SENDING_DATA"):
                request.arrived = time.monotonic()
            if place.code.name == "IN_QUEUE":
                request.waited = True
                request.told_position |= place.rank is not None and place.queue_size is not None
                request.told_estimate |= place.eta is not None
            time.sleep(LOOK_S)
        request.arrived = request.arrived or time.monotonic()
        try:
            answer = job.result()
        except Exception as failure:  # whatever it is, this user has no answer
            request.failure = f"{type(failure).__name__}: {failure}"
            return
        if answer.get("error"):
            request.failure = answer["error"]
        else:
            request.wrong = (answer["sha256"], judged(answer)) != (sha256_of(path), self.references[request.clip])


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def judged(answer: dict) -> dict:
    """The part of an answer that has to be the same whenever the same clip is asked about."""
    return {key: answer[key] for key in JUDGED}


def write_tagged_copy(clip: Path, copy: Path, tag: str) -> None:
    """The same packets in a new file of the same kind, with a comment that makes its bytes its own."""
    with av.open(str(clip)) as given, av.open(str(copy), "w") as made:
        made.metadata["comment"] = tag
        streams = {s.index: made.add_stream_from_template(s) for s in (*given.streams.video, *given.streams.audio)}
        for packet in given.demux(*(given.streams[k] for k in streams)):
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)


def overtaken(requests: Sequence[Request]) -> int:
    """How many were answered after somebody who sent a clip when theirs was there already. Those without an answer are
    left out."""
    inside = [r for r in requests if not r.failure]
    return sum(any(r.arrived < other.sent and r.answered > other.answered + AT_ONCE_S for other in inside)
               for r in inside)


def slope(values: Sequence[float]) -> float:
    """Rise per value of the straight line through the last three quarters: the first ones fill caches."""
    steady = np.asarray(values[len(values) // 4:], float)
    return float(np.polyfit(np.arange(len(steady)), steady, 1)[0]) if len(steady) > 1 else 0.0


def figures(load: Load, users: int, killed: bool, seconds: float) -> dict:
    requests = load.done
    waits_s = [r.answered - r.sent for r in requests if not r.failure]
    queued = [r for r in requests if r.waited]
    return {
        "users": users,
        "requests": len(requests),
        "failures": sum(bool(r.failure) for r in requests),
        "wrong_answers": sum(r.wrong for r in requests),
        "overtaken": overtaken(requests),
        "waited": len(queued),
        "told_position": sum(r.told_position for r in queued),
        "told_estimate": sum(r.told_estimate for r in queued),
        "killed_workers": int(killed),
        "p50_s": round(float(np.percentile(waits_s, 50)), 2) if waits_s else None,
        "p95_s": round(float(np.percentile(waits_s, 95)), 2) if waits_s else None,
        "answers_per_min": round(60 * len(requests) / seconds, 2),
        "rss_mb": round(max(whole for _, whole in load.memory_mb)),
        "mb_per_request": round(slope([own for own, _ in load.memory_mb]), 3),
        "left_files": len(load.app.left_files()),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--requests", type=int, default=200, help="of all users together")
    parser.add_argument("--clips", type=Path, nargs="+", help="what copies are sent of (default: the demo clips)")
    parser.add_argument("--detectors", default="all", metavar="ID,...")
    parser.add_argument("--kill-worker", action="store_true", help="kill a decoding process in the middle of the run")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON line, last")
    args = parser.parse_args(argv)
    if args.users < 1 or args.requests < 1:
        parser.error("--users and --requests are at least 1")
    clips = args.clips or sorted([*DEMOS.glob("*.mp4"), *DEMOS.glob("*.ogg")])
    if missing := [str(clip) for clip in clips if not clip.is_file()]:
        parser.error(f"not a file: {', '.join(missing)}")
    detectors = None if args.detectors == "all" else args.detectors.split(",")

    with tempfile.TemporaryDirectory(prefix="telltale-") as folder, running_app() as app:
        load = Load(app, clips, detectors, Path(folder))
        load.learn()
        killed: list[bool] = []
        if args.kill_worker:
            threading.Thread(target=lambda: killed.append(load.kill_one_worker(args.requests // 2)),
                             daemon=True).start()
        begin = time.monotonic()
        load.run(args.users, args.requests)
        seconds = time.monotonic() - begin
        found = figures(load, args.users, any(killed), seconds)
    for key, value in found.items():
        print(f"{key:16} {value}")
    for failure in sorted({r.failure for r in load.done if r.failure}):
        print(f"a failure: {failure}")
    if args.json:
        print(json.dumps(found))
    bad = found["failures"] > found["killed_workers"] or found["wrong_answers"] or found["overtaken"]
    return 1 if bad or found["left_files"] else 0


if __name__ == "__main__":
    sys.exit(main())

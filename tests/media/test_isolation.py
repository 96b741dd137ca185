"""A file that crashes, hangs or bloats its reader costs one answer with a reason; the next one is served."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
import time
from collections import deque

import numpy as np
import pytest

from media import Limits, MediaError, Reason, forget, isolation, prepare
from media.isolation import Record, WorkerStopped, read, read_one, read_record
from media.pool import BYTES, Pool, PoolWriter

# Tasks that do what a decoder does when a file has taken it over, or broken it.
PLANTED = """
import os, tempfile, time
import numpy as np

def work_on(limits):
    for _ in range(3):
        begin = time.process_time()
        while time.process_time() - begin < 0.6:
            pass
        yield Record("done")

def abort(limits):
    yield Record("pid", {"pid": os.getpid()})
    os.abort()

def exit_early(limits):
    os._exit(0)
    yield

def spin(limits):
    yield Record("pid", {"pid": os.getpid()})
    while True:
        pass

def drip(limits):
    while True:
        yield Record("drop")
        time.sleep(0.02)

def bloat(limits):
    held = []
    while True:
        held.append(b"x" * 10_000_000)
        yield Record("held", {"mb": 10 * len(held)})

def bloat_in_numpy(limits):
    yield Record("held", {"mb": np.ones(10**9).nbytes})

def lie(limits):
    yield Record("picture", {"first": 0, "count": 1, "size_px": [64, 48], "bt709": False, "full_range": False,
                             "scale": 1.0}, (np.zeros(10, np.uint8),))

def refuse_in_html(limits):
    raise MediaError(Finding(Reason.DECODE_FAILED, "<script>alert(1)</script>" + "x" * 9999, "{{7*7}}"))
    yield

def fail(limits):
    raise RuntimeError("a secret of the file")
    yield

def write(limits):
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 100_000)
        file.flush()
    yield Record("written")

def environment(limits):
    yield Record("environment", {"names": sorted(os.environ)})

def chatter(limits):
    print("a library says something", flush=True)
    os.write(1, b"and again")
    yield Record("chatter", {}, (np.arange(5, dtype=np.uint8),))

def pictures(limits, count):
    for number in range(count):
        planes = np.full((1000, 1600), number % 251, np.uint8), np.full(7, number % 13, np.uint8)
        yield Record("picture", {"number": number}, (planes[0][:, :1500], planes[1]))

def echo(limits, size, text):
    yield Record("echo", {"text": text}, (np.arange(size, dtype=np.uint32), np.ones((2, 3), np.uint8)[:, ::2]))

from media import worker
from media.clip import Finding, MediaError, Reason
from media.isolation import Record
worker.TASKS.update({name: task for name, task in globals().items() if callable(task)})
"""


@pytest.fixture(scope="module", autouse=True)
def planted():
    """A server of its own for these tests, whose workers know the tasks above too."""
    with pytest.MonkeyPatch.context() as patch:
        before, after = isolation._PROGRAM.split("from media.worker import serve, work_once\n")
        patch.setattr(isolation, "_PROGRAM",
                      f"{before}{PLANTED}\nfrom media.worker import serve, work_once\n{after}")
        patch.setattr(isolation, "_server", None)
        yield
        isolation._close_server()


@pytest.fixture(params=["forked", "fresh"])
def either_way(request, monkeypatch):
    if request.param == "forked" and not isolation.FORKS:
        pytest.skip("no forking here")
    monkeypatch.setattr(isolation, "FORKS", request.param == "forked")


def refused(task: str, limits: Limits = Limits(), **arguments) -> tuple[MediaError, list[Record]]:  # noqa: B008
    records = []
    with pytest.raises(MediaError) as error:
        for record in read(task, arguments, limits):
            records.append(record)
    return error.value, records


def answers() -> bool:
    return read_one("echo", {"size": 3, "text": "still here"}, Limits()).facts["text"] == "still here"


def is_gone(pid: int) -> bool:
    """Within a few seconds: killing takes a moment."""
    for _ in range(100):
        answers()  # a server looks after its dead when it is asked for something
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_facts_and_arrays_arrive_as_they_were_sent(either_way):
    text = "речь 🎤 \n\0 " + "x" * 70_000
    record = read_one("echo", {"size": 300_000, "text": text}, Limits())
    assert record.kind == "echo" and record.facts == {"text": text}
    [data] = record.arrays
    assert (data[:1_200_000].view(np.uint32) == np.arange(300_000)).all()
    assert data[1_200_000:].tolist() == [1, 1, 1, 1]  # of every second column


def numbers_in(record: Record) -> tuple[int, int, int]:
    """What it is called, and what its two arrays are full of; -1 where they are mixed."""
    data = record.arrays[0]
    parts = data[:1_500_000], data[1_500_000:]
    assert len(parts[1]) == 7
    return record.facts["number"], *(int(p[0]) if (p == p[0]).all() else -1 for p in parts)


@pytest.mark.parametrize("kept", [2, 90])
def test_pictures_that_somebody_still_has_are_not_written_over(either_way, kept):
    """There are 40 places: of 90 that are kept, 50 come through the socket. A view is enough to keep a picture."""
    held: deque[Record] = deque(maxlen=kept)
    for number, record in enumerate(read("pictures", {"count": 160}, Limits())):
        assert numbers_in(record) == (number, number % 251, number % 13)
        held.append(Record("", record.facts, (record.arrays[0][:],)))
    assert [numbers_in(record)[0] for record in held] == list(range(160 - kept, 160))
    assert all(-1 not in numbers_in(record) for record in held)


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is shared elsewhere")
def test_where_a_picture_is_said_to_lie_is_not_believed():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pool = Pool(ours)
        with pytest.raises(OSError):  # sealed: a worker cannot take it away from who reads
            os.ftruncate(pool.handle, 0)
        PoolWriter(pool.handle, theirs).write([np.full(BYTES, 7, np.uint8)])
        os.close(pool.handle)
        sent = io.BytesIO()
        for place in ([0, BYTES - 5, 5], [0, BYTES - 5, 6], [0, -1, 5], [0, 5, -1], [-1, 0, 5], [0, 0.5, 5], [0, 5],
                      ["0", 0, 5], 5, "abc", [2**40, 0, 5]):
            text = json.dumps(["picture", {}, place]).encode()
            sent.write(isolation._HEAD.pack(len(text), 0) + text)
        sent.seek(0)
        good, *bad = (read_record(sent, pool) for _ in range(11))
        assert good.arrays[0].tolist() == [7] * 5 and bad == [None] * 10
        pool.close()


def test_what_a_library_prints_is_no_record(either_way):
    assert read_one("chatter", {}, Limits()).arrays[0].tolist() == [0, 1, 2, 3, 4]


def test_a_crash_costs_one_answer():
    error, records = refused("abort")
    assert error.finding.reason is Reason.DECODE_FAILED and "broke off" in error.finding.message
    assert isinstance(error.__cause__, WorkerStopped) and error.__cause__.how == "crashed"
    assert [r.kind for r in records] == ["pid"] and is_gone(records[0].facts["pid"]) and answers()


def test_an_end_without_an_answer_is_a_crash(either_way):
    error, _ = refused("exit_early")
    assert error.__cause__.how == "crashed" and answers()


def test_a_hang_ends_after_the_patience_and_leaves_no_process():
    begin = time.monotonic()
    error, records = refused("spin", Limits(patience_s=0.5))
    assert time.monotonic() - begin < 30
    assert error.finding.reason is Reason.DECODE_FAILED and "took too long" in error.finding.message
    assert error.__cause__.how == "stalled" and is_gone(records[0].facts["pid"]) and answers()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of processor time there")
@pytest.mark.parametrize("limits", [Limits(patience_cpu_s=0.5), Limits(cpu_s=1.0)])
def test_a_hang_ends_with_its_processor_time_however_busy_the_machine(limits):
    error, records = refused("spin", limits)
    assert error.__cause__.how == "crashed" and is_gone(records[0].facts["pid"])


def test_who_shows_signs_of_life_may_work_longer():
    assert len(list(read("work_on", {}, Limits(patience_cpu_s=1.0)))) == 3  # 1.8 s of work in all


def test_who_drips_is_stopped_after_the_whole_time():
    error, records = refused("drip", Limits(patience_s=30.0, decode_s=0.5))
    assert records and error.__cause__.how == "stalled" and answers()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
@pytest.mark.parametrize("task", ["bloat", "bloat_in_numpy"])
def test_memory_is_limited(task):
    error, records = refused(task, Limits(memory_bytes=100_000_000))
    assert error.finding.reason is Reason.TOO_LARGE and "more memory" in error.finding.message
    assert error.__cause__.how == "memory"
    assert all(r.facts["mb"] <= 110 for r in records) and isolation.peak_mb() < 250 and answers()


def test_nothing_can_be_written(either_way):
    if sys.platform == "win32":
        pytest.skip("no limit of file sizes there")
    error, records = refused("write")
    assert not records and error.__cause__.how == "crashed"


def test_no_secret_of_the_environment_is_handed_on(monkeypatch, either_way):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(isolation, "_server", None)
    names = read_one("environment", {}, Limits()).facts["names"]
    isolation._close_server()
    assert "HF_TOKEN" not in names and set(names) <= {*isolation._KEPT_ENVIRONMENT, *isolation._SET_ENVIRONMENT,
                                                      "LC_CTYPE", "__CF_USER_TEXT_ENCODING"}


def test_words_of_a_worker_are_made_harmless_and_those_of_errors_stay_with_it():
    error, _ = refused("refuse_in_html")
    assert not set(str(error)) & set("<>{}") and len(error.finding.message) <= 400
    error, _ = refused("fail")
    assert "secret" not in f"{error} {error.__cause__}" and "RuntimeError" in str(error.__cause__)


def test_a_picture_that_does_not_fit_its_bytes_is_a_crash(talking_clip, monkeypatch, tmp_path):
    monkeypatch.setattr(isolation, "read", lambda task, arguments, limits: read("lie", {}, limits))
    path = tmp_path / "clip.mp4"
    path.write_bytes(talking_clip.read_bytes()[:5000])
    with pytest.raises(MediaError) as error:
        prepare(path)
    assert error.value.finding.reason is Reason.DECODE_FAILED and error.value.__cause__.how == "crashed"


@pytest.mark.parametrize("bytes_sent", [b"", b"\x01", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[1",
                                        b"\x04\0\0\0\x05\0\0\0null", b"\x06\0\0\0\x05\0\0\0[\"\",1]abcde"])
def test_what_is_no_record_is_the_end(bytes_sent):
    assert read_record(io.BytesIO(bytes_sent)) is None


def test_a_server_that_was_killed_is_started_again():
    if not isolation.FORKS:
        pytest.skip("no server here")
    assert answers()
    killed = isolation._server._process
    killed.kill()
    killed.wait()
    assert answers() and isolation._server._process.pid != killed.pid


def test_a_worker_that_cannot_start_is_not_the_file_s_fault(monkeypatch, talking_clip):
    monkeypatch.setattr(isolation, "_PROGRAM", "import nowhere_to_be_found")
    monkeypatch.setattr(isolation, "_server", None)
    with pytest.raises(RuntimeError, match="does not start"):
        read_one("clip", {"path": str(talking_clip)}, Limits())
    isolation._close_server()


def test_several_at_once_do_not_mix(examples_dir):
    """A crash among them, too."""
    found: dict[int, object] = {}

    def look(number: int) -> None:
        try:
            found[number] = read_one("echo", {"size": 1000 + number, "text": str(number)}, Limits()) if number % 3 \
                else refused("abort")[0]
        except BaseException as error:  # a thread would swallow it
            found[number] = error

    threads = [threading.Thread(target=look, args=(k,)) for k in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, got in found.items():
        if number % 3:
            assert got.facts == {"text": str(number)} and len(got.arrays[0]) == 4 * (1000 + number) + 4
        else:
            assert got.__cause__.how == "crashed"


def test_no_open_file_or_thread_is_left():
    answers()
    files, threads = len(os.listdir("/dev/fd")), threading.active_count()
    for task in ("abort", "exit_early", "fail"):
        refused(task)
    answers()
    for _ in range(100):
        if threading.active_count() <= threads:
            break
        time.sleep(0.02)
    assert len(os.listdir("/dev/fd")) <= files and threading.active_count() <= threads


def test_whoever_loses_interest_stops_the_worker():
    records = read("spin", {}, Limits())
    pid = next(records).facts["pid"]
    records.close()
    assert is_gone(pid)


def test_a_clip_is_read_the_same_way_fresh_as_forked(examples_dir, monkeypatch):
    found = []
    for forks in {isolation.FORKS, False}:
        monkeypatch.setattr(isolation, "FORKS", forks)
        forget()
        clip = prepare(examples_dir / "speech_only.ogg")
        found.append((clip.waveform.tobytes(), json.dumps(clip.info.metadata), clip.info.duration_s))
    assert len(set(found)) == 1

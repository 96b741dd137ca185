"""What anybody may send: other files, other routes, arguments of any kind. The answer is a sentence, no traceback."""

from __future__ import annotations

import asyncio
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio.utils import get_hash_seed
from gradio_client import Client, handle_file

from media import Limits, isolation
from ui import gate, texts
from ui.gate import HEADERS, LONGEST_CALL, LONGEST_UPLOAD, Gate, names_address
from ui.holds import Holds

SECRET = "my-secret-7391"
FILE = {"path": f"/etc/{SECRET}", "meta": {"_type": "gradio.FileData"}}
# What no page sends: arguments, and an event's own data.
ARGUMENTS = [
    (SECRET, {"demo": SECRET, "entry": SECRET, "column": SECRET, "label": SECRET, "start_s": SECRET, "time": SECRET}),
    (FILE, {"demo": 10**9, "entry": 10**9, "column": [SECRET], "label": 3, "start_s": [], "time": 1e300}),
]


@pytest.fixture(scope="module")
def api(served_app) -> str:
    return f"{served_app[0]}/gradio_api"


def upload(api: str, name: str, data: bytes) -> httpx.Response:
    return httpx.post(f"{api}/upload", files={"files": (name, data)}, timeout=60)


def ask(api: str, number: int, data: list, event_data: object, queued: bool) -> str:
    """Calls the endpoint as the page does, and returns all that comes back."""
    body = {"fn_index": number, "data": data, "event_data": event_data, "session_hash": "garbage"}
    if not queued:
        return httpx.post(f"{api}/run/predict", json=body, timeout=60).text
    httpx.post(f"{api}/queue/join", json=body, timeout=60)
    return httpx.get(f"{api}/queue/data", params={"session_hash": "garbage"}, timeout=60).text


def test_every_endpoint_answers_garbage_in_words_and_logs_none_of_it(api, served_app, capfd, caplog):
    endpoints = {number: fn for number, fn in served_app[1].fns.items() if fn.fn and fn.api_visibility == "private"}
    assert len(endpoints) > 30
    for number, fn in endpoints.items():
        for argument, event_data in ARGUMENTS:
            told = ask(api, number, [argument] * len(fn.inputs), event_data, queued=fn.queue)
            assert "Traceback" not in told and "Internal Server Error" not in told
    logged = "".join(capfd.readouterr()) + caplog.text
    assert SECRET not in logged and "Traceback" not in logged
    assert httpx.post(f"{api}/call/list_detectors", json={"data": []}).status_code == 200


@pytest.mark.parametrize("session", [None, "", "a:b", "x" * 65])
def test_a_page_s_endpoint_needs_a_session_of_its_own(api, served_app, session):
    number = next(n for n, fn in served_app[1].fns.items() if fn.api_name == "refresh")
    answer = httpx.post(f"{api}/run/predict", json={"fn_index": number, "data": [], "session_hash": session})
    assert answer.status_code == 500 and answer.json()["error"] == texts.NO_SESSION


@pytest.mark.parametrize("path", [
    "/etc/hostname", "app.py", "assets/checkpoints/ss_avd.safetensors", "../../../../etc/hostname", "{folder}",
    "{folder}/../{work}/left.mp4", "{folder}/../../", "http://127.0.0.1:1/clip.mp4", "https://example.org/clip.mp4",
    "file:///etc/hostname", "a%00b",
])
def test_no_other_file_is_served(api, served_app, path):
    folder = served_app[1].holds.folder
    (folder.parent / "work" / "left.mp4").write_bytes(b"a copy")
    answer = httpx.get(f"{api}/file={path.format(folder=folder, work='work')}")
    assert answer.status_code in (403, 404) and b"a copy" not in answer.content


def test_an_upload_is_served_as_data_never_as_a_page(api, served_app):
    (path,) = upload(api, "page.html", b"<script>xe=1</script>").json()
    answer = httpx.get(f"{api}/file={path}")
    assert answer.status_code == 200 and answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    Path(path).unlink()


def test_where_an_upload_lies_cannot_be_worked_out_from_its_bytes(api):
    """Whoever can name it may use it, and a report tells the hash of the clip and its name."""
    (path,) = upload(api, "clip.mp4", b"known bytes").json()
    for known in (b"", get_hash_seed().encode()):  # the second lies in Gradio's own folder, in every copy of an image
        assert hashlib.sha256(known + b"known bytes").hexdigest() not in path
    Path(path).unlink()


def test_a_file_that_is_slow_to_decode_does_not_hold_the_queue_as_long_as_elsewhere(served_app, tmp_path, monkeypatch):
    asked = []

    def stall(task, arguments, limits, patience_s=None):
        asked.append(limits)
        isolation._refuse("stalled")

    monkeypatch.setattr(isolation, "read", stall)
    clip = tmp_path / "slow.mp4"
    clip.write_bytes(b"a clip of its own")
    client = Client(served_app[0], verbose=False, analytics_enabled=False)
    answer = client.predict(handle_file(str(clip)), api_name="/analyse")
    assert answer["reasons"] == ["DECODE_FAILED"] and "took too long" in answer["error"]
    assert asked[0].decode_s == 240 < Limits().decode_s and asked[0].duration_s == Limits().duration_s


@pytest.mark.parametrize(("method", "route"), [
    ("POST", "process_recording"), ("POST", "component_server"), ("GET", "proxy=https://example.org/"),
    ("GET", "stream/a/b/1/playlist.m3u8"), ("POST", "vibe-edit"), ("GET", "deep_link"), ("GET", "dev/reload"),
    ("GET", "run-history/records"), ("GET", "file/etc/hostname"), ("POST", "api/analyse"), ("GET", ""),
])
def test_routes_that_are_not_used_are_shut(api, method, route):
    answer = httpx.request(method, f"{api}/{route}")
    assert answer.status_code == 404 and answer.json()["detail"] == texts.NO_ROUTE


def test_what_is_too_large_is_refused_in_words(api, served_app, monkeypatch):
    long = httpx.post(f"{api}/call/analyse", json={"data": ["x" * LONGEST_CALL]})
    assert (long.status_code, long.json()["detail"]) == (413, texts.CALL_TOO_LONG)
    unknown = httpx.post(f"{api}/upload", content=iter([b"a", b"b"]))
    assert (unknown.status_code, unknown.text) == (411, texts.NO_LENGTH)
    monkeypatch.setattr(gate, "LONGEST_UPLOAD", 1000)
    assert (upload(api, "a.mp4", bytes(2000)).text, LONGEST_UPLOAD) == (texts.UPLOAD_TOO_LONG, 2_000_000_000)
    monkeypatch.setattr(gate, "LONGEST_UPLOAD", LONGEST_UPLOAD)
    monkeypatch.setattr(gate, "SPARE_BYTES", 10**18)
    full = upload(api, "a.mp4", bytes(2000))
    assert (full.status_code, full.text) == (507, texts.NO_ROOM)
    monkeypatch.undo()
    monkeypatch.setattr(served_app[1], "max_file_size", 1000)
    big = upload(api, "a.mp4", bytes(2000))
    assert big.status_code == 413 and "maximum allowed size" in big.text
    assert not [p for p in served_app[1].holds.folder.rglob("*") if p.is_file()], "nothing of them is left"


def test_nobody_overtakes_the_queue_and_a_full_one_says_so(api, served_app, monkeypatch, tmp_path):
    assert httpx.post(f"{api}/run/analyse", json={"data": [FILE, None]}).status_code == 404
    monkeypatch.setattr(served_app[1]._queue, "max_size", 0)
    answer = httpx.post(f"{api}/call/analyse", json={"data": [FILE, None]})
    assert (answer.status_code, answer.json()["detail"]) == (503, texts.QUEUE_FULL)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no clip")
    with pytest.raises(Exception, match="Queue is full"):
        Client(served_app[0], verbose=False, analytics_enabled=False).predict(
            handle_file(str(clip)), api_name="/analyse")
    served_app[1].holds.sweep(kept_s=-1)


def test_contents_of_a_session_leave_the_memory(api, served_app, tmp_path):
    blocks = served_app[1]
    number = next(n for n, fn in blocks.fns.items() if fn.api_name == "refresh")
    ask(api, number, [], None, queued=False)
    known = blocks.state_holder.session_data
    assert "garbage" in known
    event = httpx.post(f"{api}/call/list_detectors", json={"data": []}).json()["event_id"]
    assert "event: complete" in httpx.get(f"{api}/call/list_detectors/{event}").text
    assert event not in known, "a typed call leaves nothing"
    blocks.drop_old_sessions(kept_s=60)
    assert "garbage" in known
    blocks.drop_old_sessions(kept_s=-1)
    assert "garbage" not in known and "garbage" not in blocks._queue.pending_messages_per_session


@pytest.mark.parametrize(("value", "names"), [
    ({"path": "http://host/a.mp4"}, True), ([{"video": {"path": "HTTPS://host"}}], True),
    ({"a": ({"path": "ftp://x"},)}, True), ({"path": "/tmp/a.mp4"}, False), (["http://host"], False),
    ({"path": 3}, False), (None, False),
])
def test_files_by_address_are_found_anywhere_in_the_arguments(value, names):
    assert names_address(value) is names


def through_gate(server, tmp_path, path="/config") -> list[dict]:
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    with ThreadPoolExecutor(1) as own_thread:  # the browser of other tests may have a loop running in this one
        own_thread.submit(asyncio.run, Gate(server, Holds(tmp_path))(scope, None, send)).result()
    return sent


def test_a_fault_is_a_sentence_and_the_log_has_its_kind_alone(tmp_path, caplog):
    async def server(scope, receive, send):
        raise FileNotFoundError(f"{SECRET}.mp4")

    start, body = through_gate(server, tmp_path)
    assert start["status"] == 500 and json.loads(body["body"])["error"] == texts.NOT_TAKEN
    assert "FileNotFoundError" in caplog.text and SECRET not in caplog.text


def test_every_answer_forbids_other_hosts(tmp_path):
    async def server(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Referrer-Policy", b"unsafe-url")]})
        await send({"type": "http.response.body", "body": b""})

    headers = through_gate(server, tmp_path)[0]["headers"]
    assert headers == HEADERS
    assert b"connect-src 'self' data: blob:" in dict(headers)[b"content-security-policy"]

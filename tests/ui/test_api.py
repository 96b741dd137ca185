"""The endpoints /analyse, /explain and /list_detectors, called as people call them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from detectors import analyse, available
from explain import usual_methods
from ui import api, texts
from ui.api import chosen, describe, uploaded_path
from ui.explaining import Question, Told

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def client(served_app):
    return Client(served_app[0], verbose=False, analytics_enabled=False)


def kept(served_app) -> list:
    return [p for p in served_app[1].holds.folder.rglob("*") if p.is_file()]


def untimed(result: dict) -> dict:
    return {k: v for k, v in result.items() if k not in ("timings_s", "memory")}


def test_same_object_as_the_core_call_and_nothing_stays(client, served_app, talking_clip):
    answer = client.predict(handle_file(str(talking_clip)), api_name="/analyse")
    assert untimed(answer) == untimed(analyse(str(talking_clip)))
    assert kept(served_app) == []


def test_empty_choice_means_all_detectors(client, talking_clip):
    answer = client.predict(handle_file(str(talking_clip)), [], api_name="/analyse")
    assert set(answer["detectors"]) == set(available())


def test_unknown_detector_lists_the_choices_and_the_file_goes(client, served_app, talking_clip):
    with pytest.raises(AppError, match="Unknown detector: nobody. Choose from: .*ss_avd"):
        client.predict(handle_file(str(talking_clip)), ["nobody"], api_name="/analyse")
    assert kept(served_app) == []


def test_unreadable_file_is_an_answer(client, served_app, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a clip at all" * 100)
    answer = client.predict(handle_file(str(broken)), api_name="/analyse")
    assert answer["verdict"] == "CANNOT_EVALUATE" and answer["error"] and answer["score"] is None
    assert kept(served_app) == []


@pytest.mark.parametrize("file", [
    *({"path": path, "meta": {"_type": "gradio.FileData"}}
      for path in ("/etc/hostname", "http://127.0.0.1:1/clip.mp4", "")),
    "/etc/hostname", ["/etc/hostname"], 3, None,
])
def test_only_uploaded_files_are_read(served_app, file):
    body = {"data": [file, None]}
    address = f"{served_app[0]}/gradio_api/call/analyse"
    event = httpx.post(address, json=body).json()["event_id"]
    answer = httpx.get(f"{address}/{event}", timeout=60).text
    hostname = Path("/etc/hostname").read_text().strip() if Path("/etc/hostname").is_file() else ""
    assert "event: error" in answer and not (hostname and hostname in answer)


def test_these_endpoints_are_the_only_public_ones_and_say_what_they_take(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert list(endpoints) == ["/analyse", "/explain", "/list_detectors"]
    assert [p["parameter_name"] for p in endpoints["/analyse"]["parameters"]] == ["file", "detectors"]
    assert [p["parameter_name"] for p in endpoints["/explain"]["parameters"]] == [
        "file", "detector", "start_s", "end_s", "moment_s", "head", "replacement"]
    assert endpoints["/list_detectors"]["parameters"] == []
    schema = httpx.get(f"{client.src.rstrip('/')}/gradio_api/openapi.json", timeout=60).text
    assert "Look for signs of manipulation in one clip" in schema
    assert "Explain why a detector says what it says" in schema


def test_the_detectors_are_listed_with_what_they_are_worth(client):
    listed = client.predict(api_name="/list_detectors")
    assert listed == json.loads(json.dumps(describe(available()))) and [d["id"] for d in listed] == list(available())
    for detector in listed:
        assert re.fullmatch("sha256:[0-9a-f]{64}", detector["checkpoint"])
        assert set(detector["sees"]) <= {"video", "audio"} and detector["sees"]


def test_a_card_without_figures_is_listed_too():
    (bare,) = describe({"nobody": {}})
    assert bare["id"] == bare["name"] == "nobody"
    assert bare["measured"] is bare["checkpoint"] is bare["thresholds"] is None and bare["sees"] == []


@pytest.fixture
def told(monkeypatch) -> list:
    """What /explain asks for; the answer is made up."""
    asked = []

    def tell(path, question, **given):
        asked.append((Path(path).read_bytes(), question, given))
        yield Told({"share": 1, "complete": False})
        yield Told({"share": 1, "complete": True})

    monkeypatch.setattr(api, "tell", tell)
    return asked


def test_explaining_takes_a_span_or_a_moment_and_nothing_stays(client, served_app, talking_clip, told):
    file = handle_file(str(talking_clip))
    answer = client.predict(file, "ss_avd", 2.0, 4.5, head="video", replacement="mean", api_name="/explain")
    assert answer == {"share": 1, "complete": True}
    client.predict(file, "joint_av", moment_s=3, api_name="/explain")
    clip = talking_clip.read_bytes()
    assert told == [(clip, Question("ss_avd", 2.0, 4.5, "video", None, "mean"), {"pictured": False}),
                    (clip, Question("joint_av", 3.0, 3.0, None, None, "blur"), {"pictured": False})]
    assert kept(served_app) == []


@pytest.mark.parametrize(("arguments", "says"), [
    ({"detector": "nobody", "moment_s": 1}, "Unknown detector: nobody. Choose from: .*ss_avd"),
    ({"detector": "ss_avd"}, "start_s and end_s, or moment_s"),
    ({"detector": "ss_avd", "start_s": 3, "end_s": 2}, "the start before the end"),
    ({"detector": "ss_avd", "moment_s": 1, "head": "lips"}, "video, audio, sync, whole"),
    ({"detector": "ss_avd", "moment_s": 1, "replacement": "black"}, "blur, mean, neutral"),
])
def test_bad_wishes_are_refused_in_words_and_the_file_goes(client, served_app, talking_clip, told, arguments, says):
    with pytest.raises(AppError, match=says):
        client.predict(handle_file(str(talking_clip)), **arguments, api_name="/explain")
    assert told == [] and kept(served_app) == []


def test_what_cannot_be_explained_is_an_error_in_words(client, served_app, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a clip at all" * 100)
    with pytest.raises(AppError, match="file"):
        client.predict(handle_file(str(broken)), "joint_av", moment_s=1, api_name="/explain")
    assert kept(served_app) == []


def test_explaining_reads_uploaded_files_only(served_app, told):
    body = {"data": [{"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}, "ss_avd", None, None, 1.0]}
    address = f"{served_app[0]}/gradio_api/call/explain"
    event = httpx.post(address, json=body).json()["event_id"]
    assert "event: error" in httpx.get(f"{address}/{event}", timeout=60).text and told == []


CARDS = {"one": {}, "two": {}}


@pytest.mark.parametrize(("given", "run"), [
    (None, ["one", "two"]), ([], ["one", "two"]), (["two"], ["two"]), (["two", "two"], ["two"]),
])
def test_choices_of_detectors(given, run):
    assert chosen(given, CARDS) == run


@pytest.mark.parametrize("given", ["one", 3, {"one": 1}, [["one"]], [None], ["one", 2], True])
def test_what_is_no_list_of_ids_is_refused_with_the_choices(given):
    with pytest.raises(gr.Error, match="Choose from: one, two."):
        chosen(given, CARDS)


def test_unknown_ids_are_told_shortened():
    with pytest.raises(gr.Error) as refusal:
        chosen(["x" * 10_000, *(str(k) for k in range(100))], CARDS)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("file", [None, "", "/etc/hostname", ["/etc/hostname"], {}, {"path": None}, {"path": 3},
                                  {"path": "a\0b"}, {"url": "http://x"}])
def test_only_a_file_object_has_a_path(file):
    assert uploaded_path(file) is None


def test_the_call_in_the_readme_works_as_printed(served_app):
    code = re.search(r"```python\n(from gradio_client.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    code = code.replace("http://127.0.0.1:7860", served_app[0])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    verdict, score = done.stdout.split()[-2:]
    assert verdict in texts.VERDICTS and 0 <= float(score) <= 1


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")
def test_the_curl_lines_in_the_readme_work_as_printed(served_app):
    lines = re.search(r"```bash\n(APP=.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    lines = lines.replace("http://127.0.0.1:7860", served_app[0])
    done = subprocess.run(["bash", "-c", lines], cwd=ROOT, capture_output=True, text=True, timeout=240)
    event, data = done.stdout.strip().splitlines()[-2:]
    assert event == "event: complete", done.stdout + done.stderr
    (answer,) = json.loads(data.removeprefix("data: "))
    assert answer["verdict"] in texts.VERDICTS and list(answer["detectors"]) == ["ss_avd"]
    assert kept(served_app) == []


def test_the_explanation_in_the_readme_works_as_printed(client, monkeypatch, capsys):
    code = re.search(r"```python\n(told = .*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    monkeypatch.chdir(ROOT)
    exec(code, {"client": client, "handle_file": handle_file})
    share, *tests = capsys.readouterr().out.strip().splitlines()
    assert {"face", "lips", "audio"} == set(json.loads(share.replace("'", '"')))
    assert [test.split()[0] for test in tests] == list(usual_methods(available()["joint_av"]))
    assert all(re.match(r"\w+ (passed|failed) \S", test) for test in tests)


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="needs curl and bash")
def test_the_curl_lines_that_explain_work_as_printed(served_app, told):
    upload, explain = re.findall(r"```bash\n((?:APP|ASK)=.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "\n".join([*upload.splitlines()[:2], explain]).replace("http://127.0.0.1:7860", served_app[0])
    done = subprocess.run(["bash", "-c", lines], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip().splitlines()[-2:] == ["event: complete", 'data: [{"share": 1, "complete": true}]'], done
    assert [question for _, question, _ in told] == [Question("joint_av", 4.0, 4.0)] and kept(served_app) == []

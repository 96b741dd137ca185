"""The endpoint /analyse, called as people call it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from detectors import analyse, available
from ui import texts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def client(served_app):
    return Client(served_app[0], verbose=False, analytics_enabled=False)


def kept(served_app) -> list:
    return [p for p in served_app[1].holds.folder.rglob("*") if p.is_file()]


def untimed(result: dict) -> dict:
    return {k: v for k, v in result.items() if k != "timings_s"}


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


@pytest.mark.parametrize("path", ["/etc/hostname", "http://127.0.0.1:1/clip.mp4", ""])
def test_only_uploaded_files_are_read(served_app, path):
    body = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}, None]}
    address = f"{served_app[0]}/gradio_api/call/analyse"
    event = httpx.post(address, json=body).json()["event_id"]
    answer = httpx.get(f"{address}/{event}", timeout=60).text
    assert "event: error" in answer and "hostname" not in answer.replace(path, "")


def test_the_endpoint_is_the_only_public_one(client):
    assert list(client.view_api(return_format="dict", print_info=False)["named_endpoints"]) == ["/analyse"]


def test_the_call_in_the_readme_works_as_printed(served_app):
    code = re.search(r"```python\n(from gradio_client.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    code = code.replace("http://127.0.0.1:7860", served_app[0])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    verdict, score = done.stdout.split()[-2:]
    assert verdict in texts.VERDICTS and 0 <= float(score) <= 1

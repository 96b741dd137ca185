"""Nothing of a clip outlives its session, nor a crash: a look at the disk, and at the log."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import weakref
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file

from benchmarks.load import running_app
from media import forget_gone, prepare
from ui import texts
from ui.batch import Histories
from ui.explaining import Kept, Question, Told

ROOT = Path(__file__).resolve().parents[2]
NAME, CONTENT = "my-secret-name-7391", b"my secret content 7391 "
SWEEP = "from ui.holds import private_folder; private_folder()"  # what app.py does first


def files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file()]


@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform != "linux", reason="locks on folders")
def test_nothing_stays_on_the_disk_or_in_the_log(tmp_path):
    clip = tmp_path / f"{NAME}.mp4"
    clip.write_bytes(CONTENT * 50)
    with running_app() as app:
        client = Client(app.url, verbose=False, analytics_enabled=False)
        answer = client.predict(handle_file(str(clip)), api_name="/analyse")
        assert answer["clip"] == clip.name and answer["error"]
        client.close()
        assert app.left_files() == []

        (upload,) = httpx.post(f"{app.url}/gradio_api/upload", files={"files": (clip.name, clip.read_bytes())}).json()
        gone = {"path": str(Path(upload).with_name(f"{NAME}-gone.mp4")), "meta": {"_type": "gradio.FileData"}}
        for endpoint in ("hold", "work", "analyse"):  # the log would hear of what cannot be opened
            event = httpx.post(f"{app.url}/gradio_api/call/{endpoint}", json={"data": [gone] * 2}).json()
            if "event_id" in event:
                httpx.get(f"{app.url}/gradio_api/call/{endpoint}/{event['event_id']}", timeout=60)

        assert [p.name for p in files(app.folder)] == [clip.name], "it waits for somebody to claim it"
        environment = {**os.environ, "TMPDIR": str(app.folder)}
        subprocess.run([sys.executable, "-c", SWEEP], cwd=ROOT, env=environment, check=True)
        assert files(app.folder), "another start leaves the folder of a living app alone"
        app.kill()
        assert files(app.folder), "a crash leaves it"
        subprocess.run([sys.executable, "-c", SWEEP], cwd=ROOT, env=environment, check=True)
        assert files(app.folder) == [], "the next start does not"
        log = app.log()
    assert "Telltale is at" in log
    assert NAME not in log and "my secret" not in log and "Traceback" not in log


def test_a_clip_that_was_prepared_while_its_file_went_is_forgotten(make_clip):
    path = make_clip(None, 0.1 * np.sin(np.arange(16_000) * 0.06).astype(np.float32))
    data, first = path.read_bytes(), prepare(path)
    forget_gone()
    assert prepare(path).waveform is first.waveform, "its file is there: it is kept"
    path.unlink()
    forget_gone()
    path.write_bytes(data)
    assert prepare(path).waveform is not first.waveform


def test_answers_of_an_idle_session_go_and_those_that_are_awaited_stay():
    histories = Histories()
    histories.of("idle").add("a.mp4", answer={"clip": "a.mp4"})
    waits = histories.of("busy").add("b.mp4", "b.mp4")
    histories.drop_idle(kept_s=60)
    assert histories.of("idle").entries
    histories.drop_idle(kept_s=-1)
    assert not histories.of("idle").entries and histories.of("busy").entries == [waits]


def test_an_old_explanation_leaves_the_memory_without_being_asked_for():
    kept, told = Kept(kept_s=0.01), Told(refusal="There is no face.")
    seen = weakref.ref(told)
    kept.put("session", "ab", Question("ss_avd", 1.0, 1.0), told)
    del told
    time.sleep(0.05)
    assert seen() is not None
    kept.forget_old()
    assert seen() is None


def test_the_page_promises_it():
    assert "deleted" in texts.PRIVACY and "at the latest after 30 minutes" in texts.PRIVACY
    assert "No log holds its content or name" in texts.PRIVACY

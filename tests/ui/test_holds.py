"""Uploaded files go when nobody needs them, and not before."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from ui.holds import PREFIX, Holds, UploadWatch, private_folder


@pytest.fixture
def upload(tmp_path):
    path = tmp_path / "hash" / "clip.mp4"
    path.parent.mkdir()
    path.write_bytes(b"clip")
    return path


def test_file_goes_with_its_last_holder(tmp_path, upload):
    holds = Holds(tmp_path)
    holds.uploaded(upload)
    holds.claim("a", upload)
    holds.claim("b", upload)
    holds.release("a")
    assert upload.exists()
    holds.release("b")
    assert not upload.exists() and not upload.parent.exists()


def test_second_upload_of_the_same_bytes_outlives_the_first_call(tmp_path, upload):
    holds = Holds(tmp_path)
    holds.uploaded(upload)
    holds.uploaded(upload)  # somebody else sends the same clip, and waits in the queue
    holds.claim("first", upload)
    holds.release("first")
    assert upload.exists()
    holds.claim("second", upload)
    holds.release("second")
    assert not upload.exists()


@pytest.mark.parametrize("sent", [None, {}, {"path": None}, {"path": "/etc/hostname"}, {"path": "missing.mp4"},
                                  {"path": 3}, {"path": "a\0b"}, {"path": "a" * 9000}, "x", ["x"], 3])
def test_what_is_no_upload_of_ours_is_not_claimed(tmp_path, sent):
    assert Holds(tmp_path).claim_upload("a", sent) is None


def test_a_claimed_upload_goes_with_its_session(tmp_path, upload):
    holds = Holds(tmp_path)
    assert holds.claim_upload("a", {"path": str(upload)}) == str(upload) and upload.exists()
    holds.release("a")
    assert not upload.exists()


def test_demo_clips_are_never_deleted(tmp_path, upload):
    folder = tmp_path / "uploads"
    folder.mkdir()
    holds = Holds(folder)
    holds.claim("a", upload)
    holds.release("a")
    assert upload.exists()


def test_only_files_inside_the_folder_are_owned(tmp_path, upload):
    holds = Holds(upload.parent)
    outside = tmp_path / "secret.mp4"
    outside.write_bytes(b"x")
    link = upload.parent / "link.mp4"
    link.symlink_to(outside)
    assert holds.owns(upload)
    for path in (outside, upload.parent / ".." / "secret.mp4", link, upload.parent, "", "http://host/clip.mp4"):
        assert not holds.owns(path)


def test_the_server_tells_of_each_upload(tmp_path, upload):
    async def server(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps([str(upload)]).encode()})

    async def send(message):
        pass

    holds = Holds(tmp_path)
    watch = UploadWatch(server, holds)
    with ThreadPoolExecutor(1) as own_thread:  # the browser of other tests may have a loop running in this one
        for _ in range(2):
            call = watch({"type": "http", "path": "/gradio_api/upload"}, None, send)
            own_thread.submit(asyncio.run, call).result()
    holds.claim("first", upload)
    holds.release("first")
    assert upload.exists(), "the second upload still waits"


def test_folder_of_a_killed_process_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, other = tmp_path / f"{PREFIX}dead", tmp_path / "telltale-notes"
    (dead / "uploads").mkdir(parents=True)
    other.mkdir()
    mine = private_folder()
    assert not dead.exists() and other.exists()
    private_folder()
    assert (mine / "uploads").is_dir() and (mine / "work").is_dir(), "the folder of a living process stays"


def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "letter.txt").write_text("x")
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    private_folder()
    assert (elsewhere / "letter.txt").exists()


def test_a_sweep_takes_what_is_old_whoever_holds_it(tmp_path, upload):
    gone = []
    holds = Holds(tmp_path, on_delete=gone.append)
    broken_off = tmp_path / "tmp_upload"  # no name, no claim: the connection was lost
    broken_off.write_bytes(b"half a clip")
    holds.claim("a", upload)
    holds.sweep(kept_s=60)
    assert upload.exists() and broken_off.exists() and gone == []
    holds.sweep(kept_s=-1)
    assert not upload.exists() and not upload.parent.exists() and not broken_off.exists()
    assert set(gone) == {upload, broken_off}
    holds.release("a")


def test_one_chore_that_fails_leaves_the_others_and_no_name_in_the_log(tmp_path, caplog):
    done = []

    def fails() -> None:
        raise PermissionError("my-secret.mp4")

    holds = Holds(tmp_path)
    holds.chores += [fails, lambda: done.append(1)]
    holds.tidy()
    assert done == [1] and "PermissionError" in caplog.text and "my-secret" not in caplog.text


def test_what_was_made_from_a_file_goes_with_it(tmp_path):
    gone = []
    holds = Holds(tmp_path, on_delete=gone.append)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    holds.claim("a", path)
    holds.claim("b", path)
    holds.release("a")
    assert gone == [] and path.exists()
    holds.release("b")
    assert gone == [path.resolve()] and not path.exists()

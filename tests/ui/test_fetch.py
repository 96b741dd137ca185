"""Files given by an address: no more of one is read than of an upload, for no longer, and from public hosts alone."""

from __future__ import annotations

import asyncio
import gzip
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio import processing_utils

from ui import fetch, texts
from ui.fetch import LimitedTransport, limit_fetching

MOST_BYTES = 1000


@pytest.fixture
def host(monkeypatch):
    """Gradio's own way of fetching, limited, from a host that does what the test plants."""
    monkeypatch.setattr(processing_utils, "async_transport", None)
    monkeypatch.setattr(processing_utils, "MAX_REDIRECTS", 20)
    limit_fetching(MOST_BYTES)

    def plant(answer) -> None:
        async def ask(request):
            return await httpx.MockTransport(answer).handle_async_request(request)

        monkeypatch.setattr(fetch, "_ask", ask)

    return plant


def fetched(folder: Path, address: str = "https://example.org/clip.mp4") -> bytes:
    with ThreadPoolExecutor(1) as own_thread:  # the browser of other tests may have a loop running in this one
        work = processing_utils.async_ssrf_protected_download(address, str(folder))
        return Path(own_thread.submit(asyncio.run, work).result()).read_bytes()


def test_a_file_within_the_limit_arrives(host, tmp_path):
    host(lambda request: httpx.Response(200, content=b"x" * MOST_BYTES))
    assert fetched(tmp_path) == b"x" * MOST_BYTES


def test_a_larger_one_is_refused_in_words_as_soon_as_it_is_too_large(host, tmp_path):
    sent = []

    async def endless():
        while True:
            sent.append(100)
            yield b"x" * 100

    host(lambda request: httpx.Response(200, content=endless()))
    with pytest.raises(gr.Error) as refusal:
        fetched(tmp_path)
    assert refusal.value.message == texts.FETCH_TOO_LONG and sum(sent) == MOST_BYTES + 100
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_what_is_packed_is_not_unpacked(host, tmp_path):
    """A megabyte of zeros in a kilobyte; it was asked for unpacked."""
    packed, asked = gzip.compress(bytes(900_000)), []

    def answer(request):
        asked.append(request.headers["accept-encoding"])
        return httpx.Response(200, stream=httpx.ByteStream(packed), headers={"Content-Encoding": "gzip"})

    host(answer)
    assert len(packed) < MOST_BYTES and fetched(tmp_path) == packed and asked == ["identity"]


@pytest.mark.parametrize("slow_head", [True, False])
def test_a_slow_one_is_given_up(host, tmp_path, monkeypatch, slow_head):
    async def drip():
        while True:
            await asyncio.sleep(0.02)
            yield b""

    async def answer(request):
        if slow_head:
            await asyncio.sleep(60)
        return httpx.Response(200, content=drip())

    host(answer)
    monkeypatch.setattr(processing_utils, "async_transport", LimitedTransport(MOST_BYTES, most_s=0.2))
    with pytest.raises(gr.Error) as refusal:
        fetched(tmp_path)
    assert refusal.value.message == texts.FETCH_TOO_LONG


def test_redirects_end(host, tmp_path):
    asked = []

    def answer(request):
        asked.append(request.url)
        return httpx.Response(302, headers={"Location": f"/{len(asked)}"})

    host(answer)
    with pytest.raises(Exception, match="redirects"):
        fetched(tmp_path)
    assert len(asked) == fetch.MOST_REDIRECTS + 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/clip.mp4", "http://[::1]/clip.mp4", "http://10.0.0.1/clip.mp4"])
def test_a_host_that_is_not_public_is_not_asked(monkeypatch, tmp_path, address):
    monkeypatch.setattr(processing_utils, "async_transport", LimitedTransport(MOST_BYTES))

    async def unknown(hostname):  # safehttpx would ask a public name service next
        return []

    monkeypatch.setattr("safehttpx.async_resolve_hostname_google", unknown)
    with pytest.raises(ValueError, match="failed validation"):
        fetched(tmp_path, address)

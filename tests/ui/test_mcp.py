"""app.py --mcp: the typed endpoints as tools of the Model Context Protocol. Skipped without requirements-mcp.txt."""

from __future__ import annotations

import ast
import asyncio
import base64
from importlib.util import find_spec

import numpy as np
import pytest
from gradio import processing_utils

import app
from detectors import available
from ui.fetch import LimitedTransport

needs_mcp = pytest.mark.skipif(find_spec("mcp") is None, reason="needs pip install -r requirements-mcp.txt")


def test_without_the_extra_the_option_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        app.main(["--mcp"])
    assert stopped.value.code == 2 and "pip install -r requirements-mcp.txt" in capsys.readouterr().err


@pytest.fixture(scope="module")
def served():
    """Address and blocks."""
    blocks = app.create_app()
    yield app.launch(blocks, "127.0.0.1", None, mcp=True), blocks
    blocks.close(verbose=False)


@pytest.fixture
def address(served):
    return served[0]


async def in_session(address: str, work):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async with (streamablehttp_client(f"{address}/gradio_api/mcp/") as (read, write, _),
                ClientSession(read, write) as session):
        await session.initialize()
        return await work(session)


@needs_mcp
def test_the_public_endpoints_are_the_tools_and_their_docstrings_the_schema(address):
    tools = {t.name: t for t in asyncio.run(in_session(address, lambda session: session.list_tools())).tools}
    assert set(tools) == {"analyse", "explain", "list_detectors"}
    analyse = tools["analyse"]
    assert "Look for signs of manipulation in one clip" in analyse.description
    assert set(analyse.inputSchema["properties"]) == {"file", "detectors"}
    assert {"type": "array", "items": {"type": "string"}} in analyse.inputSchema["properties"]["detectors"]["oneOf"]
    assert analyse.inputSchema["required"] == ["file"]
    assert tools["explain"].inputSchema["required"] == ["file", "detector"]
    assert "ids of the detectors to run" in analyse.inputSchema["properties"]["detectors"]["description"]
    assert tools["list_detectors"].inputSchema.get("properties", {}) == {}


@needs_mcp
def test_a_tool_answers(address):
    answer = asyncio.run(in_session(address, lambda session: session.call_tool("list_detectors", {})))
    assert not answer.isError
    listed = ast.literal_eval(answer.content[0].text)
    assert [d["id"] for d in listed] == list(available())


@needs_mcp
def test_a_file_in_the_call_s_text_is_judged_and_does_not_stay(served, make_clip):
    address, blocks = served
    sound = make_clip(None, np.zeros(16_000, np.float32), "silence.mp4").read_bytes()
    given = {"file": f"data:video/mp4;base64,{base64.b64encode(sound).decode()}", "detectors": ["ss_avd"]}
    answer = asyncio.run(in_session(address, lambda session: session.call_tool("analyse", given)))
    told = ast.literal_eval(answer.content[0].text)
    assert told["verdict"] == "CANNOT_EVALUATE" and "SILENT" in told["reasons"]
    left = [p for p in blocks.holds.folder.rglob("*") if p.is_file()]
    assert {p.relative_to(blocks.holds.folder).parts[0] for p in left} <= {"inline"}
    blocks.holds.sweep(kept_s=-1)
    assert not [p for p in left if p.exists()]


@needs_mcp
@pytest.mark.parametrize("path", ["/etc/hostname", "README.md", "http://127.0.0.1:1/clip.mp4"])
def test_a_tool_reads_no_file_of_the_server_and_no_address_beside_it(address, path):
    answer = asyncio.run(in_session(address, lambda session: session.call_tool("analyse", {"file": path})))
    assert answer.isError and "sha256" not in answer.content[0].text


@needs_mcp
def test_what_a_tool_fetches_has_the_limit_of_an_upload(served):
    transport = processing_utils.async_transport
    assert isinstance(transport, LimitedTransport) and transport._most_bytes == served[1].max_file_size

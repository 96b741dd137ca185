"""The Analyse panel's own events: an answer stays only as long as the clip that it is about."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from tests.strict_html import Page
from ui import analyse, demos, texts
from ui.batch import Histories
from ui.holds import Holds

SKIP = gr.skip()


@pytest.fixture
def panel(tmp_path, cards):
    """The panel inside a page of its own: its handlers by name, what they are wired to, and a visitor."""
    with gr.Blocks() as blocks:
        analyse.analyse_panel(cards, Holds(tmp_path), Histories())
    wired = [f for f in blocks.fns.values() if getattr(f.fn, "__module__", None) == analyse.__name__]
    handlers = {f.fn.__name__: f for f in wired}
    return SimpleNamespace(handlers=handlers, wired=wired, blocks=blocks, visitor=SimpleNamespace(session_hash="s"),
                           call={name: f.fn for name, f in handlers.items()})


def shown_by(panel, name: str, values: list) -> dict[str, object]:
    """What a handler gives to the components that have an id."""
    return {c.elem_id: v for c, v in zip(panel.handlers[name].outputs, values) if getattr(c, "elem_id", None)}


def hold(panel, video=None, audio=None, picture=None, kind="video", about=None) -> list:
    return panel.call["hold"](video, audio, picture, kind, about, "s:1", panel.visitor)


@pytest.mark.parametrize(("now", "answered"), [
    ({"video": "b.mp4"}, "a.mp4"), ({"audio": "b.ogg", "kind": "audio"}, "a.mp4"), ({}, "a.mp4"),
    ({"video": "a.mp4", "picture": "b.png", "kind": "picture"}, "a.mp4"),
])
def test_another_clip_takes_the_answer_and_what_runs_with_it(panel, now, answered, monkeypatch):
    stopped = []
    monkeypatch.setattr(analyse.Runs, "stop", lambda self, ticket: stopped.append(ticket))
    given = shown_by(panel, "hold", hold(panel, **now, about=answered))
    assert texts.PENDING in Page(given["verdict"]).words and given["evidence"].visible is False
    assert given["player"] == given["timeline"] == given["download"] == given["status"] == ""
    assert given["probe-panel"].visible is given["why"].visible is False and stopped == ["s:1"]


def test_the_same_clip_and_a_first_one_change_nothing(panel):
    assert all(v == SKIP for v in hold(panel, video="a.mp4", about="a.mp4"))
    assert all(v == SKIP for v in hold(panel, video="a.mp4")), "nothing was asked yet: the welcome stays"
    assert all(v == SKIP for v in hold(panel, video="a.mp4", audio="b.ogg", about="a.mp4")), "the tab in front counts"


def test_a_demo_that_is_picked_keeps_its_own_words(panel):
    path = demos.read_demos()[0]["path"]
    given = shown_by(panel, "hold", hold(panel, video=path, about="a.mp4"))
    assert given["status"] == SKIP and texts.PENDING in given["verdict"]


def test_every_way_to_another_clip_and_the_end_of_a_run_look_after_the_answer(panel):
    """The run that ends may have been about a clip that is gone by then."""
    events = [(getattr(panel.blocks.blocks.get(target), "elem_id", None), event)
              for f in panel.wired if f.fn.__name__ == "hold" for target, event in f.targets]
    assert {("clip", "change"), ("sound", "change")} <= set(events)
    assert [event for name, event in events if name is None].count("change") == 2, "the picture's path and the tab"
    assert any(event == "then" for _, event in events)


def test_a_run_notes_what_it_is_about(panel):
    about, ticket, *_ = panel.call["begin"]("a.mp4", "b.ogg", None, "audio", "", panel.visitor)
    assert about == "b.ogg" and ticket.startswith("s:")


def test_a_refused_kind_of_file_is_told_without_media_types(panel):
    assert texts.WRONG_KIND in "".join(str(b.value) for b in panel.blocks.blocks.values() if isinstance(b, gr.HTML))
    assert "Invalid file type" in analyse.PREVIEW_JS

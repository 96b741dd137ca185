"""The browser app: assembles the panels of ui/ and launches. Entry point of a Hugging Face Space too."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from gradio import mcp as gradio_mcp
from gradio import processing_utils
from starlette.middleware import Middleware

from detectors import GUESTS, GuestError, available, known_id
from media import Limits, forget_file, forget_gone, set_default_limits
from ui import batch, texts, waiting
from ui import detectors as detectors_tab
from ui.analyse import INFERENCE, LIGHT, analyse_panel
from ui.api import add_endpoints
from ui.demos import FOLDER as DEMO_FOLDER
from ui.fetch import limit_fetching
from ui.gate import Gate, GuardedBlocks
from ui.holds import KEPT_S, Holds, UploadWatch, keep_temporary_files_in, old_files, private_folder
from ui.markup import escape
from ui.scoring import load_ahead
from ui.theme import CSS_FILE, theme

ON_SPACES = "SPACE_ID" in os.environ
MOST_WAITING = 40  # for an analysis; at ten seconds each, the last one waits for seven minutes
DECODE_SHARE = 0.4  # of the longest clip's duration: how long the queue waits for a decoder; 720p takes a tenth of it
MOST_SESSIONS = 200  # whose pages' contents Gradio keeps in memory


def create_app(folder: Path | None = None) -> GuardedBlocks:
    """The whole app, not launched. Its `holds` know which uploads somebody still needs.

    folder: of this process alone (ui.holds.private_folder); one is made where none is given.
    """
    folder = folder or private_folder()
    uploads = os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")  # before any component reads it
    # An upload's folder is named by this and its bytes. Whoever can name it may use the file: Gradio does not tell
    # whose it is, so nobody else may work the name out, from the hash in a report either.
    processing_utils.hash_seed = secrets.token_bytes(32)
    gr.set_static_paths([DEMO_FOLDER])  # demo clips are served where they lie, not copied
    holds = Holds(uploads, on_delete=forget_file)
    set_default_limits(Limits(decode_s=DECODE_SHARE * Limits.duration_s))
    cards = available()
    load_ahead(list(cards))
    with GuardedBlocks(title=texts.TITLE, fill_width=True) as app:
        gr.HTML(
            f'<header class="tt-header"><h1>{escape(texts.TITLE)}</h1><p>{escape(texts.TAGLINE)}</p></header>'
        )
        histories = batch.Histories()
        with gr.Tabs(elem_id="pages"):
            with gr.Tab(texts.TAB_ANALYSE):
                analyse_panel(cards, holds, histories)
            with gr.Tab(batch.TAB, id="many") as many:
                batch.build(cards, holds, histories, many, **INFERENCE)
            with gr.Tab(detectors_tab.TAB):
                detectors_tab.build(cards)
        waiting.build(app, INFERENCE["concurrency_id"], **LIGHT)
        add_endpoints(cards, holds, **INFERENCE)
    # Calls of what is queued go through the queue: nobody overtakes by asking directly.
    app.queue(max_size=MOST_WAITING, default_concurrency_limit=1, api_open=False)
    app.holds = holds

    def forget_old_work() -> None:
        for path in old_files(folder / "work", KEPT_S):
            path.unlink(missing_ok=True)

    holds.chores += [forget_gone, forget_old_work, histories.drop_idle, app.drop_old_sessions]
    holds.keep_tidying()
    return app


def launch(app: GuardedBlocks, host: str, port: int | None, browser: bool = False, mcp: bool = False) -> str:
    """Serves the app, with the settings that keep people's clips theirs, and returns its address. mcp: its typed
    endpoints are tools of the Model Context Protocol too, at /gradio_api/mcp/."""
    if mcp:  # a file inside a call's own text is written to a folder first: to one that is swept
        gradio_mcp.DEFAULT_TEMP_DIR = str(app.holds.folder / "inline")
    _, url, _ = app.launch(
        server_name=host,
        server_port=port,
        inbrowser=browser,
        prevent_thread_lock=True,
        quiet=True,
        theme=theme(),
        css_paths=[CSS_FILE, *(CSS_FILE.with_name(f"{panel}.css") for panel in ("compare", "batch", "explain"))],
        max_file_size="100mb",
        enable_monitoring=False,
        strict_cors=True,
        show_error=False,
        run_history=False,
        ssr_mode=False,
        footer_links=["api"],
        allowed_paths=[str(DEMO_FOLDER)],
        mcp_server=mcp,
        state_session_capacity=MOST_SESSIONS,
        app_kwargs={"middleware": [Middleware(Gate, holds=app.holds, inline=mcp),
                                   Middleware(UploadWatch, holds=app.holds)]},
    )
    if mcp:
        limit_fetching(app.max_file_size)
        app.fetches = True
    return url.rstrip("/")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="app.py", description="Telltale in the browser.")
    parser.add_argument("--host", default="0.0.0.0" if ON_SPACES else "127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--detectors", default="", metavar="package.module:Class",
                        help="detectors of your own to add, with commas (docs/your-own-detector.md)")
    parser.add_argument("--mcp", action="store_true", help="also serve the endpoints as MCP tools")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    args = parser.parse_args(argv)
    if args.mcp and find_spec("mcp") is None:
        parser.error("--mcp needs an extra: pip install -r requirements-mcp.txt")
    try:
        for reference in filter(None, (name.strip() for name in args.detectors.split(","))):
            known_id(reference)
    except (GuestError, KeyError) as error:
        parser.error(str(error.args[0]))
    for reference, problem in GUESTS.problems.items():
        print(f"app.py: left out: {reference}: {problem}", file=sys.stderr)
    if not available():
        print(
            "app.py: no detector has its weights. Restore assets/checkpoints, or train with python -m training.train",
            file=sys.stderr,
        )
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an orderly exit deletes the uploads
    folder = private_folder()
    keep_temporary_files_in(folder / "work")
    app = create_app(folder)
    try:
        url = launch(app, args.host, args.port, browser=not (args.no_browser or ON_SPACES), mcp=args.mcp)
    except OSError as error:
        sentence = f"port {args.port} is taken; choose another with --port" if args.port else str(error)
        print(f"app.py: {sentence}", file=sys.stderr)
        return 1
    print(f"Telltale is at {url} (Ctrl+C stops it)", flush=True)
    if args.mcp:
        print(f"MCP tools are at {url}/gradio_api/mcp/", flush=True)
    app.block_thread()
    return 0


def __getattr__(name: str):
    """`demo`, which `gradio app.py` looks for, is built only when somebody asks for it."""
    if name == "demo":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    sys.exit(main())

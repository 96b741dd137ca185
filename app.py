"""The browser app: assembles the panels of ui/ and launches. Entry point of a Hugging Face Space too."""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache

import gradio as gr
from starlette.middleware import Middleware

from detectors import available
from ui import texts
from ui.analyse import INFERENCE, analyse_panel
from ui.api import add_endpoint
from ui.demos import FOLDER as DEMO_FOLDER
from ui.holds import Holds, UploadWatch
from ui.markup import escape
from ui.theme import CSS_FILE, theme

ON_SPACES = "SPACE_ID" in os.environ


@lru_cache(maxsize=1)
def _upload_folder() -> str:
    """A folder of this process alone, for uploads; gone when the process ends."""
    folder = tempfile.mkdtemp(prefix="telltale-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def create_app() -> gr.Blocks:
    """The whole app, not launched."""
    os.environ["GRADIO_TEMP_DIR"] = _upload_folder()  # before any component reads it
    gr.set_static_paths([DEMO_FOLDER])  # demo clips are served where they lie, not copied
    holds = Holds(_upload_folder())
    cards = available()
    with gr.Blocks(title=texts.TITLE, fill_width=True, delete_cache=(600, 1800)) as app:
        gr.HTML(
            f'<header class="tt-header"><h1>{escape(texts.TITLE)}</h1><p>{escape(texts.TAGLINE)}</p></header>'
        )
        analyse_panel(cards, holds)
        add_endpoint(cards, holds, **INFERENCE)
    app.queue(max_size=20, default_concurrency_limit=1)
    app.holds = holds
    return app


def launch(app: gr.Blocks, host: str, port: int | None, browser: bool = False, block: bool = True):
    """Serves the app with the settings that keep people's clips theirs."""
    return app.launch(
        server_name=host,
        server_port=port,
        inbrowser=browser,
        prevent_thread_lock=not block,
        theme=theme(),
        css_paths=CSS_FILE,
        max_file_size="100mb",
        enable_monitoring=False,
        strict_cors=True,
        show_error=False,
        run_history=False,
        ssr_mode=False,
        footer_links=["api"],
        allowed_paths=[str(DEMO_FOLDER)],
        app_kwargs={"middleware": [Middleware(UploadWatch, holds=app.holds)]},
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="app.py", description="Telltale in the browser.")
    parser.add_argument("--host", default="0.0.0.0" if ON_SPACES else "127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    args = parser.parse_args(argv)
    launch(create_app(), args.host, args.port, browser=not (args.no_browser or ON_SPACES))
    return 0


def __getattr__(name: str):
    """`demo`, which `gradio app.py` looks for, is built only when somebody asks for it."""
    if name == "demo":
        return create_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    sys.exit(main())

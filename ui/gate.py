"""What anybody may send to the app, and what they get back for anything else: a sentence, no traceback.

Every handler of a Gradio app is an endpoint that takes arbitrary arguments, hidden or not. Gradio checks types and
paths; what gets through all the same, and what it would tell the log about it, ends here.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time

import gradio as gr

from ui import texts
from ui.holds import KEPT_S, Holds
from ui.markup import escape
from ui.scoring import log_fault

API = "/gradio_api/"
# Of Gradio's routes below API, those that the page and its clients use. Others write files, run ffmpeg on what is
# sent, or fetch addresses.
USED = {"app_id", "call", "cancel", "config", "file=", "heartbeat", "info", "mcp", "openapi.json", "queue", "reset",
        "run", "startup-events", "theme.css", "upload", "upload_progress"}
LONGEST_CALL = 1_000_000  # bytes of a call's arguments; files are uploaded before
LONGEST_INLINE_CALL = 140_000_000  # with MCP, a file may stand in the call itself
LONGEST_UPLOAD = 2_000_000_000  # 20 files of 100 MB
SPARE_BYTES = 1_000_000_000  # of the disk, that uploads leave free
SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")  # no colon: what a session holds is named after it (ui/batch.py)

# Should a text become markup all the same, it can reach no other host: nothing is loaded from there, or sent there.
POLICY = "; ".join((
    "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",  # Gradio needs these
    "style-src 'self' 'unsafe-inline'", "img-src 'self' data: blob:", "media-src 'self' data: blob:",
    "font-src 'self' data:", "connect-src 'self' data: blob:", "worker-src 'self' blob:", "object-src 'none'",
    "base-uri 'self'", "form-action 'self'",
))
HEADERS = [(b"content-security-policy", POLICY.encode()), (b"x-content-type-options", b"nosniff"),
           (b"referrer-policy", b"same-origin")]


class GuardedBlocks(gr.Blocks):
    """gr.Blocks whose calls are checked before they are read, end in words, and leave nothing in memory."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.fetches = False  # whether a typed call may give a file by its address: app.py --mcp
        self._seen: dict[str, float] = {}  # session -> when it last called
        self._seen_lock = threading.Lock()

    async def process_api(self, block_fn, inputs, **call):
        """As gr.Blocks. Raises: gr.Error in a sentence."""
        block_fn = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        session = call.get("session_hash")
        typed = block_fn.api_visibility == "public"
        closes = any(trigger == "unload" for _, trigger in block_fn.targets)
        try:
            self._check(inputs, session, typed)
            return await super().process_api(block_fn, inputs, **call)
        except gr.Error as refusal:
            refusal.print_exception = False  # its message may quote what was sent
            if not typed:  # the page shows it as HTML
                refusal.message = escape(refusal.message)
            raise
        except Exception as fault:
            log_fault(fault)
            raise gr.Error(texts.NOT_TAKEN, print_exception=False) from None
        finally:
            # Gradio would keep the page's contents, answers included, of the last 10,000 sessions. A typed call has
            # no use for them, and each one may come as a session of its own.
            if typed or closes:
                self._drop_contents(session)

    def _check(self, inputs: list, session: str | None, typed: bool) -> None:
        if not typed and not session:  # calls without one would share one
            raise gr.Error(texts.NO_SESSION)
        if session:
            if not SESSION.fullmatch(session):
                raise gr.Error(texts.NO_SESSION)
            with self._seen_lock:
                self._seen[session] = time.monotonic()
        if not (self.fetches and typed) and names_address(inputs):
            raise gr.Error(texts.FOREIGN_FILE)

    def drop_old_sessions(self, kept_s: float = KEPT_S) -> None:
        """Forgets the contents of pages that nobody has used for so long, and answers that nobody has fetched."""
        now = time.monotonic()
        busy = {event.session_hash for event in list(self._queue.event_ids_to_events.values())}
        with self._seen_lock:
            old = [s for s, at in self._seen.items() if now - at > kept_s and s not in busy]
            for session in old:
                del self._seen[session]
        for session in old:
            self._drop_contents(session)
            self._queue.pending_messages_per_session.pop(session, None)
        for names in self.temp_file_sets:  # Gradio's own lists of uploads, which it only ever makes longer
            names.clear()

    def _drop_contents(self, session: str | None) -> None:
        self.state_holder.session_data.pop(session, None)
        self.state_holder.time_last_used.pop(session, None)


def names_address(value: object) -> bool:
    """True where a file anywhere in a call's arguments is given by an address, which Gradio would fetch."""
    if isinstance(value, dict):
        path = value.get("path")
        return (isinstance(path, str) and "://" in path) or any(names_address(v) for v in value.values())
    return isinstance(value, (list, tuple)) and any(names_address(v) for v in value)


class Gate:
    """ASGI middleware: routes that are not used are shut, what is too large is not read, the page can talk to no other
    host, and a fault is a sentence, in the log its kind and place."""

    def __init__(self, app, holds: Holds, inline: bool = False):
        """inline: files may stand in a call itself."""
        self.app = app
        self.holds = holds
        self._longest_call = LONGEST_INLINE_CALL if inline else LONGEST_CALL
        self._coming = 0  # bytes of uploads under way

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = full = False

        async def sealed(message):
            nonlocal began, full
            if full:
                return
            if message["type"] == "http.response.start":
                began = True
                if message["status"] == 503 and not scope["path"].endswith("/upload"):
                    full = True  # Gradio tells numbers here
                    return await _answer(send, 503, texts.QUEUE_FULL, plain=False)
                own = {name for name, _ in HEADERS}
                kept = [(k, v) for k, v in message.get("headers", []) if k.lower() not in own]
                message = {**message, "headers": [*kept, *HEADERS]}
            await send(message)

        size = _length(scope)
        uploads = scope["path"].endswith("/upload")
        if (refusal := self._refusal(scope, size)) is not None:
            return await _answer(sealed, *refusal, plain=uploads)
        coming = size or 0 if uploads else 0
        self._coming += coming
        try:
            await self.app(scope, receive, sealed)
        except asyncio.CancelledError:
            raise
        except Exception as fault:
            log_fault(fault)
            if not began:
                await _answer(sealed, 500, texts.NOT_TAKEN, plain=uploads)
        finally:
            self._coming -= coming

    def _refusal(self, scope: dict, size: int | None) -> tuple[int, str] | None:
        """Status and sentence for a request that is not let in."""
        path = scope["path"]
        if API in path:
            route = path.split(API, 1)[1]
            name = "file=" if route.startswith("file=") else route.split("/", 1)[0]
            if name not in USED or route.startswith(("file=http:", "file=https:")):
                return 404, texts.NO_ROUTE
        if scope["method"] not in ("POST", "PUT", "PATCH"):
            return None
        if size is None:
            return 411, texts.NO_LENGTH
        if not path.endswith("/upload"):
            return (413, texts.CALL_TOO_LONG) if size > self._longest_call else None
        if size > LONGEST_UPLOAD:
            return 413, texts.UPLOAD_TOO_LONG
        free = shutil.disk_usage(self.holds.folder).free
        return (507, texts.NO_ROOM) if free - self._coming - size < SPARE_BYTES else None


def _length(scope: dict) -> int | None:
    """Bytes of the body, as its header says; the server reads no more. None where it does not say."""
    stated = dict(scope["headers"]).get(b"content-length", b"")
    return int(stated) if stated.isdigit() else None


async def _answer(send, status: int, sentence: str, plain: bool) -> None:
    """The page shows the text of an upload's refusal as it comes, and `detail` or `error` of a call's."""
    body = sentence if plain else json.dumps({"detail": sentence, "error": sentence})
    kind = b"text/plain; charset=utf-8" if plain else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body.encode())).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})

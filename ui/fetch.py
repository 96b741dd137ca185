"""Files that a call gives by an address (app.py --mcp): from public hosts alone, and within the limits of an upload.

Gradio reads what it fetches into memory, whatever its size and however slowly it comes. It asks through the transport
that limit_fetching sets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import gradio as gr
import httpx
from gradio import processing_utils
from safehttpx import AsyncSecureTransport, async_validate_url

from ui import texts

FETCH_S = 60.0  # for one answer of a host: the call that waits for it holds up the queue
MOST_REDIRECTS = 3  # each is an answer too


def limit_fetching(most_bytes: int) -> None:
    """From now on this process fetches no larger file."""
    processing_utils.async_transport = LimitedTransport(most_bytes)
    processing_utils.MAX_REDIRECTS = MOST_REDIRECTS


class LimitedTransport(httpx.AsyncBaseTransport):
    """As safehttpx's own, which goes to public addresses alone, with an end to size and time."""

    def __init__(self, most_bytes: int, most_s: float = FETCH_S):
        self._most_bytes, self._most_s = most_bytes, most_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises: ValueError for a host that is not public; gr.Error in a sentence, also while the body is read."""
        until = time.monotonic() + self._most_s
        request.headers["Accept-Encoding"] = "identity"
        try:
            response = await asyncio.wait_for(_ask(request), self._most_s)
        except asyncio.TimeoutError:
            raise _too_much() from None
        # Who packs it all the same is not unpacked: what has a limit is what arrives.
        headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-encoding"]
        return httpx.Response(response.status_code, headers=headers, extensions=response.extensions,
                              stream=_LimitedStream(response.stream, self._most_bytes, until))


async def _ask(request: httpx.Request) -> httpx.Response:
    transport = AsyncSecureTransport(await async_validate_url(request.url.host))
    return await transport.handle_async_request(request)


class _LimitedStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, most_bytes: int, until: float):
        self._stream, self._most_bytes, self._until = stream, most_bytes, until

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most_bytes
        async for part in self._stream:  # a part that does not come within httpx's five seconds is an error of its own
            left -= len(part)
            if left < 0 or time.monotonic() > self._until:
                raise _too_much()
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _too_much() -> gr.Error:
    return gr.Error(texts.FETCH_TOO_LONG, print_exception=False)

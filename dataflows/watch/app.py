"""The server of the live page: the page itself, a stream of news, one customer's story on request. It only answers GET."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from dataflows.report.page import content_policy, page
from dataflows.report.pseudonyms import Pseudonyms
from dataflows.watch.access import Guard
from dataflows.watch.memory import Memory
from state.categories import GROUPS
from state.settings import WatchSettings

Json = dict[str, Any]
TellStory = Callable[[str], Json]
"""The story of a customer, by id; may take seconds."""

SELF = "'self'"
HEARTBEAT_S = 10.0
"""A comment so often shows the server that a reader has gone, and a proxy that the stream lives."""


class Newsroom:
    """Makes the news once for all readers. A slow reader holds nothing up: each takes the newest when it is ready for it."""

    def __init__(self, memory: Memory, settings: WatchSettings, trouble: Callable[[], str]) -> None:
        self._memory = memory
        self._settings = settings
        self._trouble = trouble
        self._made: tuple[object, bytes] = (None, b"")
        self._making = asyncio.Lock()
        self.readers = 0

    def edition(self) -> object:
        """Differs from an earlier one if there is news."""
        return self._memory.version, self._trouble()

    async def newest(self) -> tuple[object, bytes]:
        """The newest edition, and the news as JSON in one line."""
        async with self._making:
            if self._made[0] != self.edition():
                edition = self.edition()
                news = await run_in_threadpool(self.document)
                self._made = (edition, orjson.dumps(news))
        return self._made

    def document(self) -> Json:
        _, news = self._memory.news()
        return {**news, "state": self._trouble() or f"live: {news['fleet']['signals']:,} signals"}

    async def stream(self) -> AsyncIterator[bytes]:
        """Server-sent events until the reader goes, who ends it by closing the connection."""
        if self.readers >= self._settings.clients_max:
            return  # came in the same moment as others: whoever asks again is told
        self.readers += 1
        shown: object = None
        waited_s = 0.0
        pause_s = self._settings.push_ms / 1000
        try:
            while True:
                if shown != self.edition():
                    shown, news = await self.newest()
                    waited_s = 0.0
                    yield b"data: " + news + b"\n\n"
                elif waited_s >= HEARTBEAT_S:
                    waited_s = 0.0
                    yield b": still here\n\n"
                await asyncio.sleep(pause_s)
                waited_s += pause_s
        finally:
            self.readers -= 1


def make_app(
    memory: Memory,
    settings: WatchSettings,
    pseudonyms: Pseudonyms,
    name: str,
    tell_story: TellStory,
    trouble: Callable[[], str],
) -> Starlette:
    """`name` is what the page calls the run; `trouble` says why nothing comes, or nothing."""
    newsroom = Newsroom(memory, settings, trouble)
    telling = asyncio.Semaphore(1)  # stories cost memory and time: one after the other
    policy = {"Content-Security-Policy": f"{content_policy(connect=SELF)}; frame-ancestors 'none'"}

    async def show(_request: Request) -> Response:
        news = await run_in_threadpool(newsroom.document)
        document = {
            "format": 1,
            "live": True,
            "revealed": pseudonyms.revealing,
            "run": name,
            "groups": GROUPS,
            "costs": [],
            "scorecard": None,
            "stories": [],
            "selected": None,
            **news,
        }
        return HTMLResponse(await run_in_threadpool(page, document, SELF), headers=policy)

    async def news(_request: Request) -> Response:
        if newsroom.readers >= settings.clients_max:
            return PlainTextResponse("too many readers ([watch] clients_max)", 503)
        return StreamingResponse(newsroom.stream(), media_type="text/event-stream")

    async def story(request: Request) -> Response:
        key = request.query_params.get("customer", "")
        customer_id = await run_in_threadpool(memory.customer_behind, key)
        if customer_id is None:
            return PlainTextResponse("nobody of the newest signals", 404)
        async with telling:
            told = await run_in_threadpool(tell_story, customer_id)
        return Response(orjson.dumps(told), media_type="application/json")

    async def health(_request: Request) -> Response:
        return PlainTextResponse("ok")

    routes = [
        Route("/", show, methods=["GET"]),
        Route("/news", news, methods=["GET"]),
        Route("/story", story, methods=["GET"]),
        Route("/healthz", health, methods=["GET"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, settings=settings)])

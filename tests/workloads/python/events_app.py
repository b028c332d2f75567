"""Server-sent events of aiohttp to itself: events_app.py PORT.

GET /front?id=N reads the stream GET /events?id=N, which goes on until GET /stop?id=N: then the server ends it where N is odd, and
whoever reads it leaves where N is even. GET /quit ends the program.
"""
import asyncio
import collections
import os
import signal
import sys

import aiohttp
from aiohttp import web

PORT = int(sys.argv[1])
URL = f"http://127.0.0.1:{PORT}"
STOPS = collections.defaultdict(asyncio.Event)


async def front(request):
    number = int(request.query["id"])
    async with request.app["session"].get(f"{URL}/events?id={number}") as answer:
        assert await answer.content.readuntil(b"\n\n") == b"data: first\n\n"
        if number % 2:
            assert await answer.content.read() == b"data: last\n\n"
        else:
            await STOPS[number].wait()
    return web.Response()


async def events(request):
    number = int(request.query["id"])
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    await stream.write(b"data: first\n\n")
    await STOPS[number].wait()
    if number % 2:
        await stream.write(b"data: last\n\n")
    else:
        try:
            while True:
                await stream.write(b": still here\n\n")
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
    return stream


async def stop(request):
    STOPS[int(request.query["id"])].set()
    return web.Response()


async def leave(_request):
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    return web.Response()


async def session(app):
    app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    yield
    await app["session"].close()


app = web.Application()
app.cleanup_ctx.append(session)
app.add_routes([
    web.get("/front", front), web.get("/events", events), web.get("/stop", stop), web.get("/quit", leave),
])
web.run_app(app, host="127.0.0.1", port=PORT, print=None)

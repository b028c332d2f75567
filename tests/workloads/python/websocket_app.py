"""A WebSocket of aiohttp to itself: websocket_app.py PORT.

GET /front?id=N talks over a WebSocket to /talk?id=N, which asks /back?id=N before it answers its first message, and closes: every
third one because something failed.
"""
import sys

import aiohttp
from aiohttp import web

PORT = int(sys.argv[1])
URL = f"http://127.0.0.1:{PORT}"


async def front(request):
    number = request.query["id"]
    async with request.app["session"].ws_connect(f"{URL}/talk?id={number}") as socket:
        for text in ("hello", "x" * 5000, "bye"):
            await socket.send_str(text)
            assert (await socket.receive()).data == text
        await socket.send_bytes(b"end")
        await socket.receive()
        assert socket.close_code == (1011 if int(number) % 3 == 0 else 1000)
    return web.Response()


async def talk(request):
    number = request.query["id"]
    socket = web.WebSocketResponse(protocols=["chat"])
    await socket.prepare(request)
    first = True
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            await socket.close(code=1011 if int(number) % 3 == 0 else 1000)
            break
        if first:
            async with request.app["session"].get(f"{URL}/back?id={number}") as answer:
                await answer.read()
        first = False
        await socket.send_str(message.data)
    return socket


async def back(_request):
    return web.Response()


async def session(app):
    app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    yield
    await app["session"].close()


app = web.Application()
app.cleanup_ctx.append(session)
app.add_routes([web.get("/front", front), web.get("/talk", talk), web.get("/back", back)])
web.run_app(app, host="127.0.0.1", port=PORT, print=None)

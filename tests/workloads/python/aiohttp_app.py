"""An aiohttp service that mixes requests: see mix.py. aiohttp_app.py PORT."""
import os
import sys

from aiohttp import web

import mix

if os.environ.get("LOOP") == "uvloop":
    import uvloop

    uvloop.install()

CLIENT = web.AppKey("client")


async def front(request):
    number = request.query["id"]
    return web.Response(text=f"aiohttp {number}\n", status=await mix.work(request.app[CLIENT], number))


async def client(app):
    async with mix.session() as app[CLIENT]:
        yield


app = web.Application()
app.cleanup_ctx.append(client)
app.router.add_get("/front", front)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)

"""One thread, many requests at once, and pools of connections to PostgreSQL and Redis: stores_asyncio.py PORT DSN REDIS.

GET /front?id=N asks both, one after the other and at once; every statement, key and value has id=N in it. The pools have fewer
connections than there are requests.
"""
import asyncio
import random
import sys

import asyncpg
import redis.asyncio
from aiohttp import web

PORT, DSN, REDIS = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])


def dsn():
    """libpq's words as asyncpg has them."""
    words = dict(word.split("=", 1) for word in DSN.split())
    return {
        "host": words["host"],
        "port": int(words["port"]),
        "user": words["user"],
        "database": words["dbname"],
        "ssl": words["sslmode"] == "require",
    }


async def nap():
    await asyncio.sleep(random.random() * 0.004)


async def change(app, name):
    async with app["pool"].acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO items (name) VALUES ($1)", name)
        await nap()
        rows = await connection.fetch("SELECT name FROM items WHERE name = $1", name)
        assert [row["name"] for row in rows] == [name], rows
        await connection.execute("UPDATE items SET name = name WHERE name = $1", name)


async def front(request):
    app, number = request.app, request.query["id"]
    name, cache = f"id={number}", app["redis"]
    assert await cache.get(name) is None
    await nap()
    await change(app, name)
    await asyncio.gather(
        app["pool"].fetch("SELECT id FROM orders WHERE name = $1", name),
        app["pool"].fetch("SELECT id FROM parts WHERE name = $1", name),
        cache.incr(f"count:{name}"),
    )
    await nap()
    async with cache.pipeline(transaction=False) as pipeline:
        await pipeline.set(name, "1").expire(name, 600).execute()
    await app["pool"].execute("DELETE FROM items WHERE name = $1", name)
    return web.Response(text=f"stores {number}\n")


async def begin(app):
    app["pool"] = await asyncpg.create_pool(**dsn(), min_size=6, max_size=6)
    app["redis"] = redis.asyncio.Redis(
        connection_pool=redis.asyncio.BlockingConnectionPool(host="127.0.0.1", port=REDIS, max_connections=6, timeout=60)
    )
    for table in ("orders", "parts"):
        await app["pool"].execute(f"CREATE TABLE IF NOT EXISTS {table} (id serial, name text)")


app = web.Application()
app.router.add_get("/front", front)
app.on_startup.append(begin)
web.run_app(app, host="127.0.0.1", port=PORT, print=None, access_log=None, backlog=512)

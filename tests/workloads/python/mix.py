"""What the mixing services do for one request: calls at once, one after the other, given up, refused, from threads that run
a copy of the context (/thread) or none (/pool), and one that outlives the request. Every call goes to the leaf (NEXT: PORT/path; SCHEME: https for TLS) and repeats the request's number.
"""
import asyncio
import os
import random
import socket
from contextlib import asynccontextmanager

import aiohttp
import requests

PORT = os.environ["NEXT"].split("/", 1)[0]
SCHEME = os.environ.get("SCHEME", "http")
THREAD = os.environ.get("THREAD") == "1"
pool = requests.Session()
pool.mount(f"{SCHEME}://", requests.adapters.HTTPAdapter(pool_maxsize=64))
background = set()


def url(path, number):
    return f"{SCHEME}://127.0.0.1:{PORT}/{path}?id={number}"


def refusing_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


REFUSED = f"http://127.0.0.1:{refusing_port()}/"


@asynccontextmanager
async def session():
    """A client, which is closed when the last call that outlives its request is over."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=512)) as client:
        yield client
        await asyncio.gather(*background)


async def get(client, path, number):
    async with client.get(url(path, number)) as answer:
        await answer.read()
        return answer.status


async def refused(client):
    try:
        async with client.get(REFUSED):
            return 500
    except aiohttp.ClientConnectionError:
        return 200


async def given_up(client, number):
    try:
        await asyncio.wait_for(get(client, "cancelled", number), random.random() * 0.006)
    except TimeoutError:
        pass
    return 200


async def outlive(client, number):
    await asyncio.sleep(0.01 + random.random() * 0.01)
    await get(client, "later", number)


def blocking(path, number):
    return pool.get(url(path, number), timeout=30).status_code


async def work(client, number):
    await asyncio.sleep(random.random() * 0.005)
    codes = await asyncio.gather(
        get(client, "a", number), get(client, "b", number), refused(client), given_up(client, number)
    )
    if THREAD:
        codes.append(await asyncio.to_thread(blocking, "thread", number))
        loop = asyncio.get_running_loop()
        codes.append(await loop.run_in_executor(None, blocking, "pool", number))
    await asyncio.sleep(random.random() * 0.002)
    codes.append(await get(client, "last", number))
    task = asyncio.create_task(outlive(client, number))
    background.add(task)
    task.add_done_callback(background.discard)
    return max(codes)

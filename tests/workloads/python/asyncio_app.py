"""An ASGI service for uvicorn: one thread, many requests at once. Asks NEXT (PORT/path), if set, with the same number."""
import asyncio
import os
from urllib.parse import parse_qs

NEXT = os.environ.get("NEXT")


async def ask_next(number):
    port, path = NEXT.split("/", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    writer.write(f"GET /{path}?id={number} HTTP/1.1\r\nHost: next.test\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    answer = await reader.read()
    writer.close()
    return int(answer.split(b" ", 2)[1])


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    number = parse_qs(scope["query_string"].decode()).get("id", ["0"])[0]
    await asyncio.sleep(int(number) * 7 % 5 / 1000)  # Makes requests overtake each other.
    status = await ask_next(number) if NEXT else 200
    body = f"asyncio {number}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""Answers requests, takes plain messages, and acknowledges what a stream hands over: nats_worker.py PORT NATS_PORT."""
import asyncio
import sys

import nats


async def main():
    client = await nats.connect(f"nats://127.0.0.1:{sys.argv[2]}")
    stream = client.jetstream()
    await stream.add_stream(name="ORDERS", subjects=["orders.>"])

    async def answer(message):
        await message.respond(message.data.upper())

    async def take(message):
        pass

    await client.subscribe("upper", queue="workers", cb=answer)
    await client.subscribe("news", cb=take)
    await stream.subscribe("orders.>", durable="worker", cb=take)
    await client.flush()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())

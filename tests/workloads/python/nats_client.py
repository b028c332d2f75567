"""Sends what nats_worker.py takes, N of each kind: nats_client.py NATS_PORT N. The N-th message has N bytes."""
import asyncio
import sys

import nats


async def main():
    client = await nats.connect(f"nats://127.0.0.1:{sys.argv[1]}")
    stream = client.jetstream()
    count = int(sys.argv[2])
    for number in range(1, count + 1):
        body = b"x" * number
        assert (await client.request("upper", body, timeout=20)).data == body.upper()
        await stream.publish("orders.new", body)
        await client.publish("news", body)
        await client.publish("news", body, headers={"traceparent": f"00-{number:032x}-{number:016x}-01"})
    await client.flush()
    while (await stream.consumer_info("ORDERS", "worker")).ack_floor.stream_seq < count:
        await asyncio.sleep(0.05)
    await client.close()


asyncio.run(main())

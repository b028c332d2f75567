"""A thread a connection, and redis-py's pool of connections to Redis that threads share: redis_app.py PORT REDIS_PORT.

GET /front?id=N sets a key that carries N, and reads it back in a pipeline and in a transaction.
"""
import sys

import redis
from routes import serve

client = redis.Redis(port=int(sys.argv[2]), protocol=2)


def front(number):
    key = f"item:{number}"
    client.set(key, number)
    with client.pipeline(transaction=False) as pipeline:
        one, none = pipeline.get(key).get("missing").execute()
    with client.pipeline(transaction=True) as pipeline:
        (two,) = pipeline.incr(key).execute()
    try:
        client.lpush(key, "no list")
    except redis.ResponseError:
        pass
    assert (one, none, two) == (number.encode(), None, int(number) + 1)


serve(int(sys.argv[1]), {"/front": front})

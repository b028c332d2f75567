"""A thread a connection, and two clients of memcached: memcached_app.py PORT MEMCACHED_PORT.

GET /front?id=N sets a key that carries N and reads it back, in text through pymemcache's pool of connections that threads share,
and in the binary protocol, several keys at once among it, with a client of each thread.
"""
import sys
import threading

import bmemcached
import pymemcache
from routes import serve

text = pymemcache.PooledClient(("127.0.0.1", int(sys.argv[2])), default_noreply=False)
clients = threading.local()


def front(number):
    key = f"item:{number}"
    text.set(key, number)
    values = text.get_many([key, "missing"])
    text.set("word", "none")
    try:
        text.incr("word", 1)
    except pymemcache.MemcacheClientError:
        pass
    assert values == {key: number.encode()}
    if not hasattr(clients, "binary"):
        clients.binary = bmemcached.Client((f"127.0.0.1:{sys.argv[2]}",))
    clients.binary.set_multi({f"a:{number}": "1", f"b:{number}": "2"})
    values = clients.binary.get_multi([f"a:{number}", "missing", f"b:{number}"])
    assert values == {f"a:{number}": "1", f"b:{number}": "2"}
    assert clients.binary.get("missing") is None


serve(int(sys.argv[1]), {"/front": front})

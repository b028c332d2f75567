"""A thread a connection, and two clients of memcached: memcached_app.py PORT MEMCACHED_PORT.

GET /front?id=N sets a key that carries N and reads it back, in text through pymemcache's pool of connections that threads share,
and in the binary protocol, several keys at once among it, with a client of each thread.
"""
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import bmemcached
import pymemcache

text = pymemcache.PooledClient(("127.0.0.1", int(sys.argv[2])), default_noreply=False)
clients = threading.local()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = parse_qs(urlsplit(self.path).query).get("id", ["0"])[0]
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
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()

"""A server of HTTP, a thread a connection: `serve` answers each path by calling what stands for it with the request's `id`."""
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


def serve(port, routes):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            url = urlsplit(self.path)
            routes[url.path](parse_qs(url.query).get("id", ["0"])[0])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    Server(("127.0.0.1", port), Handler).serve_forever()


def pooled(pool, work):
    """Answers by `work`, which is given something of the pool meanwhile."""

    def answer(number):
        one = pool.get()
        try:
            work(one, number)
        finally:
            pool.put(one)

    return answer

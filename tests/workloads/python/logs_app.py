"""Logs for each request: two lines to stderr around a wait, one to stdout, and for every fifth a traceback.

    python logs_app.py PORT            a thread for each connection
    uvicorn logs_app:app               tasks

With SERVICES=FOLDER the first line is a message to syslog at dev/log in there, and the last one to the journal at journal/socket.
"""
import asyncio
import logging
import logging.handlers
import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
log = logging.getLogger("logs")
services = os.environ.get("SERVICES")
if services:
    syslog = logging.getLogger("syslog")
    syslog.propagate = False
    syslog.addHandler(logging.handlers.SysLogHandler(services + "/dev/log"))
    syslog.handlers[0].ident = "shop[7]: "
    # As sd_journal_send(3) does: one socket for all, which is connected to nobody.
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def begin(rid):
    if services:
        return syslog.warning("begin rid=%s password=hunter2", rid)
    log.info("begin rid=%s password=hunter2", rid)


def end(rid):
    if int(rid) % 5 == 0:
        try:
            raise KeyError(rid)
        except KeyError:
            log.exception("failed rid=%s", rid)
    else:
        log.warning("fine rid=%s", rid)
    if services:
        text = b"end rid=%d\nof two lines" % int(rid)
        fields = [b"PRIORITY=3\nCODE_LINE=12\nPASSWORD=hunter2\nMESSAGE\n", len(text).to_bytes(8, "little"), text, b"\n"]
        journal.sendmsg(fields, [], 0, services + "/journal/socket")
        return
    sys.stdout.write('{"level":"info","msg":"end rid=%s"}\n' % rid)
    sys.stdout.flush()


def fail(path):
    """Goes wrong as the path says, and gives the status."""
    if path == "/fail/raise":
        try:
            raise ValueError("no stock")
        except ValueError:
            log.exception("cart failed")
        return 500
    if path == "/fail/refused":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        try:
            socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            return 200
    if path == "/fail/late":
        # Who listens here has one to accept already, and takes no more.
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            port = full.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=0.3)
                except TimeoutError:
                    return 200
    if path == "/fail/told":
        return 500
    if path == "/fail/memory":
        kept = []
        while True:
            kept.append(bytes(1 << 20))
    if path == "/fail/kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "/fail/exit":
        os._exit(3)
    return 404


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.startswith("/fail/"):
            return self.answer(fail(self.path))
        rid = parse_qs(urlparse(self.path).query)["id"][0]
        begin(rid)
        time.sleep(0.002)
        end(rid)
        self.answer(200)

    def answer(self, status):
        body = b"ok"
        if self.path == "/fail/told":
            body = b'{"status": 500, "error": {"name": "StockError", "message": "no stock", "token": "hunter2"}}'
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    rid = parse_qs(scope["query_string"].decode())["id"][0]
    begin(rid)
    await asyncio.sleep(0.002)
    await asyncio.get_running_loop().create_task(later(rid))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def later(rid):
    await asyncio.sleep(0.001)
    end(rid)


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()

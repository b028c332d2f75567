"""Requests that queue tasks of Celery, and the worker that does them.

celery_app.py front PORT BROKER queues a task for GET /order?id=N and answers GET /stock?id=N and /after?id=N. GET /front?id=N queues one,
too, and is answered when all of it is done. celery_app.py worker PORT BROKER FRONT_PORT POOL LATE|EARLY asks the first for each task and
acknowledges it then or before; every third task, or every EVERYth, queues another, which asks the second. It answers GET /done?id=N when
it has asked N times. POOL is `solo`, which takes one task at a time in the process that reads them, `threads` or `prefork`, which hands
them to processes. Tasks are called by their numbers.
"""
import http.client
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import celery

app = celery.Celery("shop", broker=sys.argv[3])
late = sys.argv[-1] != "EARLY"
app.conf.update(
    task_acks_late=late,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    task_routes={"shop.reserve": {"queue": "reserve"}, "shop.follow": {"queue": "follow"}},
)
if sys.argv[1] == "worker" and sys.argv[5] == "solo":
    app.conf.worker_prefetch_multiplier = 1
EVERY = int(os.environ.get("EVERY", "3"))
done = 0
finished = set()
changed = threading.Condition()


def queue(task, number):
    kind = 0 if task is reserve else 1
    task.apply_async((number,), task_id=f"00000000-0000-4000-800{kind}-{number:012}")


def follows(number):
    return number % EVERY == 0


def ask(path, number):
    front = http.client.HTTPConnection("127.0.0.1", int(sys.argv[4]))
    front.request("GET", f"{path}?id={number}")
    front.getresponse().read()
    front.close()


@app.task(name="shop.reserve")
def reserve(number):
    ask("/stock", number)
    if follows(number):
        queue(follow, number)


@app.task(name="shop.follow")
def follow(number):
    ask("/after", number)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global done
        url = urlsplit(self.path)
        number = int(parse_qs(url.query)["id"][0])
        status = 200
        if url.path in ("/order", "/front"):
            queue(reserve, number)
        if url.path == "/front":
            with changed:
                status = 200 if changed.wait_for(lambda: number in finished, timeout=60) else 504
        elif url.path in ("/stock", "/after"):
            with changed:
                done += 1
                if url.path == "/after" or not follows(number):
                    finished.add(number)
                changed.notify_all()
        elif url.path == "/done":
            with changed:
                status = 200 if changed.wait_for(lambda: done >= number, timeout=30) else 504
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


server = Server(("127.0.0.1", int(sys.argv[2])), Handler)
if sys.argv[1] == "front":
    server.serve_forever()
threading.Thread(target=server.serve_forever, daemon=True).start()
app.worker_main(
    ["worker", "--pool", sys.argv[5], "--concurrency", "1" if sys.argv[5] == "solo" else "4"]
    + ["--queues", "reserve,follow", "--without-gossip", "--without-mingle", "--without-heartbeat"]
)

"""Requests that queue tasks of Celery through RabbitMQ, and the worker that does them.

celery_app.py front PORT AMQP_PORT queues a task for GET /order?id=N and answers GET /stock?id=N. celery_app.py worker PORT AMQP_PORT
FRONT_PORT asks that for each task and then acknowledges it; GET /done?id=N is answered when N tasks were done. It takes one task at a time,
in the process that reads them.
"""
import http.client
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import celery

app = celery.Celery("shop", broker=f"amqp://guest:guest@127.0.0.1:{sys.argv[3]}//")
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
done = 0
changed = threading.Condition()


@app.task(name="shop.reserve")
def reserve(number):
    global done
    stock = http.client.HTTPConnection("127.0.0.1", int(sys.argv[4]))
    stock.request("GET", f"/stock?id={number}")
    stock.getresponse().read()
    stock.close()
    with changed:
        done += 1
        changed.notify_all()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        number = int(parse_qs(url.query)["id"][0])
        status = 200
        if url.path == "/order":
            reserve.delay(number)
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


server = Server(("127.0.0.1", int(sys.argv[2])), Handler)
if sys.argv[1] == "front":
    server.serve_forever()
threading.Thread(target=server.serve_forever, daemon=True).start()
app.worker_main(["worker", "--pool", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat"])

"""A shop with faults that were planted: shop.py PORT DSN REDIS_PORT NATS_PORT STOCK ORDERS_JS. Knows nothing of any tracer.

Starts a stock service in Go, one for orders in Node.js and one for prices in Ruby, and a thread that takes what is published.

GET /checkout?id=N asks the cache, the database and all services, and publishes a message.
GET /report?id=N makes one slow query; GET /list?id=N asks for each of 37 items by itself; GET /refund?id=N fails.
GET /big?id=N is answered with more than is kept of a body. Orders and failures are logged.
GET /receipt?id=N puts an object into a storage that speaks S3, which is this server as well: PUT /BUCKET/KEY.
GET /outside?id=N asks who listens on port N of this machine, which is nobody's service here, and fails if that does.
GET /wait?id=N is answered once GET /go?id=N was asked for.
"""
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import psycopg
import redis

PORT, DSN, REDIS, NATS, STOCK, ORDERS = sys.argv[1:]
STOCK_PORT, ORDERS_PORT, PRICES_PORT = (str(int(PORT) + step) for step in (1, 2, 3))
PR_SET_PDEATHSIG = 1
PRICES = """
require 'socket'
server = TCPServer.new('127.0.0.1', ARGV[0].to_i)
loop do
  client = server.accept
  line = client.gets or next client.close
  loop { break if client.gets.to_s.strip.empty? }
  body = '{"price":11,"asked":"' + line.split[1].to_s[0, 40] + '"}'
  client.write "HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: #{body.bytesize}\\r\\nConnection: close\\r\\n\\r\\n#{body}"
  client.close
end
"""


def start(name, argv):
    libc = ctypes.CDLL(None)
    subprocess.Popen(
        argv,
        env=os.environ | {"OTEL_SERVICE_NAME": name},
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )


def call(url, body=None):
    headers = {"Content-Type": "application/json", "Authorization": "Bearer secret"}
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


class Queue:
    """What of NATS is needed."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", int(NATS)))
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"lang":"page"}\r\n')

    def publish(self, subject, payload):
        self.socket.sendall(b"PUB %s %d\r\n%s\r\n" % (subject, len(payload), payload))

    def take(self, subject):
        self.socket.sendall(b"SUB %s 1\r\n" % subject)
        for line in self.lines:
            if line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")
            elif line.startswith(b"MSG"):
                self.lines.read(int(line.split()[-1]) + 2)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.database = psycopg.connect(DSN, autocommit=True)
        self.cache = redis.Redis(port=int(REDIS))

    def finish(self):
        super().finish()
        self.database.close()
        self.cache.close()

    def do_GET(self):
        url = urlsplit(self.path)
        number = int(parse_qs(url.query).get("id", ["0"])[0])
        try:
            answer, code = self.answers()[url.path](number), 200
        except (psycopg.Error, urllib.error.HTTPError) as error:
            traceback.print_exc()
            answer, code = {"error": str(error).splitlines()[0], "order": number}, 500
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answers(self):
        names = ("checkout", "report", "list", "refund", "wait", "go", "big", "receipt", "outside")
        return {f"/{name}": getattr(self, name) for name in names}

    def receipt(self, number):
        scope = "AKID/20260101/eu-west-1/s3/aws4_request"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}
        url = f"http://127.0.0.1:{PORT}/receipts/{number}/a%20receipt.txt"
        request = urllib.request.Request(url, b"paid", headers, method="PUT")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return {"id": number, "code": answer.status}

    def wait(self, number):
        return {"waited": going.wait(60), "id": number}

    def go(self, number):
        going.set()
        return {"id": number}

    def outside(self, number):
        return json.loads(call(f"http://127.0.0.1:{number}/rates"))

    def big(self, number):
        return {"id": number, "text": "z" * 200_000}

    def checkout(self, number):
        self.cache.get(f"cart:{number}")
        self.database.execute("INSERT INTO items (name) VALUES (%s)", (f"order {number}",))
        stock = int(call(f"http://127.0.0.1:{STOCK_PORT}/stock/lantern?id={number}"))
        price = json.loads(call(f"http://127.0.0.1:{PRICES_PORT}/price/lantern?id={number}"))
        order = json.loads(call(f"http://127.0.0.1:{ORDERS_PORT}/orders?id={number}", json.dumps({"product": "lantern", "lines": [{"sku": "a-1", "count": 2}]}).encode()))
        publishing.publish(b"orders.placed", json.dumps(order).encode())
        print(json.dumps({"level": "info", "message": f"order {number} was placed"}), flush=True)
        return {"stock": stock, "price": price, "order": order, "note": "x" * 300}

    def report(self, number):
        return {"rows": self.database.execute("SELECT name, pg_sleep(0.7) FROM items WHERE name LIKE 'order%%' ORDER BY name LIMIT 1").rowcount, "id": number}

    def list(self, number):
        return [self.database.execute("SELECT name FROM items WHERE id = %s", (item,)).fetchall() for item in range(37)]

    def refund(self, number):
        return self.database.execute("SELECT amount FROM refunds WHERE order_id = %s", (number,)).fetchall()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


going = threading.Event()
start("stock", [STOCK, STOCK_PORT])
start("orders", ["node", ORDERS, ORDERS_PORT])
start("prices", ["ruby", "-e", PRICES, PRICES_PORT])
publishing = Queue()
threading.Thread(target=Queue().take, args=(b"orders.placed",), daemon=True).start()
for port in (STOCK_PORT, ORDERS_PORT, PRICES_PORT):
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(port))).close()
            break
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
Server(("127.0.0.1", int(PORT)), Handler).serve_forever()

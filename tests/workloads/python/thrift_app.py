"""Programs that call each other by Thrift, a thread a connection.

thrift_app.py serve PORT SHAPE answers calls; thrift_app.py front PORT THRIFT_PORT SHAPE asks for
GET /front?id=N, for which it calls `note`, `find` and, where N is a multiple of 3, `find` of what is not there. SHAPE is
binary, framed, compact or framed-compact.
"""
import pathlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import thriftpy2
from thriftpy2.protocol import TBinaryProtocolFactory, TCompactProtocolFactory
from thriftpy2.rpc import make_client, make_server
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import TBufferedTransportFactory, TFramedTransportFactory

shop = thriftpy2.load(str(pathlib.Path(__file__).with_name("shop.thrift")), module_name="shop_thrift")
clients = threading.local()


def shape(name):
    return {
        "proto_factory": TCompactProtocolFactory() if "compact" in name else TBinaryProtocolFactory(),
        "trans_factory": TFramedTransportFactory() if "framed" in name else TBufferedTransportFactory(),
    }


class Shop:
    def ping(self):
        pass

    def count(self, items):
        return len(items)

    def find(self, id):
        if id < 0:
            raise shop.Missing(id=id, why="there is no such item")
        return shop.Item(id=id, name=f"item {id}" + "." * (id * 500), parts=list(range(id)))

    def note(self, text):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = int(parse_qs(urlsplit(self.path).query).get("id", ["0"])[0])
        how = shape(sys.argv[4])
        if not hasattr(clients, "shop"):
            clients.shop = make_client(shop.Shop, "127.0.0.1", int(sys.argv[3]), **how)
            clients.other = make_client(shop.Other, "127.0.0.1", int(sys.argv[3]), **how)
        clients.shop.note(f"note {number}")
        assert clients.shop.find(number).id == number
        if number % 3 == 0:
            try:
                clients.shop.find(-number)
            except shop.Missing:
                pass
            try:
                clients.other.nonsense(number)
            except TApplicationException:
                pass
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if sys.argv[1] == "serve":
    make_server(shop.Shop, Shop(), "127.0.0.1", int(sys.argv[2]), **shape(sys.argv[3])).serve()
else:
    Server(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()

"""A thread a connection, and a pool of connections to MongoDB that threads share: mongodb_app.py PORT MONGODB.

GET /front?id=N writes, reads and changes a document that carries N. GET /fail?id=N writes one that is there already.
"""
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pymongo

PORT, MONGODB = int(sys.argv[1]), int(sys.argv[2])


def front(number):
    items.insert_one({"_id": int(number), "name": f"item {number}"})
    (found,) = items.find({"name": f"item {number}"})
    assert found["_id"] == int(number), found
    items.update_one({"_id": int(number)}, {"$set": {"name": f"done {number}"}})


def fail(number):
    try:
        items.insert_one({"_id": int(number)})
    except pymongo.errors.DuplicateKeyError:
        return
    raise AssertionError("it is there already")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        number = parse_qs(url.query).get("id", ["0"])[0]
        {"/front": front, "/fail": fail}[url.path](number)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


items = pymongo.MongoClient("127.0.0.1", MONGODB, directConnection=True, maxPoolSize=6).shop.items
items.count_documents({})
Server(("127.0.0.1", PORT), Handler).serve_forever()

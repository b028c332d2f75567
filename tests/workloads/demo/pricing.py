"""Prices: Python's own http.server, a thread for each connection. Asks stock. pricing.py PORT"""
import http.client
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["STOCK"]), timeout=10)
        connection.request("GET", self.path.replace("/price/", "/stock/"))
        answer = connection.getresponse()
        count = answer.read()
        connection.close()
        body = json.dumps({"price": 5 + 2 * int(count)} if answer.status == 200 else {}).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()

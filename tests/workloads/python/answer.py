"""Answers POSTs as a collector would, with scripted status codes: answer.py PORT CODE... The last code stays.

Prints one line for each request: path, code, bytes of the body after decompression, content type.
"""
import gzip
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

codes = [int(code) for code in sys.argv[2:]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        code = codes.pop(0) if len(codes) > 1 else codes[0]
        print(self.path, code, len(body), self.headers.get("Content-Type"), flush=True)
        self.send_response(code)
        if code == 429:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()

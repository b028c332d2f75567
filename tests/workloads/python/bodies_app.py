"""What passes in the bodies of HTTP: bodies_app.py PORT.

GET /front?id=N asks the same server in GraphQL, in JSON-RPC and as a generative model is asked, whole and streamed.
"""
import http.client
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT = int(sys.argv[1])


def chunk(text):
    event = f"data: {text}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        number = int(parse_qs(urlsplit(self.path).query).get("id", ["0"])[0])
        client = http.client.HTTPConnection("127.0.0.1", PORT)
        graphql = {"operationName": "Find", "query": "query Find($id: ID) { item(id: $id) { name } }", "variables": {"id": number}}
        rpc = {"jsonrpc": "2.0", "method": "sum", "params": [number, 1], "id": number}
        model = {"model": "tiny-1", "max_tokens": 32, "messages": [{"role": "user", "content": "count " * 2000}]}
        for path, body in (
            (f"/graphql?id={number}", graphql),
            (f"/rpc?id={number}", rpc),
            (f"/v1/chat/completions?id={number}", model),
            (f"/stream/v1/chat/completions?id={number}", {**model, "stream": True}),
        ):
            client.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            client.getresponse().read()
        self.answer(b"", "text/plain")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = urlsplit(self.path).path
        number = int(parse_qs(urlsplit(self.path).query)["id"][0])
        if path == "/graphql":
            self.answer(b'{"errors":[{"message":"no such item"}],"data":null}' if number % 3 == 0 else b'{"data":{"item":{"name":"x"}}}')
        elif path == "/rpc":
            error = {"code": -32000, "message": "too large"}
            self.answer(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **({"error": error} if number % 3 == 0 else {"result": 1})}).encode())
        elif path.startswith("/stream"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            # The model thinks, and goes on.
            time.sleep(0.05)
            for word in ("one", "two"):
                part = {"id": f"c-{number}", "model": "tiny-1b", "choices": [{"delta": {"content": word}, "finish_reason": None}]}
                self.wfile.write(chunk(json.dumps(part)))
                time.sleep(0.02)
            last = {"id": f"c-{number}", "choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 7, "completion_tokens": number}}
            self.wfile.write(chunk(json.dumps(last)) + chunk("[DONE]") + b"0\r\n\r\n")
        else:
            choice = {"finish_reason": "length", "message": {"content": "x"}}
            usage = {"prompt_tokens": 7, "completion_tokens": number}
            self.answer(json.dumps({"id": f"c-{number}", "model": "tiny-1b", "choices": [choice], "usage": usage}).encode())

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


Server(("127.0.0.1", PORT), Handler).serve_forever()

"""One exchange whose request carries given header lines: context.py PATH LINE...

The answer's body is the lines. A server thread and a client thread of one process; the client runs first, so that neither
has an open request that the other's call could belong to.
"""
import http.server
import socket
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = socket.create_connection(server.server_address)
lines = "".join(line + "\r\n" for line in sys.argv[2:])
client.sendall(f"GET {sys.argv[1]} HTTP/1.1\r\nHost: context.test\r\n{lines}\r\n".encode())
answer = b""
while not answer.endswith(b"ok"):
    answer += client.recv(4096)
client.close()
server.shutdown()

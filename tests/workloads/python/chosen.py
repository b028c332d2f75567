"""chosen.py HOW PORT CERTIFICATE KEY CHOOSER: answers over TLS, on threads or asyncio. While a client shakes hands it asks the port
CHOOSER in plain, as servers do that fetch certificates."""
import asyncio
import http.server
import ssl
import sys
import urllib.request

how, port, certificate, key, chooser = sys.argv[1:]


def choose(_connection, _name, _context):
    with urllib.request.urlopen(f"http://127.0.0.1:{chooser}/chosen") as answer:
        answer.read()


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.sni_callback = choose


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_words):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"yes")


async def answer(reader, writer):
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        writer.close()


async def serve():
    server = await asyncio.start_server(answer, "127.0.0.1", int(port), ssl=context)
    await server.serve_forever()


if how == "asyncio":
    asyncio.run(serve())
else:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()

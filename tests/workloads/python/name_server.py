"""A name server over UDP and TCP on port 53 of an address, and over TCP on a port of 127.0.0.1: name_server.py ADDRESS PORT.

It knows a few names below `test`, says nothing of `none.test`, fails for `fails.test`, and answers `long.test` over TCP only.
"""
import sys

from dnslib import A, AAAA, CNAME, MX, QTYPE, RCODE, RR
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

SILENT = DNSLogger("-request,-reply,-truncated,-error,-recv,-send,-data")


class Handler(DNSHandler):
    """One that serves several questions on a connection, as servers do."""

    def handle(self):
        if self.server.socket_type.name != "SOCK_STREAM":
            return super().handle()
        self.protocol = "tcp"
        while head := self.request.recv(2):
            length = int.from_bytes(head, "big")
            data = b""
            while len(data) < length:
                data += self.request.recv(length - len(data))
            answer = self.get_reply(data)
            self.request.sendall(len(answer).to_bytes(2, "big") + answer)


class Names(BaseResolver):
    def resolve(self, request, handler):
        reply = request.reply()
        name, kind = str(request.q.qname).rstrip("."), QTYPE[request.q.qtype]
        add = lambda kind, data, owner=name: reply.add_answer(RR(owner, getattr(QTYPE, kind), ttl=1, rdata=data))
        if name == "fails.test":
            reply.header.rcode = RCODE.SERVFAIL
        elif name == "none.test" or not name.endswith("test"):
            reply.header.rcode = RCODE.NXDOMAIN
        elif name == "mail.test":
            add("MX", MX("two.test"))
        elif name == "long.test" and handler.protocol == "udp":
            reply.header.tc = 1
        elif name == "real.test":
            add("CNAME", CNAME("two.test"))
            if kind == "A":
                add("A", A("127.0.0.1"), "two.test")
        elif kind == "A":
            add("A", A("127.0.0.1"))
        elif kind == "AAAA" and name == "two.test":
            add("AAAA", AAAA("::1"))
        return reply


if __name__ == "__main__":
    places = [(sys.argv[1], 53, False), (sys.argv[1], 53, True), ("127.0.0.1", int(sys.argv[2]), True)]
    servers = [
        DNSServer(Names(), address=address, port=port, tcp=tcp, handler=Handler, logger=SILENT)
        for address, port, tcp in places
    ]
    for server in servers[:-1]:
        server.start_thread()
    servers[-1].start()

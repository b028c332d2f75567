"""What answers as SQL Server does, as far as [MS-TDS] says it: mssql_server.py PORT PLAIN|LOGIN|TLS [CERTIFICATE KEY].

There is no server here that could be run. This one keeps no tables: each statement is answered by its first words. What is encrypted is
nothing, the login, or everything. Sections are those of [MS-TDS].
"""
import re
import socketserver
import ssl
import struct
import sys

BATCH, RPC, ANSWER, ATTENTION, BULK, TRANSACTION, LOGIN, PRELOGIN = 1, 3, 4, 6, 7, 14, 16, 18
OFF, ON, NOT_ABLE = 0, 1, 2
FIN, DATA = 4, 8
PACKET = 4096
COLLATION = bytes.fromhex("0904d00034")


def utf16(text):
    return text.encode("utf-16-le")


def name(text):
    return bytes([len(text)]) + utf16(text)


def long_name(text):
    return struct.pack("<H", len(text)) + utf16(text)


def behind(code, content):
    return struct.pack("<BH", code, len(content)) + content


# Tokens (2.2.7).
def done(status=0, command=0, rows=None, token=0xFD):
    if rows is not None:
        status |= 0x10
    return struct.pack("<BHHQ", token, status, command, rows or 0)


def failed(number, level, text):
    content = struct.pack("<IBB", number, 1, level) + long_name(text) + name("responder") + name("") + struct.pack("<I", 1)
    return behind(0xAA, content)


def told(number, text):
    content = struct.pack("<IBB", number, 2, 0) + long_name(text) + name("responder") + name("") + struct.pack("<I", 1)
    return behind(0xAB, content)


def changed(kind, new, old):
    return behind(0xE3, bytes([kind]) + new + old)


def begun(number):
    return changed(8, b"\x08" + struct.pack("<Q", number), b"\0")


def ended(kind, number):
    return changed(kind, b"\0", b"\x08" + struct.pack("<Q", number))


# Types (2.2.5.4) with a value each (2.2.5.5), as a column of a row that has one of each kind.
INT = b"\x26\x04"
TEXT = b"\xe7\x50\x00" + COLLATION
MAX = b"\xe7\xff\xff" + COLLATION


def chunks(*parts):
    total = sum(map(len, parts))
    return struct.pack("<Q", total) + b"".join(struct.pack("<I", len(part)) + part for part in parts) + bytes(4)


def integer(number):
    return b"\x04" + struct.pack("<i", number)


def text(value):
    return struct.pack("<H", 2 * len(value)) + utf16(value)


POINTER = b"\x10" + b"pointer of 16 b." + b"at 8 pm."
KINDS = [
    ("tiny", b"\x30", b"\x07", None),
    ("bit", b"\x32", b"\x01", None),
    ("small", b"\x34", b"\x07\x00", None),
    ("int", b"\x38", b"\x07\x00\x00\x00", None),
    ("big", b"\x7f", bytes(8), None),
    ("real", b"\x3b", bytes(4), None),
    ("float", b"\x6d\x08", b"\x08" + bytes(8), b"\0"),
    ("money", b"\x6e\x08", b"\x08" + bytes(8), b"\0"),
    ("date", b"\x28", b"\x03\x01\x02\x03", b"\0"),
    ("time", b"\x29\x07", b"\x05\x01\x02\x03\x04\x05", b"\0"),
    ("datetime", b"\x6f\x08", b"\x08" + bytes(8), b"\0"),
    ("datetime2", b"\x2a\x07", b"\x08" + bytes(8), b"\0"),
    ("datetimeoffset", b"\x2b\x07", b"\x0a" + bytes(10), b"\0"),
    ("decimal", b"\x6a\x11\x26\x02", b"\x11\x01" + struct.pack("<QQ", 1234, 0), b"\0"),
    ("guid", b"\x24\x10", b"\x10" + bytes(16), b"\0"),
    ("char", b"\xaf\x08\x00" + COLLATION, b"\x08\x00eight on", b"\xff\xff"),
    ("binary", b"\xa5\x08\x00", b"\x03\x00\xfd\xfe\xff", b"\xff\xff"),
    ("xml", b"\xf1\x00", chunks(utf16("<a/>")), b"\xff" * 8),
    ("max", MAX, chunks(utf16("in "), utf16("chunks")), b"\xff" * 8),
    ("text", b"\x23\xff\xff\xff\x7f" + COLLATION + b"\x01" + long_name("items"), POINTER + b"\x04\0\0\0text", b"\0"),
    ("image", b"\x22\xff\xff\xff\x7f\x01" + long_name("items"), POINTER + b"\x02\0\0\0\xd1\xfd", b"\0"),
    ("variant", b"\x62\x41\x1f\x00\x00", b"\x06\0\0\0\x38\x00\x07\x00\x00\x00", b"\0\0\0\0"),
]


def columns(*kinds):
    """COLMETADATA (2.2.7.4)."""
    parts = [struct.pack("<BH", 0x81, len(kinds))]
    for title, kind in kinds:
        table = b""
        if kind[:1] in (b"\x22", b"\x23", b"\x63"):
            head = 5 + (0 if kind[:1] == b"\x22" else 5)
            kind, table = kind[:head], kind[head:]
        parts.append(struct.pack("<IH", 0, 9) + kind + table + name(title))
    return b"".join(parts)


def row(*values):
    return b"\xd1" + b"".join(values)


def row_of_some(values):
    """NBCROW (2.2.7.13): none for NULL."""
    bits = bytearray((len(values) + 7) // 8)
    for place, value in enumerate(values):
        if value is None:
            bits[place // 8] |= 1 << place % 8
    return b"\xd2" + bytes(bits) + b"".join(value for value in values if value is not None)


SELECT, INSERT, DELETE, UPDATE = 0xC1, 0xC3, 0xC4, 0xC5


class Failed(Exception):
    pass


class GivenUp(Exception):
    """The client has sent an attention, which is answered as 2.2.1.7 says."""


class Session(socketserver.BaseRequestHandler):
    def setup(self):
        self.tls = self.incoming = self.outgoing = None
        self.database, self.transaction, self.transactions, self.handles = "master", 0, 0, {}
        self.mars, self.current, self.numbers = False, 0, {}

    # Bytes, in plain or not.
    def receive(self, length):
        parts = b""
        while len(parts) < length:
            part = self.plain(length - len(parts)) if self.tls else self.request.recv(length - len(parts))
            if not part:
                raise EOFError
            parts += part
        return parts

    def plain(self, length):
        while True:
            try:
                return self.tls.read(length)
            except ssl.SSLWantReadError:
                part = self.request.recv(65536)
                if not part:
                    return b""
                self.incoming.write(part)

    def give(self, data):
        if self.tls:
            self.tls.write(data)
            data = self.outgoing.read()
        self.request.sendall(data)

    # Packets (2.2.3), each with a head of its session before its own where there are several ([MC-SMP] 2.2).
    def packet(self):
        while self.mars:
            _, flags, self.current, _, number, _ = struct.unpack("<BBHIII", self.receive(16))
            sent, _ = self.numbers.get(self.current, (0, 0))
            self.numbers[self.current] = sent, number
            if flags == FIN:
                self.give(struct.pack("<BBHIII", 0x53, FIN, self.current, 16, sent, number + 4))
            if flags == DATA:
                break
        kind, status, length = struct.unpack(">BBH", self.receive(8)[:4])
        return kind, status, self.receive(length - 8)

    def message(self):
        content = b""
        while True:
            kind, status, part = self.packet()
            content += part
            if status & 1:
                return kind, content

    def say(self, content, kind=ANSWER):
        size, number, out = PACKET - 8, 1, b""
        parts = [content[at : at + size] for at in range(0, len(content), size)] or [b""]
        for place, part in enumerate(parts):
            last = place + 1 == len(parts)
            if self.mars:
                sent, received = self.numbers[self.current]
                self.numbers[self.current] = sent + 1, received
                out += struct.pack("<BBHIII", 0x53, DATA, self.current, 24 + len(part), sent + 1, received + 4)
            out += struct.pack(">BBHHBB", kind, last, 8 + len(part), 51, number % 256, 0) + part
            number += 1
        self.give(out)

    def handle(self):
        try:
            self.enter()
            while True:
                self.serve(*self.message())
        except (EOFError, ConnectionError):
            pass

    # 2.2.6.5, and TLS within it.
    def enter(self):
        kind, content = self.message()
        assert kind == PRELOGIN, kind
        options, at = {}, 0
        while content[at] != 0xFF:
            option, offset, length = struct.unpack(">BHH", content[at : at + 5])
            options[option] = content[offset : offset + length]
            at += 5
        wants = options[1][0]
        answer = {"PLAIN": NOT_ABLE, "LOGIN": OFF if wants == OFF else ON, "TLS": ON}[MODE]
        parts = [(0, bytes([16, 0, 0x10, 0x54, 0, 0])), (1, bytes([answer])), (2, b"\0"), (3, b""), (4, options.get(4, b"\0"))]
        offset, names, contents = 5 * len(parts) + 1, b"", b""
        for option, part in parts:
            names += struct.pack(">BHH", option, offset + len(contents), len(part))
            contents += part
        self.say(names + b"\xff" + contents)
        if answer != NOT_ABLE:
            self.shake_hands()
        kind, content = self.message()
        assert kind == LOGIN, kind
        if answer == OFF:
            self.tls = None
        self.log_in(content)
        self.mars = options.get(4) == b"\1"

    def shake_hands(self):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = CONTEXT.wrap_bio(self.incoming, self.outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
                shaken = True
            except ssl.SSLWantReadError:
                shaken = False
            flight = self.outgoing.read()
            if flight:
                self.say(flight, PRELOGIN)
            if shaken:
                break
            self.incoming.write(self.message()[1])
        self.tls = tls

    def log_in(self, content):
        """LOGIN7 (2.2.6.4)."""

        def part(at):
            offset, letters = struct.unpack("<HH", content[at : at + 4])
            return content[offset : offset + 2 * letters].decode("utf-16-le")

        version = content[4:8]
        user, database = part(40), part(68) or "master"
        if user == "nobody":
            return self.say(failed(18456, 14, f"Login failed for user '{user}'.") + done(2))
        self.database = database
        out = changed(1, name(database), name("master"))
        out += told(5701, f"Changed database context to '{database}'.")
        out += changed(7, b"\x05" + COLLATION, b"\0")
        out += changed(2, name("us_english"), name(""))
        out += told(5703, "Changed language setting to us_english.")
        program = name("Microsoft SQL Server")
        out += behind(0xAD, b"\x01" + version[::-1] + program + bytes([16, 0, 0x10, 0x54]))
        out += changed(4, name(str(PACKET)), name(str(PACKET)))
        out += done()
        self.say(out)

    def serve(self, kind, content):
        try:
            if kind == BATCH:
                self.say(self.batch(self.behind_headers(content).decode("utf-16-le")))
            elif kind == RPC:
                self.say(self.calls(self.behind_headers(content)))
            elif kind == TRANSACTION:
                self.say(self.manage(self.behind_headers(content)))
            elif kind == BULK:
                self.say(done(command=0xF0, rows=2))
            elif kind == ATTENTION:
                self.say(done(0x20))
            else:
                raise AssertionError(kind)
        except GivenUp:
            self.say(done(2))
            self.say(done(0x20))

    def behind_headers(self, content):
        """ALL_HEADERS (2.2.5.3)."""
        return content[struct.unpack("<I", content[:4])[0] :]

    # Statements.
    def batch(self, words):
        out = b""
        statements = [part.strip() for part in re.split(r";|\n", words) if part.strip()] or [""]
        for place, statement in enumerate(statements):
            more = 1 if place + 1 < len(statements) else 0
            try:
                before, command, rows = self.statement(statement, {})
            except Failed as failure:
                return out + failure.args[0] + done(2)
            out += before + done(more, command, rows)
        return out

    def statement(self, words, values):
        """What stands before the token that says that it is done, and what that says."""
        first = words.split()[0].upper() if words else ""
        if "missing" in words:
            raise Failed(failed(208, 16, "Invalid object name 'missing'."))
        if found := re.search(r"WAITFOR DELAY '0:0:(\d+)'", words):
            return self.wait(int(found[1]))
        if first == "USE":
            before, self.database = self.database, words.split()[1].strip("[]")
            return changed(1, name(self.database), name(before)) + told(5701, "Changed."), 0, None
        if first in ("BEGIN", "COMMIT", "ROLLBACK") or "COMMIT" in words or "BEGIN TRAN" in words:
            return self.turn("COMMIT" in words, "ROLLBACK" in words, "BEGIN" in words), 0, None
        if first == "INSERT" and "BULK" in words.upper():
            return b"", 0, None
        if first in ("INSERT", "UPDATE", "DELETE"):
            return b"", {"INSERT": INSERT, "UPDATE": UPDATE, "DELETE": DELETE}[first], 2 if first == "DELETE" else 1
        if first != "SELECT":
            return b"", 0, None
        if "kinds" in words:
            whole, some = [kind[2] for kind in KINDS], [None if kind[3] else kind[2] for kind in KINDS]
            nulls = [kind[3] or kind[2] for kind in KINDS]
            heads = columns(*[kind[:2] for kind in KINDS])
            return heads + row(*whole) + row_of_some(some) + row(*nulls) + row_of_some(whole), SELECT, 4
        if "long" in words:
            return columns(("text", MAX)) + row(chunks(*[utf16("x" * 1500)] * 3)) * 2, SELECT, 2
        if found := re.search(r"id <= (\d+)", words):
            rows = [row(integer(number), text(f"item {number}")) for number in range(int(found[1]))]
            return columns(("id", INT), ("name", TEXT)) + b"".join(rows), SELECT, len(rows)
        value = values.get("value") or (re.findall(r"'([^']*)'", words) or ["1"])[-1]
        return columns(("name", TEXT)) + row(text(value)), SELECT, 1

    def turn(self, commits, rolls_back, begins):
        out = b""
        if (commits or rolls_back) and self.transaction:
            out += ended(9 if commits else 10, self.transaction)
            self.transaction = 0
        if begins and not self.transaction:
            self.transactions += 1
            self.transaction = 1 << 40 | self.transactions
            out += begun(self.transaction)
        return out

    def wait(self, seconds):
        """Waits as long, or until the client gives up."""
        self.request.settimeout(seconds)
        try:
            kind, _ = self.message()
            assert kind == ATTENTION, kind
            raise GivenUp
        except TimeoutError:
            return b"", 0, None
        finally:
            self.request.settimeout(None)

    # Procedures (2.2.6.6).
    def calls(self, content):
        out, rest = b"", content
        while rest:
            call, rest = parse_call(rest)
            out += self.call(*call, more=bool(rest))
        return out

    def call(self, procedure, values, more):
        handle = b""
        words = ""
        if procedure == "sp_executesql":
            words, given = values[0], values[2:]
        elif procedure in ("sp_prepexec", "sp_prepare"):
            number = len(self.handles) + 1
            self.handles[number] = words = values[2]
            given = values[3:]
            handle = struct.pack("<BH", 0xAC, 0) + name("@handle") + b"\x01" + struct.pack("<IH", 0, 0) + INT + integer(number)
        elif procedure == "sp_execute":
            words, given = self.handles[values[0]], values[1:]
        else:
            given = values
        flags = 1 if more else 0
        try:
            before, command, rows = b"", 0, None
            if words and procedure != "sp_prepare":
                texts = [value for value in given if isinstance(value, str)]
                before, command, rows = self.statement(words, {"value": texts[0] if texts else None})
            inner = done(1, command, rows, 0xFF) if words else b""
            return before + inner + b"\x79\0\0\0\0" + handle + done(flags, 0xE0, None, 0xFE)
        except Failed as failure:
            return failure.args[0] + done(3, 0, None, 0xFF) + b"\x79\x01\0\0\0" + handle + done(2 | flags, 0xE0, None, 0xFE)

    def manage(self, content):
        """The manager of transactions (2.2.6.9)."""
        what = struct.unpack("<H", content[:2])[0]
        return self.turn(what == 7, what == 8, what == 5) + done(0, 0xD4)


NUMBERED = {10: "sp_executesql", 11: "sp_prepare", 12: "sp_execute", 13: "sp_prepexec", 15: "sp_unprepare"}


def parse_call(content):
    at = 2
    (letters,) = struct.unpack("<H", content[:2])
    if letters == 0xFFFF:
        number = struct.unpack("<H", content[2:4])[0]
        procedure, at = NUMBERED.get(number, f"procedure {number}"), 4
    else:
        procedure, at = content[2 : 2 + 2 * letters].decode("utf-16-le"), 2 + 2 * letters
    at += 2
    values = []
    while at < len(content) and content[at] not in (0xFF, 0xFE):
        at += 1 + 2 * content[at] + 1
        value, at = parse_value(content, at)
        values.append(value)
    return (procedure, values), content[at + 1 :]


FIXED = {0x30: 1, 0x32: 1, 0x34: 2, 0x38: 4, 0x3A: 4, 0x3B: 4, 0x7A: 4, 0x3C: 8, 0x3D: 8, 0x3E: 8, 0x7F: 8, 0x1F: 0}


def parse_value(content, at):
    kind = content[at]
    at += 1
    decode = bytes
    if kind in FIXED:
        end = at + FIXED[kind]
        return content[at:end], end
    if kind in (0xE7, 0xEF, 0xA7, 0xAF, 0xA5, 0xAD):
        longest = struct.unpack("<H", content[at : at + 2])[0]
        at += 2 + (0 if kind in (0xA5, 0xAD) else 5)
        if kind in (0xE7, 0xEF):
            decode = lambda value: value.decode("utf-16-le")
        if longest == 0xFFFF:
            total, at = struct.unpack("<Q", content[at : at + 8])[0], at + 8
            if total == 2**64 - 1:
                return None, at
            value = b""
            while size := struct.unpack("<I", content[at : at + 4])[0]:
                value, at = value + content[at + 4 : at + 4 + size], at + 4 + size
            return decode(value), at + 4
        size, at = struct.unpack("<H", content[at : at + 2])[0], at + 2
        return (None, at) if size == 0xFFFF else (decode(content[at : at + size]), at + size)
    if kind in (0x63, 0x23):
        at += 9
        size, at = struct.unpack("<I", content[at : at + 4])[0], at + 4
        decode = (lambda value: value.decode("utf-16-le")) if kind == 0x63 else bytes
        return decode(content[at : at + size]), at + size
    at += {0x28: 0, 0x6A: 3, 0x6C: 3}.get(kind, 1)
    size, at = content[at], at + 1
    value = content[at : at + size]
    if kind == 0x26 and size:
        value = int.from_bytes(value, "little", signed=True)
    return value if size else None, at + size


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    MODE = sys.argv[2]
    CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # TLS 1.3 is for TDS 8.0 alone, which begins with it.
    CONTEXT.maximum_version = ssl.TLSVersion.TLSv1_2
    if MODE != "PLAIN":
        CONTEXT.load_cert_chain(*sys.argv[3:5])
    Server(("127.0.0.1", int(sys.argv[1])), Session).serve_forever()

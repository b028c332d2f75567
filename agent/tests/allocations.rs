//! What passes in the steady state of a connection costs no memory: rows, pieces of bodies and of values, keep-alives.
#![expect(clippy::expect_used, reason = "a test may fail this way")]
mod counting;

use bytes::Bytes;
use clew::capture::{Actor, Direction, Moment, Pid};
use clew::protocol::{Conversation, Limits, Recognition, Step};
use clew::stream::{Content, Piece};

/// Rounds until buffers have the room they keep, and rounds that are counted.
const WARM: usize = 80;
const COUNTED: usize = 200;

/// What passes, and which way: `>` from the client, whose end this is, and `<` to it.
type Said = (char, Vec<u8>);

/// Plays `opening` once and `passing` over and over: the connection speaks `protocol`, and a round begins nothing, ends nothing
/// and allocates nothing.
#[track_caller]
fn check(protocol: &str, opening: &[Said], passing: &[Said]) {
    let mut conversation = Conversation::new(Limits::default());
    let mut steps = Vec::with_capacity(64);
    let (mut offsets, mut time_ns) = ([0_u64; 2], 0_u64);
    let mut say = |(mark, bytes): &Said| {
        let direction = if *mark == '>' {
            Direction::Egress
        } else {
            Direction::Ingress
        };
        let offset = &mut offsets[direction as usize];
        let begin = *offset;
        *offset += bytes.len() as u64;
        time_ns += 1000;
        Piece {
            direction,
            offset: begin,
            moment: Moment::new(time_ns, Actor::thread(Pid(1), 1)),
            content: Content::Bytes(Bytes::copy_from_slice(bytes)),
        }
    };
    for said in opening {
        conversation.piece(say(said), &mut steps);
    }
    assert_eq!(conversation.recognized(), Recognition::Known(named(protocol)));
    let mut allocated = 0;
    for round in 0..WARM + COUNTED {
        for said in passing {
            let piece = say(said);
            steps.clear();
            let before = counting::allocations();
            conversation.piece(piece, &mut steps);
            let took = counting::allocations() - before;
            assert_eq!(steps, Vec::<Step>::new(), "{protocol}: round {round} only passes");
            if round >= WARM {
                allocated += took;
            }
        }
    }
    assert_eq!(allocated, 0, "allocations of {COUNTED} rounds of {protocol}");
}

/// The name as the table of protocols has it.
fn named(protocol: &str) -> &'static str {
    let mut all = clew::protocol::PROTOCOLS.iter().map(|protocol| protocol.name);
    all.find(|name| *name == protocol).expect("a protocol of the table")
}

fn said(mark: char, parts: &[&[u8]]) -> Said {
    (mark, parts.concat())
}

/// A number of PostgreSQL's and Kafka's.
fn big(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("a small number").to_be_bytes()
}

/// A message of PostgreSQL: its kind, its length with itself, and the rest.
fn postgresql(mark: char, kind: &[u8], rest: &[u8]) -> Said {
    said(mark, &[kind, &big(rest.len() + 4), rest])
}

#[test]
fn rows_of_postgresql() {
    let column = b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    let opening = [
        postgresql('>', b"", b"\0\x03\0\0user\0a\0\0"),
        postgresql('<', b"R", &big(0)),
        postgresql('<', b"Z", b"I"),
        postgresql('>', b"Q", b"select a from b\0"),
        postgresql('<', b"T", column),
    ];
    let row = postgresql('<', b"D", b"\0\x01\0\0\0\x05value");
    check("postgresql", &opening, &[row]);
}

#[test]
fn bodies_of_http() {
    let piece = vec![b'x'; 1000];
    let asks = b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    check("http", &[said('>', &[asks])], &[said('>', &[&piece])]);
    let opening = [
        said('>', &[b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"]),
        said('<', &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    ];
    check("http", &opening, &[said('<', &[b"3e8\r\n", &piece, b"\r\n"])]);
}

#[test]
fn data_of_http2() {
    // `:method: POST`, `:scheme: http` and `:path: /`, as HPACK's static table numbers them.
    let headers = [&[0, 0, 3, 1, 4, 0, 0, 0, 1], &b"\x83\x86\x84"[..]].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let opening = [said('>', &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings, &headers])];
    let data = said('>', &[&[0, 0, 100, 0, 0, 0, 0, 0, 1], &[b'x'; 100]]);
    let window = said('<', &[&[0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 100]]);
    let ping = said('<', &[&[0, 0, 8, 6, 0, 0, 0, 0, 0], &[0; 8]]);
    check("http2", &opening, &[data, window, ping]);
}

#[test]
fn bulks_of_redis() {
    let opening = [
        said('>', &[b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"]),
        said('<', &[b"$1000000\r\n"]),
    ];
    check("redis", &opening, &[said('<', &[&[b'x'; 1000]])]);
    let opening = [
        said('>', &[b"*4\r\n$6\r\nLRANGE\r\n$1\r\na\r\n$1\r\n0\r\n$2\r\n-1\r\n"]),
        said('<', &[b"*1000\r\n"]),
    ];
    check("redis", &opening, &[said('<', &[b"$5\r\nvalue\r\n"])]);
}

#[test]
fn values_of_memcached() {
    let opening = [said('>', &[b"get a\r\n"]), said('<', &[b"VALUE a 0 1000000\r\n"])];
    check("memcached", &opening, &[said('<', &[&[b'x'; 1000]])]);
}

#[test]
fn messages_of_nats() {
    let opening = [said('>', &[b"PUB a 1000000\r\n"])];
    check("nats", &opening, &[said('>', &[&[b'x'; 1000]])]);
}

#[test]
fn batches_of_kafka() {
    // A fetch of version 4, number 7, of a client named `c`.
    let asks = [&[0, 1, 0, 4, 0, 0, 0, 7, 0, 1], &b"c"[..], &[0; 20]].concat();
    let length = 1_000_000;
    let batch = [&[0; 8][..], &big(length - 12), &[0, 0, 0, 0, 2], &[0; 40], &big(1)].concat();
    let partition = [&[0; 4][..], &[0; 2], &[0; 16], &[0xff; 4], &big(length)].concat();
    let body = [&big(0)[..], &big(1), b"\0\x01t", &big(1), &partition, &batch].concat();
    let size = big(4 + body.len() - batch.len() + length);
    let opening = [
        said('>', &[&big(asks.len()), &asks]),
        said('<', &[&size, &big(7), &body]),
    ];
    check("kafka", &opening, &[said('<', &[&[0; 1000]])]);
}

#[test]
fn keep_alives() {
    let opening = [
        said('>', &[b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a"]),
        said('<', &[b"\x20\x02\0\0"]),
    ];
    check("mqtt", &opening, &[said('>', &[b"\xc0\0"]), said('<', &[b"\xd0\0"])]);
    let opening = [
        said('<', &[b"INFO {\"server_id\":\"a\"}\r\n"]),
        said('>', &[b"CONNECT {\"verbose\":false}\r\n"]),
    ];
    check(
        "nats",
        &opening,
        &[said('>', &[b"PING\r\n"]), said('<', &[b"PONG\r\n"])],
    );
    let heartbeat = [&[8][..], &[0; 6], &[0xce]].concat();
    check(
        "amqp",
        &[said('>', &[b"AMQP\0\0\x09\x01"])],
        &[said('>', &[&heartbeat]), said('<', &[&heartbeat])],
    );
    let ping = said('<', &[b"\x89\0"]);
    let pong = said('>', &[b"\x8a\x80\x01\x02\x03\x04"]);
    let text = said('<', &[b"\x81\x05hello"]);
    let opening = [
        said(
            '>',
            &[b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"],
        ),
        said(
            '<',
            &[b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"],
        ),
        ping.clone(),
    ];
    check("websocket", &opening, &[ping, pong, text]);
}

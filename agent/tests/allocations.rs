//! What passes in the steady state of a connection costs no memory: rows, pieces of bodies and of values, keep-alives.
#![expect(clippy::expect_used, reason = "a test may fail this way")]
mod counting;

use bytes::Bytes;
use clew::capture::{Actor, Direction, Moment, Pid};
use clew::protocol::{Conversation, Limits, PROTOCOLS, Recognition, Step};
use clew::stream::{Content, Piece};

/// Rounds until buffers have the room they keep, and rounds that are counted.
const WARM: usize = 80;
const COUNTED: usize = 200;

/// What passes, and which way: `>` from the client, whose end this is, and `<` to it.
type Said = (char, Vec<u8>);
/// What is said once, and what passes behind it over and over.
type Case = (Vec<Said>, Vec<Said>);

/// The cases of a protocol.
type Cases = fn() -> Vec<Case>;

/// What passes in each protocol.
const CASES: &[(&str, Cases)] = &[
    ("tls", records_of_tls),
    ("nats", messages_of_nats),
    ("http", bodies_of_http),
    ("websocket", frames_of_websocket),
    ("http2", data_of_http2),
    ("postgresql", rows_of_postgresql),
    ("mysql", rows_of_mysql),
    ("tds", rows_of_tds),
    ("redis", bulks_of_redis),
    ("thrift", values_of_thrift),
    ("memcached", values_of_memcached),
    ("amqp", heartbeats_of_amqp),
    ("kafka", batches_of_kafka),
    ("mqtt", pings_of_mqtt),
    ("mongodb", documents_of_mongodb),
    ("fastcgi", streams_of_fastcgi),
    ("dns", repeated_questions_of_dns),
    ("dubbo", heartbeats_of_dubbo),
    ("cassandra", rows_of_cassandra),
];

#[test]
fn what_passes_costs_no_memory() {
    let mut failed = Vec::new();
    for protocol in PROTOCOLS {
        let cases = CASES.iter().find(|(name, _)| *name == protocol.name);
        let (_, cases) = cases.unwrap_or_else(|| panic!("{} has no case", protocol.name));
        for (number, (opening, passing)) in cases().iter().enumerate() {
            let allocated = allocated(protocol.name, opening, passing);
            if allocated > 0 {
                failed.push(format!(
                    "{} {number}: {allocated} allocations in {COUNTED} rounds",
                    protocol.name
                ));
            }
        }
    }
    assert_eq!(failed, Vec::<String>::new());
}

/// Plays `opening` once and `passing` over and over: the connection speaks `protocol`, and a round begins nothing and ends nothing.
/// How often rounds asked for memory.
fn allocated(protocol: &'static str, opening: &[Said], passing: &[Said]) -> u64 {
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
    assert_eq!(conversation.recognized(), Recognition::Known(protocol));
    assert!(conversation.wants_bytes() || protocol == "tls", "{protocol} is read on");
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
    allocated
}

fn said(mark: char, parts: &[&[u8]]) -> Said {
    (mark, parts.concat())
}

/// A number of four bytes, the highest first.
fn big(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("a small number").to_be_bytes()
}

/// The same, the lowest first.
fn little(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("a small number").to_le_bytes()
}

/// A number of two bytes, the highest first.
fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("a small number").to_be_bytes()
}

fn records_of_tls() -> Vec<Case> {
    let record = |mark, kind: u8, content: &[u8]| said(mark, &[&[kind, 3, 3], &short(content.len()), content]);
    let client = [&[1, 0, 0, 41, 3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2f, 1, 0]].concat();
    let server = [&[2, 0, 0, 38, 3, 3][..], &[8; 32], &[0, 0xc0, 0x2f, 0]].concat();
    let opening = vec![
        record('>', 22, &client),
        record('<', 22, &server),
        record('>', 20, &[1]),
        record('>', 22, &[0; 40]),
        record('<', 20, &[1]),
        record('<', 22, &[0; 40]),
    ];
    vec![(opening, vec![record('>', 23, &[0; 1000]), record('<', 23, &[0; 1000])])]
}

/// A message of PostgreSQL: its kind, its length with itself, and the rest.
fn postgresql(mark: char, kind: &[u8], rest: &[u8]) -> Said {
    said(mark, &[kind, &big(rest.len() + 4), rest])
}

fn rows_of_postgresql() -> Vec<Case> {
    let column = b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    let opening = vec![
        postgresql('>', b"", b"\0\x03\0\0user\0a\0\0"),
        postgresql('<', b"R", &big(0)),
        postgresql('<', b"Z", b"I"),
        postgresql('>', b"Q", b"select a from b\0"),
        postgresql('<', b"T", column),
    ];
    let row = postgresql('<', b"D", b"\0\x01\0\0\0\x05value");
    vec![(opening, vec![row])]
}

/// Packets are numbered, and begin anew behind 256.
fn rows_of_mysql() -> Vec<Case> {
    let packet = |number: usize, payload: &[u8]| {
        let length = little(payload.len());
        [&length[..3], &[(number % 256) as u8], payload].concat()
    };
    let opening = vec![
        ('>', packet(0, b"\x03select a from b")),
        ('<', packet(1, b"\x01")),
        (
            '<',
            packet(2, b"\x03def\0\x01b\x01b\x01a\x01a\x0c\x21\0\x0f\0\0\0\xfd\0\0\0\0\0"),
        ),
        ('<', packet(3, b"\xfe\0\0\x02\0")),
    ];
    let rows: Vec<u8> = (4..4 + 256).flat_map(|number| packet(number, b"\x05value")).collect();
    let (first, second) = rows.split_at(rows.len() / 2 + 3);
    vec![(opening, vec![('<', first.to_vec()), ('<', second.to_vec())])]
}

/// Rows, one of which is cut in two by packets, and some whose only column is told to be NULL.
fn rows_of_tds() -> Vec<Case> {
    let packet = |mark, kind: u8, status: u8, content: &[u8]| {
        said(
            mark,
            &[&[kind, status], &short(content.len() + 8), &[0, 0, 1, 0], content],
        )
    };
    let text: Vec<u8> = "select a from b".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let headers = [&little(22)[..], &little(18), &[2, 0], &[0; 8], &little(1)].concat();
    let column = [&[0x81, 1, 0][..], &[0; 6], &[0xe7, 100, 0], &[0; 5], &[1, b'a', 0]].concat();
    let opening = vec![packet('>', 1, 1, &[headers, text].concat()), packet('<', 4, 0, &column)];
    let row: &[u8] = &[0xd1, 4, 0, b'a', 0, b'b', 0];
    let none: &[u8] = &[0xd2, 1];
    let first = packet('<', 4, 0, &[row, none, row, &row[..2]].concat());
    let second = packet('<', 4, 0, &[&row[2..], none].concat());
    vec![(opening, vec![first, second])]
}

fn bodies_of_http() -> Vec<Case> {
    let piece = vec![b'x'; 1000];
    let asks = b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    let asked = (vec![said('>', &[asks])], vec![said('>', &[&piece])]);
    let opening = vec![
        said('>', &[b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"]),
        said('<', &[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]),
    ];
    vec![asked, (opening, vec![said('<', &[b"3e8\r\n", &piece, b"\r\n"])])]
}

fn data_of_http2() -> Vec<Case> {
    // `:method: POST`, `:scheme: http` and `:path: /`, as HPACK's static table numbers them.
    let headers = [&[0, 0, 3, 1, 4, 0, 0, 0, 1], &b"\x83\x86\x84"[..]].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let opening = vec![said('>', &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings, &headers])];
    let data = said('>', &[&[0, 0, 100, 0, 0, 0, 0, 0, 1], &[b'x'; 100]]);
    let window = said('<', &[&[0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 100]]);
    let ping = said('<', &[&[0, 0, 8, 6, 0, 0, 0, 0, 0], &[0; 8]]);
    vec![(opening, vec![data, window, ping])]
}

fn bulks_of_redis() -> Vec<Case> {
    let one = vec![
        said('>', &[b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"]),
        said('<', &[b"$1000000\r\n"]),
    ];
    let several = vec![
        said('>', &[b"*4\r\n$6\r\nLRANGE\r\n$1\r\na\r\n$1\r\n0\r\n$2\r\n-1\r\n"]),
        said('<', &[b"*1000\r\n"]),
    ];
    vec![
        (one, vec![said('<', &[&[b'x'; 1000]])]),
        (several, vec![said('<', &[b"$5\r\nvalue\r\n"])]),
    ]
}

/// A call with a list of texts, one of structs, and one in a frame of the compact protocol.
fn values_of_thrift() -> Vec<Case> {
    let many = big(1_000_000);
    let binary = |of: u8| said('>', &[b"\x80\x01\0\x01\0\0\0\x03put\0\0\0\x01\x0f\0\x01", &[of], &many]);
    let text = said('>', &[b"\0\0\0\x05value"]);
    let parts = [
        said('>', &[b"\x0b\0\x01\0\0"]),
        said('>', &[b"\0\x05value\x08\0\x02\0\0\0\x01\0"]),
    ];
    let compact = said('>', &[&big(10_000_000), b"\x82\x21\x01\x03put\x19\xf8\xc0\x84\x3d"]);
    vec![
        (vec![binary(0x0b)], vec![text]),
        (vec![binary(0x0c)], parts.to_vec()),
        (vec![compact], vec![said('>', &[b"\x05value"])]),
    ]
}

fn values_of_memcached() -> Vec<Case> {
    let opening = vec![said('>', &[b"get a\r\n"]), said('<', &[b"VALUE a 0 1000000\r\n"])];
    vec![(opening, vec![said('<', &[&[b'x'; 1000]])])]
}

fn messages_of_nats() -> Vec<Case> {
    let greeting = vec![
        said('<', &[b"INFO {\"server_id\":\"a\"}\r\n"]),
        said('>', &[b"CONNECT {\"verbose\":false}\r\n"]),
    ];
    vec![
        (
            vec![said('>', &[b"PUB a 1000000\r\n"])],
            vec![said('>', &[&[b'x'; 1000]])],
        ),
        (greeting, vec![said('>', &[b"PING\r\n"]), said('<', &[b"PONG\r\n"])]),
    ]
}

fn batches_of_kafka() -> Vec<Case> {
    // A fetch of version 4, number 7, of a client named `c`.
    let asks = [&[0, 1, 0, 4, 0, 0, 0, 7, 0, 1], &b"c"[..], &[0; 20]].concat();
    let length = 1_000_000;
    let batch = [&[0; 8][..], &big(length - 12), &[0, 0, 0, 0, 2], &[0; 40], &big(1)].concat();
    let partition = [&[0; 4][..], &[0; 2], &[0; 16], &[0xff; 4], &big(length)].concat();
    let body = [&big(0)[..], &big(1), b"\0\x01t", &big(1), &partition, &batch].concat();
    let size = big(4 + body.len() - batch.len() + length);
    let opening = vec![
        said('>', &[&big(asks.len()), &asks]),
        said('<', &[&size, &big(7), &body]),
    ];
    vec![(opening, vec![said('<', &[&[0; 1000]])])]
}

fn pings_of_mqtt() -> Vec<Case> {
    let opening = vec![
        said('>', &[b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a"]),
        said('<', &[b"\x20\x02\0\0"]),
    ];
    vec![(opening, vec![said('>', &[b"\xc0\0"]), said('<', &[b"\xd0\0"])])]
}

fn heartbeats_of_amqp() -> Vec<Case> {
    let heartbeat = [&[8][..], &[0; 6], &[0xce]].concat();
    let passing = ['>', '<'].map(|mark| said(mark, &[&heartbeat]));
    vec![(vec![said('>', &[b"AMQP\0\0\x09\x01"])], passing.to_vec())]
}

fn documents_of_mongodb() -> Vec<Case> {
    let message = |mark, number: usize, answers: usize| {
        let head = [
            little(1_000_000),
            little(number),
            little(answers),
            little(2013),
            little(0),
        ];
        // A document that begins with a text.
        said(mark, &[head.as_flattened(), &[0], &little(999_000), b"\x02find\0"])
    };
    let piece = vec![b'x'; 1000];
    // A message with one document: its length, `ping: 1`, `$db: "a"`.
    let document = b"\x10ping\0\x01\0\0\0\x02$db\0\x02\0\0\0a\0\0";
    let length = document.len() + 4;
    let heads = [little(21 + length), little(1), little(0), little(2013), little(0)];
    let asks = said('>', &[heads.as_flattened(), &[0], &little(length), document]);
    vec![
        (vec![message('>', 1, 0)], vec![said('>', &[&piece])]),
        (vec![asks, message('<', 2, 1)], vec![said('<', &[&piece])]),
    ]
}

fn streams_of_fastcgi() -> Vec<Case> {
    let record =
        |mark, kind: u8, content: &[u8]| said(mark, &[&[1, kind, 0, 1], &short(content.len()), &[0, 0], content]);
    let opening = vec![
        record('>', 1, &[0, 1, 0, 0, 0, 0, 0, 0]),
        record('>', 4, b"\x0e\x03REQUEST_METHODPUT"),
        record('>', 4, b""),
        record('<', 6, b"Content-Type: text/plain\r\n\r\n"),
    ];
    let passing = vec![
        record('>', 5, &[b'x'; 1000]),
        record('<', 6, &[b'x'; 1000]),
        record('<', 7, b"a line on its error stream"),
    ];
    vec![(opening, passing)]
}

/// Its messages begin or end something, but for a question that is asked again.
fn repeated_questions_of_dns() -> Vec<Case> {
    let question = said(
        '>',
        &[b"\0\x1a\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03two\x04test\0\0\x01\0\x01"],
    );
    let (first, second) = question.1.split_at(9);
    let parts = vec![('>', first.to_vec()), ('>', second.to_vec())];
    vec![
        (vec![question.clone()], vec![question.clone()]),
        (vec![question.clone()], parts),
    ]
}

fn heartbeats_of_dubbo() -> Vec<Case> {
    let message = |mark, flags: u8, status: u8, body: &[u8]| {
        said(
            mark,
            &[&[0xda, 0xbb, flags, status], &[0; 7], &[9], &big(body.len()), body],
        )
    };
    let opening = vec![message('>', 0xc2, 0, b"\x052.0.2\x01a\x050.0.0\x01b")];
    vec![(opening, vec![message('>', 0xe2, 0, b"N"), message('<', 0x22, 20, b"N")])]
}

/// A long answer: as a message, and in the segments of version 5, compressed and not.
fn rows_of_cassandra() -> Vec<Case> {
    let message = |version: u8, opcode: u8, length: usize, body: &[u8]| {
        [&[version, 0, 0, 1, opcode][..], &big(length), body].concat()
    };
    let query = [&big(15)[..], b"select a from b", &[0, 1, 0]].concat();
    let startup = b"\0\x01\0\x0bCQL_VERSION\0\x053.4.5";
    let begins = |version: u8| message(0x80 | version, 8, 100_000_000, b"\0\0\0\x02");
    let piece = vec![b'x'; 1000];
    let mut cases = vec![(
        vec![('>', message(4, 7, query.len(), &query)), ('<', begins(4))],
        vec![said('<', &[&piece])],
    )];
    for compressed in [false, true] {
        let segment = |mark, content: &[u8], whole: bool| said(mark, &[&segment(content, whole, compressed)]);
        let opening = vec![
            ('>', message(5, 1, startup.len(), startup)),
            ('<', message(0x85, 2, 0, b"")),
            segment('>', &message(5, 7, query.len(), &query), true),
            segment('<', &begins(5), false),
        ];
        cases.push((opening, vec![segment('<', &piece, false)]));
    }
    cases
}

/// A segment of CQL's version 5 with this content; its last checksum is nothing that is looked at.
fn segment(content: &[u8], whole: bool, compressed: bool) -> Vec<u8> {
    let (head, content) = if compressed {
        let packed = lz4_flex::block::compress(content);
        let lengths = packed.len() as u64 | (content.len() as u64) << 17 | u64::from(whole) << 34;
        (lengths.to_le_bytes()[..5].to_vec(), packed)
    } else {
        let length = content.len() as u64 | u64::from(whole) << 17;
        (length.to_le_bytes()[..3].to_vec(), content.to_vec())
    };
    // CRC-24 as the specification of the protocol has it.
    let sum = head.iter().fold(0x0087_5060_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte) << 16, |sum, _| {
            let next = sum << 1;
            if next & 0x0100_0000 == 0 {
                next
            } else {
                next ^ 0x0197_4f0b
            }
        })
    });
    [&head, &sum.to_le_bytes()[..3], &content, &[0; 4]].concat()
}

fn frames_of_websocket() -> Vec<Case> {
    let ping = said('<', &[b"\x89\0"]);
    let pong = said('>', &[b"\x8a\x80\x01\x02\x03\x04"]);
    let text = said('<', &[b"\x81\x05hello"]);
    let opening = vec![
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
    vec![(opening, vec![ping, pong, text])]
}

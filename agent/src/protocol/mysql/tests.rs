//! What no server at hand says: MySQL's own additions, and connections that are joined midway.
use super::wire::{CONTINUED, able};
use super::*;
use crate::capture::Direction;
use crate::protocol::call::Query;
use crate::protocol::played::played;
use crate::protocol::{Conversation, Limits, Recognized, RequestHead, ResponseHead};

const CLIENT: Direction = Direction::Egress;
const SERVER: Direction = Direction::Ingress;

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    bytes.push(number);
    bytes.extend(payload);
    bytes
}

fn packets(from: u8, payloads: &[&[u8]]) -> Vec<u8> {
    let numbers = (0..payloads.len()).map(|number| from.wrapping_add(number as u8));
    let packets = numbers.zip(payloads).map(|(number, payload)| packet(number, payload));
    packets.flatten().collect()
}

/// MySQL 8's greeting and a client's answer, which agree on these abilities.
fn opened(able: u32) -> Vec<(Direction, Vec<u8>)> {
    let able = able | able::PROTOCOL_41 | able::SECURE_CONNECTION;
    let bits = able.to_le_bytes();
    let mut greeting = b"\x0a8.0.36\0\x08\0\0\0challeng\0".to_vec();
    greeting.extend([bits[0], bits[1], 255, 2, 0, bits[2], bits[3], 21]);
    greeting.extend(b"\0\0\0\0\0\0\0\0\0\0challenge123\0caching_sha2_password\0");
    let mut hello = bits.to_vec();
    hello.extend([0, 0, 0, 1, 45]);
    hello.extend([0; 23]);
    hello.extend(b"shop\0\0");
    vec![
        (SERVER, packet(0, &greeting)),
        (CLIENT, packet(1, &hello)),
        (SERVER, packets(2, &[b"\x01\x03", OK])),
    ]
}

const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const COLUMN: &[u8] = b"\x03def\0\0\0\x01a\0\x0c\x3f\0\x01\0\0\0\x08\x81\0\0\0\0";
/// What ends rows where definitions have no end.
const END: &[u8] = &[0xfe, 0, 0, 2, 0, 0, 0];

/// What is told, in pieces of any size.
#[track_caller]
fn check(midway: bool, all: &[(Direction, Vec<u8>)], expected: &[&str]) {
    for cut in [usize::MAX, 7, 1] {
        assert_eq!(play(midway, all, cut), expected, "in pieces of {cut}");
    }
}

fn play(midway: bool, all: &[(Direction, Vec<u8>)], cut: usize) -> Vec<String> {
    let limits = Limits {
        values: true,
        ..Limits::default()
    };
    let steps = played(Conversation::new(limits), midway, all, cut);
    steps.iter().filter_map(tell).collect()
}

fn tell(step: &Step) -> Option<String> {
    Some(match step {
        Step::Request(request) => {
            let RequestHead::Database(call) = &request.head else {
                panic!("{request:?}");
            };
            let namespace = call.namespace.as_deref().unwrap_or("?");
            match &call.query {
                Query::Sql(statement) => {
                    let text = statement.text.as_ref().map_or("?", |text| &text.text);
                    format!("{namespace}: {text} {:?}", statement.parameters)
                }
                Query::Command(command) => format!("{namespace}: {}", command.name),
                Query::Operation(operation) => panic!("{operation:?}"),
            }
        }
        Step::Response(response) => {
            let ResponseHead::Database(outcome) = &response.head else {
                panic!("{response:?}");
            };
            let failed = outcome.error.as_ref().map(|failure| &failure.code);
            format!("{:?} {:?} {failed:?}", outcome.returned_rows, outcome.affected_rows)
        }
        Step::Broken { reason, .. } => format!("{reason:?}"),
        Step::Count(name) => (*name).to_owned(),
        _ => return None,
    })
}

#[test]
fn rows_without_an_end_of_definitions() {
    let mut all = opened(able::DEPRECATE_EOF);
    all.extend([
        (CLIENT, packet(0, b"\x03SELECT 1")),
        (SERVER, packets(1, &[&[1], COLUMN, b"\x011", b"\x012", END])),
        (CLIENT, packet(0, b"\x16SELECT a FROM t WHERE b = ?")),
        (SERVER, packets(1, &[b"\0\x05\0\0\0\x01\0\x01\0\0\0\0", COLUMN, COLUMN])),
        (
            CLIENT,
            packet(
                0,
                b"\x17\x05\0\0\0\0\x01\0\0\0\0\x01\x08\x80\xff\xff\xff\xff\xff\xff\xff\xff",
            ),
        ),
        (SERVER, packets(1, &[&[1], COLUMN, b"\0\0\x01", END])),
    ]);
    check(
        false,
        &all,
        &[
            "?: CONNECT",
            "None None None",
            "?: SELECT 1 []",
            "Some(2) None None",
            "?: PREPARE",
            "None None None",
            "?: SELECT a FROM t WHERE b = ? [Some(\"18446744073709551615\")]",
            "Some(1) None None",
        ],
    );
}

#[test]
fn attributes_stand_before_the_text() {
    let mut all = opened(able::QUERY_ATTRIBUTES);
    all.extend([
        (CLIENT, packet(0, b"\x03\0\x01SELECT 1")),
        (SERVER, packet(1, OK)),
        (
            CLIENT,
            packet(
                0,
                b"\x03\x02\x01\x02\x01\xfe\0\x04name\x06\0\x04none\x05valueDELETE FROM t",
            ),
        ),
        (SERVER, packet(1, &[0, 3, 0, 2, 0, 0, 0])),
    ]);
    check(
        false,
        &all,
        &[
            "?: CONNECT",
            "None None None",
            "?: SELECT 1 []",
            "None None None",
            "?: DELETE FROM t []",
            "None Some(3) None",
        ],
    );
}

#[test]
fn the_server_says_which_database_it_is_now() {
    let mut all = opened(0);
    all.extend([
        (CLIENT, packet(0, b"\x03CALL elsewhere()")),
        (SERVER, packet(1, b"\0\0\0\x02\x40\0\0\0\x07\x01\x05\x04shop")),
        (CLIENT, packet(0, b"\x0e")),
        (SERVER, packet(1, OK)),
    ]);
    check(
        false,
        &all,
        &[
            "?: CONNECT",
            "None None None",
            "?: CALL elsewhere() []",
            "None Some(0) None",
            "shop: PING",
            "None None None",
        ],
    );
}

#[test]
fn a_payload_goes_on_in_the_next_packet() {
    let mut all = opened(0);
    let long = vec![b' '; CONTINUED as usize - 1];
    let mut query = packet(0, &[b"\x03".as_slice(), &long].concat());
    query.extend(packet(1, b"SELECT 1"));
    let row = [&[0xfd, 0xff, 0xff, 0xff], vec![b'x'; CONTINUED as usize - 4].as_slice()].concat();
    all.extend([
        (CLIENT, query),
        (
            SERVER,
            packets(2, &[&[1], COLUMN, b"\xfe\0\0\x02\0", &row, b"xxxx", b"\xfe\0\0\x02\0"]),
        ),
    ]);
    let told = play(false, &all, 1 << 16);
    assert_eq!(told.get(2).map(String::as_str), Some("protocol.mysql.text_too_long"));
    assert_eq!(told.last().map(String::as_str), Some("Some(1) None None"));
}

#[test]
fn joined_midway() {
    let execute = packet(0, b"\x17\x05\0\0\0\0\x01\0\0\0");
    let rows = packets(1, &[&[1], COLUMN, b"\xfe\0\0\x02\0", b"\0\0\x01", b"\xfe\0\0\x02\0"]);
    // What was asked before is not known, so the first is not told.
    check(
        true,
        &[
            (CLIENT, execute.clone()),
            (SERVER, rows.clone()),
            (CLIENT, execute),
            (SERVER, rows),
            (CLIENT, packet(0, b"\x16SELECT ?")),
            (
                SERVER,
                packets(
                    1,
                    &[
                        b"\0\x06\0\0\0\x01\0\x01\0\0\0\0",
                        COLUMN,
                        b"\xfe\0\0\x02\0",
                        COLUMN,
                        b"\xfe\0\0\x02\0",
                    ],
                ),
            ),
            (CLIENT, packet(0, b"\x03SELECT missing")),
            (SERVER, packet(1, b"\xff\x1e\x04#42S22Unknown column")),
        ],
        &[
            "?: ? []",
            "Some(1) None None",
            "?: PREPARE",
            "None None None",
            "?: SELECT missing []",
            "None None Some(\"1054\")",
        ],
    );
}

#[test]
fn what_is_compressed_is_not_read() {
    let mut all = opened(1 << 26);
    all.extend([(CLIENT, packet(0, b"\x03SELECT 1")), (SERVER, packet(1, OK))]);
    check(
        false,
        &all,
        &["?: CONNECT", "None None None", "protocol.mysql.compressed"],
    );
}

#[test]
fn what_came_before_tls_was_asked_for_is_not_of_it() {
    let mut all = opened(able::TLS);
    let mut request = able::TLS.to_le_bytes().to_vec();
    request[1] |= (able::PROTOCOL_41 >> 8) as u8;
    request.extend([0, 0, 0, 1, 45]);
    request.extend([0; 23]);
    all[0].1.extend(b"unasked");
    all[1].1 = packet(1, &request);
    all[1].1.extend(b"no record at all");
    all.truncate(2);
    check(false, &all, &["protocol.mysql.response_unmatched"]);
}

#[test]
fn an_answer_with_another_number_answers_nothing() {
    let mut all = opened(0);
    all.extend([
        (CLIENT, packet(0, b"\x03DO 1")),
        (SERVER, packet(2, OK)),
        (CLIENT, packet(0, b"\x03DO 2")),
        (SERVER, packet(1, OK)),
    ]);
    let expected = [
        "?: CONNECT",
        "None None None",
        "?: DO 1 []",
        "protocol.mysql.response_unmatched",
        "Unseen",
        "?: DO 2 []",
        "None None None",
    ];
    check(false, &all, &expected);
}

#[test]
fn only_strong_evidence_is_recognized() {
    let is = |bytes: &[u8], expected: Recognized| assert_eq!(recognize(bytes), expected, "{}", bytes.escape_ascii());
    is(&packet(0, b"\x03SELECT 1"), Recognized::Yes);
    is(&packet(0, b"\x03/* why */ (select 1)"), Recognized::Yes);
    is(&packet(0, b"\x03COMMIT"), Recognized::Yes);
    is(&packet(0, b"\x17\x05\0\0\0\0\x01\0\0\0"), Recognized::Yes);
    for other in [
        &b"\x03SELECTED 1"[..],
        b"\x03COMMITS",
        b"\x03\x01\x02\x03\x04",
        b"\x0e",
        b"\x17\x05\0\0\0\0\x02\0\0\0",
        b"\x0a8.0",
    ] {
        is(&packet(0, other), Recognized::No);
    }
    is(&packet(3, b"\x03SELECT 1"), Recognized::No);
    is(b"\x40\0\0\0\x16START TRANSACTION", Recognized::More);
    is(b"GET", Recognized::No);
}

#[test]
fn what_statements_do() {
    use session::{does, uses};
    for (text, expected) in [
        ("begin", Does::Begins),
        ("START /* a */ TRANSACTION READ ONLY", Does::Begins),
        ("START SLAVE", Does::Other),
        ("-- a\n COMMIT", Does::Ends),
        ("ROLLBACK WORK", Does::Ends),
        ("ROLLBACK WORK TO SAVEPOINT a", Does::Other),
        ("rollback to a", Does::Other),
    ] {
        assert_eq!(does(text), expected, "{text}");
    }
    let uses = |text: &str| uses(&Text::new(text.as_bytes(), false)).flatten();
    assert_eq!(uses("use shop;").as_deref(), Some("shop"));
    assert_eq!(uses("USE `my shop`").as_deref(), Some("my shop"));
    assert_eq!(uses("USER"), None);
}

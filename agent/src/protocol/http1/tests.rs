use bytes::Bytes;

use super::*;
use crate::capture::{Actor, Direction, Moment, Pid};
use crate::protocol::{Body, Broken, Conversation, Limits, Mark, Step};
use crate::stream::{Content, Piece};

fn moment(time_ns: u64) -> Moment {
    Moment::new(time_ns, Actor::thread(Pid(1), 1))
}

/// A part of a script: `> ` bytes of the client, `< ` of the server, `>? N` and `<? N` bytes that were not seen, `>.` and
/// `<.` the end of a direction, `@` two seconds pass, `~` (first) the connection is older than the agent.
enum Part {
    Bytes(Direction, Vec<u8>),
    Unseen(Direction, u64),
    End(Direction),
    Time,
    Midway,
}

fn parse(script: &str) -> Vec<Part> {
    script
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let direction = if line.starts_with('>') {
                Direction::Egress
            } else {
                Direction::Ingress
            };
            match line.get(1..2) {
                None if line == "~" => Part::Midway,
                None => Part::Time,
                Some("?") => Part::Unseen(direction, line[2..].trim().parse().unwrap()),
                Some(".") => Part::End(direction),
                Some(_) => {
                    let text = line[2..].replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t");
                    let text = text.replace("\\0", "\0").replace("\\2", "\u{2}");
                    Part::Bytes(direction, text.into_bytes())
                }
            }
        })
        .collect()
}

fn body(body: &Body) -> String {
    let bytes = body.bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
    let mut told = format!("{bytes} {:?}", String::from_utf8_lossy(&body.captured));
    if let Some(messages) = body.messages {
        told += &format!(" {messages} messages");
    }
    if let Some(trailers) = &body.trailers {
        told += &format!(" {trailers:?}");
    }
    if !body.end.is_empty() {
        told += &format!(" {:?}", String::from_utf8_lossy(&body.end));
    }
    told
}

/// Plays a script with bytes cut into pieces of `cut` and gives what came of it, a line a step.
fn play(parts: &[Part], cut: usize) -> Vec<String> {
    let midway = matches!(parts.first(), Some(Part::Midway));
    let mut conversation = Conversation::new(Limits {
        body_bytes: 64,
        ..Limits::default()
    })
    .midway(midway);
    let mut steps = Vec::new();
    let mut offsets = [0_u64; 2];
    let mut now = 0;
    for part in parts {
        now += 1;
        let mut send = |direction: Direction, content: Content, length: u64| {
            let offset = &mut offsets[usize::from(direction == Direction::Ingress)];
            conversation.piece(
                Piece {
                    direction,
                    offset: *offset,
                    content,
                    moment: moment(now),
                },
                &mut steps,
            );
            *offset += length;
        };
        match part {
            Part::Bytes(direction, bytes) => {
                for piece in bytes.chunks(cut) {
                    send(
                        *direction,
                        Content::Bytes(Bytes::copy_from_slice(piece)),
                        piece.len() as u64,
                    );
                }
            }
            Part::Unseen(direction, length) => send(*direction, Content::Unseen(*length), *length),
            Part::End(direction) => send(*direction, Content::End, 0),
            Part::Midway => {}
            Part::Time => {
                now += 2_000_000_000;
                conversation.tick(now, &mut steps);
            }
        }
    }
    conversation.end(
        Mark {
            offset: 0,
            moment: moment(now),
        },
        Broken::AgentStopped,
        &mut steps,
    );
    assert_eq!(conversation.open(), 0);
    steps
        .iter()
        .map(|step| match step {
            Step::Request(request) => {
                let crate::protocol::RequestHead::Http(head) = &request.head else {
                    panic!("{request:?}")
                };
                format!(
                    "{} {} {} @{}",
                    request.exchange.0, head.method, head.target, request.offset
                )
            }
            Step::RequestEnd { exchange, body: it, .. } => format!("{} asked {}", exchange.0, body(it)),
            Step::Response(response) => {
                let crate::protocol::ResponseHead::Http(head) = &response.head else {
                    panic!("{response:?}")
                };
                format!("{} {}", response.exchange.0, head.status)
            }
            Step::ResponseEnd { exchange, body: it, .. } => format!("{} done {}", exchange.0, body(it)),
            Step::Broken { exchange, reason, .. } => format!("{} broken {reason:?}", exchange.0),
            Step::Preface(preface) => format!("speaks for {:?}", preface.client),
            Step::Hello(hello) => format!("hello {:?}", hello.direction),
            Step::Withdrawn { exchange } => format!("{} withdrawn", exchange.0),
            Step::Named { name, .. } => format!("named {name}"),
            Step::Count(name) => format!("count {name}"),
            Step::Shared { exchange } => format!("shared {}", exchange.0),
        })
        .collect()
}

/// The same must come of a script however its bytes are cut.
fn check(script: &str, expected: &str) {
    let parts = parse(script);
    let expected: Vec<&str> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    for cut in [usize::MAX, 7, 1] {
        assert_eq!(play(&parts, cut), expected, "in pieces of {cut}: {script}");
    }
}

#[test]
fn keep_alive_and_lengths() {
    check(
        r"> GET /a HTTP/1.1\r\nHost: x\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi
          > POST /b HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\nabc
          < HTTP/1.1 204 No Content\r\n\r\n",
        r#"0 GET /a @0
           0 asked 0 ""
           0 200
           0 done 2 "hi"
           1 POST /b @28
           1 asked 3 "abc"
           1 204
           1 done 0 """#,
    );
}

#[test]
fn chunked_with_extensions_and_trailers() {
    check(
        r"> POST / HTTP/1.1\nTransfer-Encoding: gzip, chunked\n\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
        r#"0 POST / @0
           0 asked 3 "abc"
           0 200
           0 done 10 "0123456789""#,
    );
}

/// gRPC-Web and Connect put what ends a call into the content.
#[test]
fn calls_in_a_body() {
    check(
        r"> POST /a.B/C HTTP/1.1\r\nContent-Type: application/grpc-web-text\r\nContent-Length: 8\r\n\r\nAAAAAAFh
          < HTTP/1.1 200 OK\r\nContent-Type: application/grpc-web-text\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nAAAAAAFh\r\n20\r\ngAAAABFncnBjLXN0YXR1czogMTMNCg==\r\n0\r\n\r\n
          > POST /a.B/D HTTP/1.1\r\nContent-Type: application/connect+json\r\nContent-Length: 7\r\n\r\n\0\0\0\0\2{}
          < HTTP/1.1 200 OK\r\nContent-Type: application/connect+json\r\n\r\n\0\0\0\0\2{}\2\0\0\0\2{}
          <.",
        r#"0 POST /a.B/C @0
           0 asked 8 "AAAAAAFh" 1 messages
           0 200
           0 done 40 "AAAAAAFhgAAAABFncnBjLXN0YXR1czogMTMNCg==" 1 messages {"grpc-status": "13"}
           1 POST /a.B/D @92
           1 asked 7 "\0\0\0\0\u{2}{}" 1 messages
           1 200
           1 done 14 "\0\0\0\0\u{2}{}\u{2}\0\0\0\u{2}{}" 1 messages "{}""#,
    );
}

#[test]
fn responses_without_a_body() {
    check(
        r"> HEAD / HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n
          > GET / HTTP/1.1\r\n\r\n
          < HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
        r#"0 HEAD / @0
           0 asked 0 ""
           0 200
           0 done 0 ""
           1 GET / @19
           1 asked 0 ""
           1 304
           1 done 0 """#,
    );
}

#[test]
fn interim_responses_and_expectations() {
    check(
        r"> POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n
          < HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n
          > ab
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 POST / @0
           0 asked 2 "ab"
           0 200
           0 done 0 """#,
    );
    check(
        r"> POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n
          < HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n
          > GET /b HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 POST / @0
           0 401
           count protocol.http1.continue_refused
           0 done 0 ""
           1 GET /b @60
           1 asked 0 ""
           1 200
           1 done 0 """#,
    );
}

#[test]
fn pipelining() {
    check(
        r"> GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nb",
        r#"0 GET /1 @0
           0 asked 0 ""
           1 GET /2 @19
           1 asked 0 ""
           0 200
           0 done 1 "a"
           1 404
           1 done 1 "b""#,
    );
}

#[test]
fn until_close_and_http_1_0() {
    check(
        r"> GET / HTTP/1.0\r\n\r\n
          < HTTP/1.0 200 OK\r\n\r\nall of it
          <.",
        r#"0 GET / @0
           0 asked 0 ""
           0 200
           0 done 9 "all of it""#,
    );
}

#[test]
fn a_response_before_the_request_ended() {
    check(
        r"> POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab
          < HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n
          > cd
          > GET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 POST / @0
           0 413
           0 done 0 ""
           1 GET /2 @42
           1 asked 0 ""
           1 200
           1 done 0 """#,
    );
}

#[test]
fn upgrades_and_tunnels_are_followed() {
    check(
        r"> GET /chat HTTP/1.1\r\nUpgrade: x\r\n\r\n
          < HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n
          > CONNECT h:1 HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\n\r\n
          > GET /inner HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 GET /chat @0
           0 asked 0 ""
           0 101
           0 done 0 ""
           count protocol.http1.upgraded
           1 CONNECT h:1 @34
           1 asked 0 ""
           1 200
           1 done 0 ""
           count protocol.http1.tunneled
           2 GET /inner @58
           2 asked 0 ""
           2 200
           2 done 0 """#,
    );
}

#[test]
fn folding_and_empty_lines() {
    let head = head::request(b"\r\nGET / HTTP/1.1\r\nA: b\r\n\t c\r\nbad line\r\nD : e\r\n\r\n").unwrap();
    assert_eq!(field(&head.fields, "a"), Some(b"b c".as_ref()));
    assert_eq!(field(&head.fields, "d"), Some(b"e".as_ref()));
    assert_eq!(head.fields.len(), 2);
}

#[test]
fn a_response_that_arrives_before_its_request() {
    check(
        r"> GET /1 HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n
          < HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n
          > GET /2 HTTP/1.1\r\n\r\n",
        r#"0 GET /1 @0
           0 asked 0 ""
           0 200
           0 done 0 ""
           1 GET /2 @19
           1 asked 0 ""
           1 201
           1 done 0 """#,
    );
}

#[test]
fn a_large_body_is_counted_without_being_seen() {
    check(
        r"> GET / HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc
          <? 97
          > GET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 GET / @0
           0 asked 0 ""
           0 200
           0 done 100 "abc"
           1 GET /2 @18
           1 asked 0 ""
           1 200
           1 done 0 """#,
    );
}

#[test]
fn a_chunked_body_whose_framing_is_unseen_ends_when_the_client_goes_on() {
    check(
        r"> GET / HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab
          <? 500
          > GET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 GET / @0
           0 asked 0 ""
           0 200
           count protocol.http1.framing_unseen
           count protocol.http1.resync
           0 done ? "ab"
           1 GET /2 @18
           1 asked 0 ""
           1 200
           1 done 0 """#
            .replace("           count protocol.http1.resync\n", "")
            .as_str(),
    );
    check(
        r"> GET / HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab
          <? 500
          @",
        r#"0 GET / @0
           0 asked 0 ""
           0 200
           count protocol.http1.framing_unseen
           0 done ? "ab""#,
    );
}

#[test]
fn heads_that_are_cut_are_told_as_far_as_seen() {
    check(
        r"> GET / HTTP/1.1\r\nCookie: abc
          >? 5000
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n
          > GET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        r#"count protocol.http1.head_cut
           0 GET / @0
           0 200
           0 done 0 ""
           count protocol.http1.resync
           1 GET /2 @5027
           1 asked 0 ""
           1 200
           1 done 0 """#,
    );
}

#[test]
fn a_hole_never_pairs_the_wrong_two() {
    // The second request is lost; the third comes while the first is not answered.
    check(
        r"> GET /1 HTTP/1.1\r\n\r\n
          >? 19
          > GET /3 HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n
          < HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n
          < HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n
          @
          > GET /4 HTTP/1.1\r\n\r\n
          < HTTP/1.1 203 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 GET /1 @0
           0 asked 0 ""
           0 200
           0 done 0 ""
           count protocol.http1.response_unmatched
           count protocol.http1.resync
           1 GET /4 @57
           1 asked 0 ""
           1 203
           1 done 0 """#,
    );
    // A response is lost.
    check(
        r"> GET /1 HTTP/1.1\r\n\r\n
          <? 50
          > GET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 GET /1 @0
           0 asked 0 ""
           0 broken Unseen
           count protocol.http1.resync
           1 GET /2 @19
           1 asked 0 ""
           1 202
           1 done 0 """#,
    );
}

#[test]
fn joined_between_a_request_and_its_response() {
    check(
        r"~
          < HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi
          > GET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n",
        r#"count protocol.http1.response_unmatched
           count protocol.http1.resync
           0 GET /2 @0
           0 asked 0 ""
           0 202
           0 done 0 """#,
    );
}

#[test]
fn connections_that_end_early() {
    check(
        r"> GET / HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab
          <.",
        r#"0 GET / @0
           0 asked 0 ""
           0 200
           0 broken Closed"#,
    );
    check(
        r"> GET / HTTP/1.1\r\n\r\n",
        "0 GET / @0\n0 asked 0 \"\"\n0 broken AgentStopped",
    );
}

#[test]
fn garbage_is_not_http() {
    check(r"> hello there", "");
    check(r"> \x00\x01GET / HTTP/1.1\r\n\r\n", "");
    check(r"> GET / HTTP/2.0\r\n\r\n", "");
    check(
        r"> GET / HTTP/1.1\r\n\r\n
          < HTTP/1.1 abc OK\r\n\r\n",
        r#"0 GET / @0
           0 asked 0 ""
           count protocol.http1.invalid
           0 broken Invalid"#,
    );
}

#[test]
fn a_very_long_head_is_bounded() {
    let long = "x".repeat(200_000);
    let script = format!(
        "> GET / HTTP/1.1\\r\\nA: {long}\\r\\nB: c\\r\\n\\r\\n\n< HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"
    );
    check(
        &script,
        "count protocol.http1.head_too_long\n0 GET / @0\n0 asked 0 \"\"\n0 200\n0 done 0 \"\"",
    );
}

#[test]
fn an_early_response_is_not_given_to_a_request_behind_a_hole() {
    // The first request was lost; its response is not the second's.
    check(
        r"< HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n
          >? 19
          > GET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n
          > GET /3 HTTP/1.1\r\n\r\n
          < HTTP/1.1 203 OK\r\nContent-Length: 0\r\n\r\n",
        r#"count protocol.http1.response_unmatched
           count protocol.http1.resync
           0 GET /3 @38
           0 asked 0 ""
           0 203
           0 done 0 """#,
    );
    check(
        r"> GET / HEAD / HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n
          > GET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n",
        r#"count protocol.http1.response_unmatched
           count protocol.http1.resync
           0 GET /2 @25
           0 asked 0 ""
           0 202
           0 done 0 """#,
    );
}

#[test]
fn requests_behind_one_to_switch_wait_for_the_answer() {
    check(
        r"> GET /1 HTTP/1.1\r\nUpgrade: h2c\r\n\r\nGET /2 HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n
          < HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 GET /1 @0
           0 asked 0 ""
           0 200
           0 done 0 ""
           1 GET /2 @33
           1 asked 0 ""
           1 202
           1 done 0 """#,
    );
    check(
        r"> CONNECT h:1 HTTP/1.1\r\n\r\nGET /in HTTP/1.1\r\n\r\n
          < HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 CONNECT h:1 @0
           0 asked 0 ""
           0 200
           0 done 0 ""
           count protocol.http1.tunneled
           1 GET /in @24
           1 asked 0 ""
           1 202
           1 done 0 """#,
    );
}

#[test]
fn what_was_agreed_on_does_not_follow() {
    check(
        r"> GET /1 HTTP/1.1\r\nUpgrade: h2c\r\n\r\n
          < HTTP/1.1 101 OK\r\nUpgrade: h2c\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        r#"0 GET /1 @0
           0 asked 0 ""
           count protocol.http1.upgraded
           0 broken Invalid
           count protocol.http1.response_unmatched"#,
    );
}

#[test]
fn a_wrong_guess_is_taken_back() {
    let nonsense = "> \\x01nonsense\n< \\x02nonsense\n".repeat(8);
    let script = format!(
        "> GET / HTTP/1.1\\r\\n\\r\\n\n< HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n\n{nonsense}> GET /2 HTTP/1.1\\r\\n\\r\\n\n< HTTP/1.1 202 OK\\r\\nContent-Length: 0\\r\\n\\r\\n"
    );
    check(
        &script,
        "0 GET / @0\n0 asked 0 \"\"\n0 200\n0 done 0 \"\"\ncount protocol.http1.invalid\ncount protocol.http1.response_unmatched\n1 GET /2 @114\n1 asked 0 \"\"\n1 202\n1 done 0 \"\"",
    );
}

#[test]
fn recognition_does_not_take_back_what_it_said() {
    use crate::protocol::{DETECT_BYTES, Recognized};
    let long = "x".repeat(DETECT_BYTES);
    for text in [
        "GET / HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/2 200 OK\r\n",
        "\r\n\r\nPOST /x HTTP/1.0\r\n",
        "GET / HTTP/2.0\r\n",
        "GET /a\nb",
        "get / HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n",
        &format!("GET /{long}"),
        &format!("GET /{long} HTTP/3"),
        &format!("GET /a\n{long}"),
        &format!("GET {long}"),
        &format!("GET / {long}"),
    ] {
        let text = text.as_bytes().get(..DETECT_BYTES).unwrap_or(text.as_bytes());
        let mut said = Recognized::More;
        for length in 0..=text.len() {
            let now = head::recognize(&text[..length]);
            assert!(
                said == Recognized::More || said == now,
                "{}",
                text[..length].escape_ascii()
            );
            said = now;
        }
    }
}

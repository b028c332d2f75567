//! Connections made of bytes; recorded ones are under tests/fixtures/tls.
use bytes::Bytes;

use crate::capture::{Actor, Direction, Moment, Pid};
use crate::protocol::{Broken, Conversation, Limits, Mark, Recognition, RequestHead, ResponseHead, Step};
use crate::stream::{Content, Piece};

/// A record of a kind with this content.
fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3][..], &length, content].concat()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind][..], &length[1..], body].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&kind.to_be_bytes()[..], &length, content].concat()
}

fn client_hello(extensions: &[u8]) -> Vec<u8> {
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &length, extensions].concat();
    record(22, &handshake(1, &body))
}

fn server_hello(extensions: &[u8]) -> Vec<u8> {
    let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let body = [&[3, 3][..], &[8; 32], &[0, 0x13, 1, 0], &length, extensions].concat();
    record(22, &handshake(2, &body))
}

fn name(name: &str) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap();
    let list = [
        &(length + 3).to_be_bytes()[..],
        &[0],
        &length.to_be_bytes(),
        name.as_bytes(),
    ]
    .concat();
    extension(0, &list)
}

fn tls_1_3() -> Vec<u8> {
    extension(43, &[3, 4])
}

/// What passes, by the client if true, and so many bytes that pass unseen.
enum Passes {
    Bytes(bool, Vec<u8>),
    Unseen(bool, u64),
    Closed,
}
use Passes::{Bytes as Says, Closed, Unseen};

fn play(all: &[Passes], cut: usize) -> (Vec<Step>, Recognition) {
    let mut conversation = Conversation::new(Limits {
        body_bytes: 0,
        ..Limits::default()
    });
    let mut steps = Vec::new();
    let mut offsets = [0_u64; 2];
    let mut time_ns = 0;
    for passes in all {
        time_ns += 1000;
        let moment = Moment::new(time_ns, Actor::thread(Pid(1), 1));
        let (client, contents) = match passes {
            Says(client, bytes) => {
                let bytes = Bytes::copy_from_slice(bytes);
                let pieces = bytes
                    .chunks(cut)
                    .map(|piece| (Content::Bytes(bytes.slice_ref(piece)), piece.len() as u64));
                (client, pieces.collect::<Vec<_>>())
            }
            Unseen(client, bytes) => (client, vec![(Content::Unseen(*bytes), *bytes)]),
            Closed => {
                let at = Mark { offset: 0, moment };
                conversation.end(at, Broken::Closed, &mut steps);
                continue;
            }
        };
        for (content, length) in contents {
            let offset = &mut offsets[usize::from(*client)];
            let direction = if *client { Direction::Egress } else { Direction::Ingress };
            let piece = Piece {
                direction,
                offset: *offset,
                content,
                moment,
            };
            *offset += length;
            conversation.piece(piece, &mut steps);
        }
    }
    (steps, conversation.recognized())
}

fn tell(steps: &[Step]) -> Vec<String> {
    let tell = |step: &Step| match step {
        Step::Hello(_) | Step::Preface(_) | Step::Named { .. } | Step::RequestEnd { .. } => None,
        Step::Request(request) => Some(match &request.head {
            RequestHead::Tls(hello) => format!(
                "hello {} @{}",
                hello.server_name.as_deref().unwrap_or("?"),
                request.offset
            ),
            RequestHead::Http(head) => format!("{} {} @{}", head.method, head.target, request.offset),
            other => format!("{other:?}"),
        }),
        Step::Response(response) => Some(match &response.head {
            ResponseHead::Tls(handshake) => format!(
                "{} established {} {}",
                handshake.version_name().unwrap_or("?"),
                handshake.established,
                handshake
                    .alert
                    .map_or(String::new(), |alert| alert.name().unwrap_or("encrypted").to_owned())
            ),
            ResponseHead::Http(head) => format!("{}", head.status),
            other => format!("{other:?}"),
        }),
        Step::ResponseEnd { body, .. } => Some(format!("done {:?}", body.bytes.unwrap_or_default())),
        Step::Broken { reason, .. } => Some(format!("{reason:?}")),
        Step::Withdrawn { .. } => Some("withdrawn".to_owned()),
        Step::Shared { exchange } => Some(format!("shared {}", exchange.0)),
        Step::Count(name) => Some((*name).to_owned()),
    };
    steps.iter().filter_map(tell).collect()
}

#[track_caller]
fn check(all: &[Passes], expected: &[&str]) {
    for cut in [usize::MAX, 7, 1] {
        assert_eq!(tell(&play(all, cut).0), expected, "in pieces of {cut}");
    }
}

/// A handshake of TLS 1.3 and data in both directions.
fn established() -> Vec<Passes> {
    vec![
        Says(true, client_hello(&name("shop.test"))),
        Says(
            false,
            [server_hello(&tls_1_3()), record(20, &[1]), record(23, &[9; 900])].concat(),
        ),
        Says(true, [record(20, &[1]), record(23, &[9; 53])].concat()),
    ]
}

#[test]
fn a_connection() {
    let mut all = established();
    all.push(Says(true, record(23, &[5; 100])));
    all.push(Says(false, record(23, &[5; 300])));
    all.push(Says(true, record(23, &[5; 19])));
    all.push(Closed);
    check(&all, &["hello shop.test @0", "1.3 established true ", "done 1271"]);
}

#[test]
fn a_question_without_an_answer() {
    let mut all = established();
    all.push(Says(true, record(23, &[5; 100])));
    all.push(Closed);
    check(&all, &["hello shop.test @0", "1.3 established true ", "Closed"]);
}

#[test]
fn a_handshake_that_stops() {
    let all = vec![Says(true, client_hello(&name("shop.test"))), Closed];
    check(&all, &["hello shop.test @0", "? established false ", "Closed"]);
}

#[test]
fn a_refusal_that_is_encrypted() {
    let mut all = established();
    all.pop();
    all.push(Says(true, record(23, &[9; 19])));
    check(
        &all,
        &["hello shop.test @0", "1.3 established false encrypted", "done 966"],
    );
}

#[test]
fn a_warning_ends_nothing() {
    let mut all = established();
    all.insert(1, Says(false, record(21, &[1, 112])));
    all.push(Closed);
    check(&all, &["hello shop.test @0", "1.3 established true ", "done 973"]);
}

#[test]
fn the_end_of_a_hello_that_was_not_copied() {
    let hello = client_hello(&[name("shop.test"), extension(21, &[0; 5000])].concat());
    let unseen = (hello.len() - 4096) as u64;
    let mut all = established();
    all.splice(0..1, [Says(true, hello[..4096].to_vec()), Unseen(true, unseen)]);
    all.push(Closed);
    check(&all, &["hello shop.test @0", "1.3 established true ", "done 966"]);
}

/// Records may be cut anywhere, also where a hello is (RFC 8446 section 5.1); so are packets, which every test here does.
#[test]
fn a_hello_in_several_records() {
    let whole = client_hello(&[name("shop.test"), extension(51, &[0; 1300])].concat());
    let body = &whole[5..];
    for at in [1, 4, 5, 40, 700, body.len() - 1] {
        let (first, second) = body.split_at(at);
        let mut all = established();
        all[0] = Says(true, [record(22, first), record(22, second)].concat());
        all.push(Closed);
        check(&all, &["hello shop.test @0", "1.3 established true ", "done 966"]);
    }
}

/// Which of a client's keys the server takes: one of an earlier connection, one that both have from elsewhere, or none.
#[test]
fn keys_that_are_known_before() {
    let identity = |age: u32| [&[0, 3][..], b"key", &age.to_be_bytes()].concat();
    let keys = |ages: &[u32]| {
        let identities: Vec<u8> = ages.iter().flat_map(|age| identity(*age)).collect();
        let length = u16::try_from(identities.len()).unwrap().to_be_bytes();
        extension(41, &[&length[..], &identities, &[0, 3, 2, 9, 9]].concat())
    };
    let taken = |place: u16| extension(41, &place.to_be_bytes());
    for (offered, answered, want) in [
        (keys(&[77]), taken(0), Some(true)),
        (keys(&[0]), taken(0), Some(false)),
        (keys(&[77, 0]), taken(0), Some(true)),
        (keys(&[77, 0]), taken(1), Some(false)),
        (keys(&[0]), Vec::new(), Some(false)),
        (Vec::new(), Vec::new(), Some(false)),
        (Vec::new(), taken(0), None),
        (keys(&[77; 40]), taken(39), None),
        (extension(41, &[0, 9, 1]), taken(0), None),
    ] {
        let all = [
            Says(true, client_hello(&offered)),
            Says(false, server_hello(&[tls_1_3(), answered].concat())),
            Says(true, record(23, &[9; 53])),
        ];
        let (steps, _) = play(&all, 3);
        let resumed = steps.iter().find_map(|step| match step {
            Step::Response(response) => match &response.head {
                ResponseHead::Tls(handshake) => Some(handshake.resumed),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(resumed, Some(want), "{offered:?}");
    }
}

#[test]
fn a_hello_that_was_not_seen() {
    let mut all = established();
    all[0] = Unseen(true, 80);
    all.push(Closed);
    check(&all, &["hello ? @0", "1.3 established true ", "done 966"]);
}

#[test]
fn the_kernel_encrypts() {
    let mut all = established();
    all.push(Says(true, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()));
    all.push(Says(false, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
    let at = format!("GET / @{}", client_hello(&name("shop.test")).len() + 64);
    let expected = [
        "hello shop.test @0",
        "1.3 established true ",
        "withdrawn",
        &at,
        "204",
        "done 0",
    ];
    check(&all, &expected);
}

/// Up to TLS 1.2 the handshake's last messages may be the first that the kernel encrypts.
#[test]
fn the_kernel_encrypts_the_end_of_the_handshake() {
    let finished = || [&[20, 0, 0, 12][..], &[5; 12]].concat();
    let all = vec![
        Says(true, client_hello(&name("shop.test"))),
        Says(false, [server_hello(&[]), record(22, &handshake(14, &[]))].concat()),
        Says(true, [record(22, &handshake(16, &[1; 32])), record(20, &[1])].concat()),
        Says(true, finished()),
        Says(false, record(20, &[1])),
        Says(false, finished()),
        Says(true, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        Says(false, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
    ];
    let sent = client_hello(&name("shop.test")).len() + 5 + 36 + 6 + 16;
    let expected = [
        "hello shop.test @0",
        "1.2 established true ",
        "withdrawn",
        &format!("GET / @{sent}"),
        "204",
        "done 0",
    ];
    check(&all, &expected);
}

/// What a library tells of is not told once more by the socket.
#[test]
fn the_kernel_encrypts_what_a_library_was_given() {
    let mut conversation = Conversation::new(Limits::default());
    let mut steps = Vec::new();
    let mut say = |client: bool, bytes: Vec<u8>, conversation: &mut Conversation| {
        let direction = if client { Direction::Egress } else { Direction::Ingress };
        let piece = Piece {
            direction,
            offset: 0,
            content: Content::Bytes(bytes.into()),
            moment: Moment::new(1, Actor::thread(Pid(1), 1)),
        };
        conversation.piece(piece, &mut steps);
    };
    for passes in established() {
        let Says(client, bytes) = passes else { continue };
        say(client, bytes, &mut conversation);
    }
    conversation.tied();
    say(true, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), &mut conversation);
    say(false, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), &mut conversation);
    assert_eq!(conversation.recognized(), Recognition::Known("tls"));
    assert_eq!(tell(&steps), ["hello shop.test @0", "1.3 established true "]);
}

#[test]
fn ciphertext_is_never_taken_for_another_protocol() {
    let mut all = established();
    all.push(Says(true, record(23, &[5; 100])));
    all.push(Says(false, record(23, &[5; 100])));
    // A hole hides where records begin, and what stands behind it looks like a request.
    all.push(Unseen(true, 77));
    all.push(Says(true, b"GET / HTTP/1.1\r\n\r\n".to_vec()));
    all.push(Closed);
    let expected = [
        "hello shop.test @0",
        "1.3 established true ",
        "protocol.tls.resync",
        "Closed",
    ];
    check(&all, &expected);
    let (_, recognized) = play(&all, usize::MAX);
    assert_eq!(recognized, Recognition::Known("tls"));
}

#[test]
fn a_connection_that_was_joined_midway_tells_nothing() {
    let data = || record(23, &[5; 100]);
    let all = [Says(true, data()), Says(false, data()), Says(true, data()), Closed];
    check(&all, &[]);
    assert_eq!(play(&all, 1).1, Recognition::Known("tls"));
}

#[test]
fn what_stands_behind_the_end_is_not_counted() {
    check(
        &[
            Says(true, client_hello(&name("a"))),
            Says(false, [record(21, &[2, 40]), record(21, &[1, 0])].concat()),
        ],
        &["hello a @0", "? established false handshake_failure", "done 7"],
    );
}

/// What is said before in a protocol that is not known costs nothing: the hello is recognized where it comes (RFC 3207, RFC 9051
/// section 6.2.1, RFC 4511 section 4.14).
#[test]
fn encryption_that_is_asked_for_midway() {
    let smtp = [
        (false, "220 mail.test ESMTP\r\n"),
        (true, "EHLO client.test\r\n"),
        (false, "250-mail.test\r\n250-STARTTLS\r\n250 8BITMIME\r\n"),
        (true, "STARTTLS\r\n"),
        (false, "220 2.0.0 Ready to start TLS\r\n"),
    ];
    let imap = [
        (false, "* OK IMAP4rev2 ready\r\n"),
        (true, "a1 CAPABILITY\r\n"),
        (false, "* CAPABILITY IMAP4rev2 STARTTLS LOGINDISABLED\r\na1 OK done\r\n"),
        (true, "a2 STARTTLS\r\n"),
        (false, "a2 OK Begin TLS negotiation now\r\n"),
    ];
    let ldap = [
        (true, "0\x1d\x02\x01\x01w\x18\u{0}\x161.3.6.1.4.1.1466.20037"),
        (false, "0\x0c\x02\x01\x01x\x07\n\x01\0\x04\0\x04\0"),
    ];
    for before in [&smtp[..], &imap, &ldap] {
        let said = before
            .iter()
            .map(|(client, text)| Says(*client, text.as_bytes().to_vec()));
        let hello = client_hello(&[name("mail.test"), tls_1_3()].concat());
        let at: usize = before
            .iter()
            .map(|(client, text)| if *client { text.len() } else { 0 })
            .sum();
        let all: Vec<Passes> = said
            .chain([
                Says(true, hello),
                Says(false, server_hello(&extension(43, &[3, 4]))),
                Says(true, record(23, &[0; 60])),
                Closed,
            ])
            .collect();
        for cut in [usize::MAX, 7, 1] {
            let (steps, recognition) = play(&all, cut);
            assert_eq!(recognition, Recognition::Known("tls"), "{before:?} in pieces of {cut}");
            let told = tell(&steps);
            assert_eq!(told.first(), Some(&format!("hello mail.test @{at}")), "{told:?}");
            assert_eq!(
                told.get(1).map(String::as_str),
                Some("1.3 established true "),
                "{told:?}"
            );
        }
    }
}

use super::*;
use crate::capture::{Actor, ConnId, Pid};

const MS: u64 = 1_000_000;

/// What happens to a stream under test.
enum Do {
    /// Bytes at an offset, at a time in milliseconds.
    Chunk(u64, &'static str, u64),
    /// As `Chunk`, with this many bytes passed.
    Longer(u64, &'static str, u64, u64),
    /// The end at an offset.
    End(u64, u64),
    /// A failure at an offset.
    Failed(u64, i32, u64),
    /// Time passes.
    Tick(u64),
}
use Do::*;

fn moment(time_ns: u64) -> Moment {
    Moment::new(time_ns, Actor::thread(Pid(1), 1))
}

fn data(offset: u64, payload: &[u8], length: u64, time_ns: u64) -> Data {
    Data {
        conn: ConnId(1),
        moment: moment(time_ns),
        direction: Direction::Ingress,
        offset,
        length,
        payload: Bytes::copy_from_slice(payload),
        end: false,
        error: 0,
        transport: crate::capture::Transport::default(),
    }
}

/// Runs the steps and compares what came out: `offset=bytes`, `offset~unseen`, `offset.` for the end, `offset!errno`;
/// then the counters raised, and `...` if something still waits.
fn check(midway: bool, steps: &[Do], expected: &str) {
    let mut stream = Stream::new(midway);
    let mut pieces = Vec::new();
    let mut counted: Vec<&'static str> = Vec::new();
    let mut counts = |name| counted.push(name);
    for step in steps {
        let data = match *step {
            Chunk(offset, text, ms) => data(offset, text.as_bytes(), text.len() as u64, ms * MS),
            Longer(offset, text, length, ms) => data(offset, text.as_bytes(), length, ms * MS),
            End(offset, ms) => Data {
                end: true,
                ..data(offset, b"", 0, ms * MS)
            },
            Failed(offset, error, ms) => Data {
                error,
                ..data(offset, b"", 0, ms * MS)
            },
            Tick(ms) => {
                stream.tick(ms * MS, &mut pieces, &mut counts);
                continue;
            }
        };
        stream.data(data, &mut pieces, &mut counts);
    }
    let mut found: Vec<String> = pieces
        .iter()
        .map(|piece| match &piece.content {
            Content::Bytes(bytes) => format!("{}={}", piece.offset, String::from_utf8_lossy(bytes)),
            Content::Unseen(length) => format!("{}~{length}", piece.offset),
            Content::End => format!("{}.", piece.offset),
            Content::Failed(errno) => format!("{}!{errno}", piece.offset),
        })
        .collect();
    found.extend(counted.iter().map(|name| name.replace("stream.", "#")));
    if !stream.idle() {
        found.push("...".into());
    }
    assert_eq!(found.join(" "), expected);
}

#[test]
fn in_order() {
    check(false, &[Chunk(0, "ab", 1), Chunk(2, "c", 2)], "0=ab 2=c");
    check(false, &[Longer(0, "ab", 5, 1), Chunk(5, "f", 2)], "0=ab 2~3 5=f");
    check(false, &[Longer(0, "", 5, 1)], "0~5");
    check(true, &[Chunk(700, "ab", 1), Chunk(702, "c", 1)], "700=ab 702=c");
    check(false, &[Chunk(0, "", 1)], "");
}

#[test]
fn out_of_order() {
    check(
        false,
        &[Chunk(2, "c", 1), Chunk(3, "d", 1), Chunk(0, "ab", 1)],
        "0=ab 2=c 3=d #reordered #reordered",
    );
    check(false, &[Chunk(0, "a", 1), Chunk(2, "c", 2)], "0=a #reordered ...");
}

#[test]
fn every_byte_once() {
    check(false, &[Chunk(0, "abc", 1), Chunk(0, "abc", 1)], "0=abc #duplicate");
    check(
        false,
        &[Chunk(0, "abc", 1), Chunk(1, "bcde", 1)],
        "0=abc 3=de #duplicate",
    );
    check(
        false,
        &[Chunk(2, "c", 1), Chunk(2, "cd", 1), Chunk(2, "c", 1), Chunk(0, "ab", 1)],
        "0=ab 2=cd #reordered #reordered #duplicate #reordered #duplicate",
    );
    check(
        false,
        &[Longer(0, "a", 4, 1), Longer(2, "cd", 6, 1)],
        "0=a 1~3 4~4 #duplicate",
    );
    check(true, &[Chunk(9, "x", 1), Chunk(7, "vwx", 1)], "9=x #duplicate");
    // A record that holds more than it says passed.
    check(false, &[Longer(0, "abc", 2, 1), Chunk(2, "d", 1)], "0=ab 2=d");
}

#[test]
fn a_gap_is_waited_for_and_then_unseen() {
    let with = |more: Do| [Chunk(0, "a", 1), Chunk(5, "f", 2), Chunk(9, "j", 3), more];
    check(false, &with(Tick(101)), "0=a #reordered #reordered ...");
    check(
        false,
        &with(Tick(102)),
        "0=a 1~4 5=f 6~3 9=j #reordered #reordered #gap_timeout #gap_timeout",
    );
    // Another event's time serves as well as a tick.
    check(
        false,
        &with(Chunk(10, "k", 300)),
        "0=a 1~4 5=f 6~3 9=j 10=k #reordered #reordered #reordered #gap_timeout #gap_timeout",
    );
    check(false, &[Chunk(3, "d", 1), Tick(200)], "0~3 3=d #reordered #gap_timeout");
    // Filling the first gap gives the second a wait of its own.
    check(
        false,
        &with(Chunk(1, "bcde", 90)),
        "0=a 1=bcde 5=f #reordered #reordered ...",
    );
}

#[test]
fn the_end_comes_last() {
    check(
        false,
        &[Chunk(0, "a", 1), End(1, 2), End(1, 3), Chunk(1, "b", 4)],
        "0=a 1. #after_end",
    );
    check(false, &[End(2, 1), Chunk(0, "ab", 1)], "0=ab 2.");
    check(
        false,
        &[End(2, 1), Chunk(0, "a", 1), Tick(200)],
        "0=a 1~1 2. #gap_timeout",
    );
    check(false, &[Failed(0, 104, 1), Failed(0, 32, 1)], "0!104");
    // An end that lies before bytes already known comes after them.
    check(
        false,
        &[Chunk(3, "d", 1), End(1, 1), Chunk(0, "abc", 1)],
        "0=abc 3=d 4. #reordered",
    );
    check(
        false,
        &[Chunk(3, "d", 1), End(1, 1), Tick(200)],
        "0~3 3=d 4. #reordered #gap_timeout",
    );
}

#[test]
fn hostile_offsets() {
    check(true, &[Chunk(u64::MAX - 1, "abc", 1)], "18446744073709551614=a");
    check(
        true,
        &[Longer(u64::MAX, "abc", u64::MAX, 1), End(u64::MAX, 1)],
        "18446744073709551615.",
    );
    check(
        false,
        &[Longer(u64::MAX - 2, "", u64::MAX, 1), Tick(u64::MAX / MS)],
        "0~18446744073709551613 18446744073709551613~2 #reordered #gap_timeout",
    );
}

#[test]
fn what_waits_is_bounded() {
    let payload = vec![b'x'; 16_000];
    for (stretches, bytes) in [(WAITING_PIECES, 1), (WAITING_BYTES / payload.len(), payload.len())] {
        let mut stream = Stream::new(false);
        let mut pieces = Vec::new();
        let mut full = 0;
        let mut offset = 1;
        for _ in 0..=stretches {
            assert_eq!(full, 0);
            let data = data(offset, &payload[..bytes], bytes as u64, MS);
            stream.data(data, &mut pieces, &mut |name| {
                full += usize::from(name == "stream.buffer_full");
            });
            offset += bytes as u64 + 1;
        }
        assert_eq!(full, 1);
        assert!(matches!(pieces[0].content, Content::Unseen(1)));
        assert_eq!(pieces.len(), 2);
    }
}

#[test]
fn directions_are_apart() {
    let mut stream = Stream::new(false);
    let mut pieces = Vec::new();
    stream.data(data(1, b"b", 1, MS), &mut pieces, &mut |_| ());
    let egress = Data {
        direction: Direction::Egress,
        ..data(0, b"z", 1, MS)
    };
    stream.data(egress, &mut pieces, &mut |_| ());
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].direction, Direction::Egress);
}

//! What programs wrote, call by call, and the records that it is: `tests/fixtures/logs/cases.json`.
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::{Logs, Record, Written};
use crate::capture::{Actor, FileId, LogWrite, Moment, Pid, Stream};
use crate::span::{Policy, Value};

fn write(who: u32, text: &[u8], time_ns: u64) -> LogWrite {
    LogWrite {
        moment: Moment::new(time_ns, Actor::thread(Pid(1), who)),
        file: FileId { address: 1, inode: 2 },
        stream: Some(Stream::Error),
        name: "stderr".into(),
        length: text.len() as u64,
        payload: Bytes::copy_from_slice(text),
        more: false,
    }
}

/// What is written of `texts`, and by whom.
fn join(texts: &[(u32, Vec<u8>)]) -> Vec<Written<u32>> {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    for (place, (who, text)) in texts.iter().enumerate() {
        logs.write(&write(*who, text, 1_000 + place as u64), who, &mut out, &mut counts);
    }
    logs.tick(60_000_000_000, &mut out);
    assert_eq!((logs.is_empty(), counts), (true, Vec::new()));
    out.sort_by_key(|written| written.time_ns);
    out
}

/// The last piece of a call was lost on its way.
#[test]
fn a_call_whose_end_never_comes() {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    let piece = LogWrite {
        more: true,
        ..write(1, b"begun\nand", 1_000)
    };
    logs.write(&piece, &1, &mut out, &mut counts);
    logs.tick(500_000_000, &mut out);
    assert_eq!((out.len(), logs.is_empty()), (0, false), "it may still come");
    logs.tick(2_000_000_000, &mut out);
    assert!(logs.is_empty());
    assert_eq!(out.len(), 1);
    assert_eq!(
        (out[0].text.as_str(), out[0].shared, out[0].time_ns),
        ("begun and", true, 1_000)
    );
}

fn shown(written: &Written<u32>, record: &Record) -> Json {
    let own = |key: &str| key == "log.iostream" || key == "thread.id";
    let attributes = record.attributes.iter().filter(|(key, _)| !own(key));
    let attributes: Map<String, Json> = attributes
        .map(|(key, value)| {
            let value = match value {
                Value::Text(text) => json!(text.as_str()),
                Value::Int(number) => json!(number),
                Value::Double(number) => json!(number),
                Value::Bool(yes) => json!(yes),
                Value::Texts(_) => Json::Null,
            };
            (key.to_string(), value)
        })
        .collect();
    let severity = match record.severity.name() {
        "" => "UNSPECIFIED",
        name => name,
    };
    let mut shown = json!({"severity": severity, "body": record.body.as_str()});
    if !attributes.is_empty() {
        shown["attributes"] = Json::Object(attributes);
    }
    if let Some(exception) = &record.exception {
        shown["exception"] = json!([exception.kind, exception.message]);
        assert!(exception.trace.contains(&exception.message));
    }
    if written.shared {
        shown["shared"] = json!(true);
    }
    shown
}

/// Whether the records are those of the case, and what they are if not.
fn check(case: &Json) -> Result<(), String> {
    let writes = case["writes"].as_array().expect("writes");
    let texts: Vec<(u32, Vec<u8>)> = writes
        .iter()
        .map(|write| {
            let who = write[0].as_u64().and_then(|who| u32::try_from(who).ok()).expect("who");
            (who, write[1].as_str().expect("a text").into())
        })
        .collect();
    let policy = Policy::default();
    let got: Vec<Json> = join(&texts)
        .iter()
        .map(|written| shown(written, &Record::parse(&policy.text(&written.text), written)))
        .collect();
    let (got, want) = (Json::Array(got), &case["records"]);
    if got == *want {
        return Ok(());
    }
    Err(format!("{}\n  got  {got}\n  want {want}", case["name"]))
}

#[test]
fn cases() {
    let cases = include_str!("../../../tests/fixtures/logs/cases.json");
    let cases: Vec<Json> = serde_json::from_str(cases).expect("JSON");
    assert!(cases.len() > 20);
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A line is the same however its bytes come, and belongs to whoever ended it.
#[test]
fn a_line_in_pieces() {
    let text = "2026-11-29 ERROR shop: fäiled rid=7\n".as_bytes();
    for cut in 0..text.len() {
        let (first, second) = text.split_at(cut);
        let got = join(&[(1, first.to_vec()), (2, b"other\n".to_vec()), (1, second.to_vec())]);
        let found = got
            .iter()
            .find(|written| written.text.contains("rid=7"))
            .expect("the line");
        assert_eq!(found.text.as_bytes(), text.trim_ascii_end(), "cut at {cut}");
        assert_eq!((found.origin, found.shared), (1, false));
    }
}

/// A thread that goes on for another request does not end the line it began for the first.
#[test]
fn what_was_begun_for_one_is_not_gone_on_with_for_another() {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    logs.write(&write(1, b"first", 1), &"a", &mut out, &mut counts);
    logs.write(&write(1, b"second\n", 2), &"b", &mut out, &mut counts);
    logs.finish(&mut out);
    let got: Vec<(&str, &str)> = out
        .iter()
        .map(|written| (written.text.as_str(), written.origin))
        .collect();
    assert_eq!(got, [("first", "a"), ("second", "b")]);
}

/// One call in several pieces, files that are no logs, and what is cut.
#[test]
fn calls_and_files() {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    let piece = |text: &[u8], more| LogWrite {
        more,
        ..write(1, text, 5)
    };
    logs.write(&piece(b"INFO a", true), &0, &mut out, &mut counts);
    logs.write(&piece(b" b\n", false), &0, &mut out, &mut counts);
    let file = |name: &str| LogWrite {
        stream: None,
        name: name.into(),
        file: FileId { address: 9, inode: 9 },
        ..write(1, b"INFO from a file\n", 6)
    };
    logs.write(&file("shop.log"), &0, &mut out, &mut counts);
    assert_eq!(counts, [""; 0]);
    logs.write(&write(2, b"\0\x01binary\n", 7), &0, &mut out, &mut counts);
    let cut = |who, text: &[u8], more| LogWrite {
        length: 99,
        more,
        ..write(who, text, 8)
    };
    logs.write(&cut(3, b"INFO c", false), &0, &mut out, &mut counts);
    logs.write(&cut(4, b"INFO d", true), &0, &mut out, &mut counts);
    logs.write(&write(4, b" behind what is missing\n", 8), &0, &mut out, &mut counts);
    logs.finish(&mut out);
    out.sort_by(|one, other| (one.time_ns, &one.text).cmp(&(other.time_ns, &other.text)));
    let got: Vec<(&str, bool)> = out
        .iter()
        .map(|written| (written.text.as_str(), written.shared))
        .collect();
    assert_eq!(
        got,
        [
            ("INFO a b", false),
            ("INFO from a file", false),
            ("INFO c", true),
            ("INFO d behind what is missing", true)
        ]
    );
    assert_eq!(counts, ["logs.binary"]);
}

/// A call of more than a record holds: its one line is told as far as it goes, and is its writer's; of several it is not known whose they
/// are.
#[test]
fn long_calls() {
    let told = |text: &str| {
        let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(16_000).collect();
        for (place, piece) in pieces.iter().enumerate() {
            let piece = LogWrite {
                more: place + 1 < pieces.len(),
                ..write(1, piece, 5)
            };
            logs.write(&piece, &0, &mut out, &mut counts);
        }
        logs.finish(&mut out);
        let lines: Vec<(usize, bool)> = out.iter().map(|told| (told.text.len(), told.shared)).collect();
        (lines, counts)
    };
    let line = |bytes: usize| "x".repeat(bytes - 1) + "\n";
    assert_eq!(told(&line(20_000)), (vec![(19_999, false)], Vec::new()));
    assert_eq!(
        told(&line(60_000)),
        (vec![(super::RECORD_BYTES, false)], vec!["logs.lines_cut"])
    );
    let several = [line(30_000), line(20_000), line(50)].concat();
    assert_eq!(
        told(&several),
        (vec![(29_999, true), (19_999, true), (49, true)], Vec::new())
    );
    let (lines, _) = told(&line(401).repeat(1_000));
    assert_eq!(
        lines.iter().filter(|line| **line == (400, true)).count(),
        999,
        "one is parted"
    );
}

/// Who empties a buffer that is full goes on with the line that it ended within; another process has a buffer of its own, also where it
/// shares the file.
#[test]
fn buffers_that_are_full() {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    let of = |pid: u32, who: u32, text: &[u8], time_ns| LogWrite {
        moment: Moment::new(time_ns, Actor::thread(Pid(pid), who)),
        ..write(who, text, time_ns)
    };
    let full = [&[b'x'; 4_096][..], b"\nbeg"].concat();
    logs.write(&of(1, 1, &full, 1), &0, &mut out, &mut counts);
    logs.write(&of(2, 2, b"of another process\n", 2), &0, &mut out, &mut counts);
    logs.write(&of(1, 3, b"un\n", 3), &0, &mut out, &mut counts);
    logs.finish(&mut out);
    out.sort_by_key(|written| written.time_ns);
    let got: Vec<(&str, bool)> = out
        .iter()
        .skip(1)
        .map(|written| (written.text.as_str(), written.shared))
        .collect();
    assert_eq!(got, [("of another process", false), ("begun", true)]);
    assert_eq!(counts, [""; 0]);
}

/// Zeros behind a text, bytes that are no UTF-8, a letter that is parted by two calls, and what was begun keeps its stream.
#[test]
fn bytes_that_are_no_text() {
    let texts = |calls: &[&[u8]]| {
        let calls: Vec<(u32, Vec<u8>)> = calls.iter().map(|call| (1, call.to_vec())).collect();
        let out = join(&calls);
        assert!(out.iter().all(|written| written.stream == Some(Stream::Error)));
        out.into_iter().map(|written| written.text).collect::<Vec<_>>()
    };
    assert_eq!(texts(&[b"one\n\0\0\0", b"two\0", b"\n\0", b"\0"]), ["one", "two"]);
    assert_eq!(
        texts(&[b"f\xc3", b"\xa4iled \xff \x1b[31mred\x1b[0m\r\n"]),
        ["fäiled \u{fffd} red"]
    );
    assert_eq!(texts(&[b"no end"]), ["no end"]);
}

/// Fields of the journal keep their lines.
#[test]
fn a_message_to_the_journal() {
    let message = LogWrite {
        stream: Some(Stream::Journal),
        name: "l/socket".into(),
        ..write(
            1,
            b"PRIORITY=3\nMESSAGE=failed\nTRACE\n\x07\0\0\0\0\0\0\0a\n\xff\0b\nc\nCODE_LINE=7\n",
            1,
        )
    };
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    logs.write(&message, &1, &mut out, &mut counts);
    assert_eq!(counts, [""; 0]);
    let record = Record::parse(&out[0].text, &out[0]);
    assert_eq!((record.body.as_str(), record.severity.number()), ("failed", 17));
    let trace = record.attributes.iter().find(|(name, _)| name == "TRACE");
    assert_eq!(
        trace.map(|(_, value)| value.clone()),
        Some(Value::Text("a\n\u{fffd}b\nc".into()))
    );
}

/// A goroutine for each line: none is in another's way, and each is told when its text is due.
#[test]
fn writers_that_write_once() {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    for who in 0..20_000_u32 {
        let now_ns = u64::from(who) * 10_000;
        logs.write(&write(who, b"INFO line\n", now_ns), &who, &mut out, &mut counts);
        if who % 1_000 == 0 {
            logs.tick(now_ns, &mut out);
            assert_eq!(
                out.len(),
                who.saturating_sub(9_999) as usize,
                "100 ms are waited for more"
            );
        }
    }
    logs.tick(300_000_000, &mut out);
    assert_eq!((out.len(), logs.is_empty(), counts), (20_000, true, Vec::new()));
}

/// A text is told when it is due, also of a writer that was about to be looked at for another reason.
#[test]
fn texts_are_told_when_they_are_due() {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    logs.write(&write(1, b"INFO be", 0), &0, &mut out, &mut counts);
    logs.tick(110_000_000, &mut out);
    logs.write(&write(1, b"gun\n", 150_000_000), &0, &mut out, &mut counts);
    logs.tick(240_000_000, &mut out);
    assert_eq!(out.len(), 0);
    logs.tick(250_000_000, &mut out);
    assert_eq!(out.len(), 1);
    assert!(logs.is_empty());
}

#[test]
fn bounds() {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    for who in 0..40_000 {
        logs.write(&write(who, b"begun", 1), &0, &mut out, &mut counts);
    }
    assert_eq!(counts, ["logs.writers_full"; 40_000 - 32_768]);
    assert_eq!(out.len(), counts.len(), "what there is no room for is told at once");
    counts.clear();
    for _ in 0..100 {
        logs.write(&write(1, &[b'x'; 16_000], 1), &0, &mut out, &mut counts);
    }
    assert!(counts.contains(&"logs.lines_cut"));
    counts.clear();
    logs.write(&write(1, b"\n", 1), &0, &mut out, &mut counts);
    let before = out.len();
    for who in 2..10_002 {
        logs.write(&write(who, &[b'x'; 4_000], 1), &0, &mut out, &mut counts);
    }
    assert!(counts.iter().all(|name| *name == "logs.writers_full"));
    assert_eq!(out.len() - before, counts.len());
    let held = 10_000 - counts.len();
    assert!((8_000..=(32 << 20) / 4_000).contains(&held), "{held}");
    logs.finish(&mut out);
    assert!(logs.is_empty());
    assert!(out.iter().all(|written| written.text.len() <= super::RECORD_BYTES));
}

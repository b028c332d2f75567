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
    for name in ["appendonly.aof", "shop.log", "base.db"] {
        logs.write(&file(name), &0, &mut out, &mut counts);
    }
    logs.write(&write(2, b"\0\x01binary\n", 7), &0, &mut out, &mut counts);
    let cut = LogWrite {
        length: 99,
        ..write(3, b"INFO c", 8)
    };
    logs.write(&cut, &0, &mut out, &mut counts);
    logs.finish(&mut out);
    out.sort_by_key(|written| written.time_ns);
    let got: Vec<(&str, bool)> = out
        .iter()
        .map(|written| (written.text.as_str(), written.shared))
        .collect();
    assert_eq!(
        got,
        [("INFO a b", false), ("INFO from a file", false), ("INFO c", true)]
    );
    assert_eq!(counts, [""; 0]);
}

#[test]
fn bounds() {
    let (mut logs, mut out, mut counts) = (Logs::default(), Vec::new(), Vec::new());
    for who in 0..2_000 {
        logs.write(&write(who, b"begun", 1), &0, &mut out, &mut counts);
    }
    assert_eq!(counts.len(), 976);
    assert!(counts.iter().all(|name| *name == "logs.writers_full"));
    counts.clear();
    for _ in 0..100 {
        logs.write(&write(1, &[b'x'; 16_000], 1), &0, &mut out, &mut counts);
    }
    assert!(counts.contains(&"logs.lines_cut"));
    logs.finish(&mut out);
    assert!(out.iter().all(|written| written.text.len() <= super::RECORD_BYTES));
}

//! Replays recordings of kernel events through the pipeline, without root.
//!
//! A recording is made by `cargo run -p clew-tests --bin record -- FILE COMMAND...`; what must come of it stands beside it
//! as text. `CLEW_BLESS=1` writes it anew.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]
use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clew::capture::{Actor, Moment, Pid, decode};
use clew::discover::{Process, Runtime};
use clew::pipeline::{Input, Output, Pipeline};
use clew::protocol::Limits;
use clew::span::{Policy, SpanKind, Value};
use clew::trace::Placed;

fn runtime(name: &str) -> Runtime {
    let all = [
        Runtime::Native,
        Runtime::Go,
        Runtime::Python,
        Runtime::Node,
        Runtime::Java,
        Runtime::Rust,
        Runtime::Ruby,
        Runtime::Php,
        Runtime::Nginx,
        Runtime::Envoy,
        Runtime::Unknown,
    ];
    all.into_iter()
        .find(|runtime| format!("{runtime:?}") == name)
        .expect("a runtime")
}

fn process(line: &str) -> Process {
    let json: serde_json::Value = serde_json::from_str(line).unwrap();
    Process {
        pid: Pid(json["pid"].as_u64().unwrap() as u32),
        exe: String::new(),
        args: Vec::new(),
        service: json["service"].as_str().unwrap().to_owned(),
        service_namespace: None,
        runtime: runtime(json["runtime"].as_str().unwrap()),
        container: None,
        resource: Vec::new(),
    }
}

/// Plays a recording; `tick` tells the time behind each event, as the agent does between batches.
fn play(recording: &str, tick: bool) -> Vec<Placed> {
    let mut pipeline = Pipeline::new(
        Policy::default(),
        Limits {
            body_bytes: 1024,
            ..Limits::default()
        },
        1,
    );
    let mut out = Output::default();
    let mut last = 0;
    for line in recording.lines() {
        if let Some(json) = line.strip_prefix("process ") {
            pipeline.handle(Input::Process(process(json)), &mut out);
        } else if let Some(text) = line.strip_prefix("event ") {
            let record = STANDARD.decode(text).unwrap();
            last = u64::from_le_bytes(record[..8].try_into().unwrap()).max(last);
            pipeline.handle(Input::Event(decode(&record).unwrap()), &mut out);
            if tick {
                pipeline.handle(Input::Time(last), &mut out);
            }
        }
    }
    let nobody = Actor::thread(Pid(0), 0);
    pipeline.handle(Input::Stop(Moment::new(last, nobody)), &mut out);
    out.spans
}

/// The traces as indented text, ordered by the requests they are of.
fn show(spans: &[Placed]) -> String {
    let mut children: HashMap<Option<[u8; 8]>, Vec<&Placed>> = HashMap::new();
    for placed in spans {
        children.entry(placed.parent_id).or_default().push(placed);
    }
    let mut lines = String::new();
    below(None, 0, &children, &mut lines);
    let shown = lines.lines().count();
    assert_eq!(shown, spans.len(), "a span has a parent that is not there");
    lines
}

fn below(parent: Option<[u8; 8]>, depth: usize, children: &HashMap<Option<[u8; 8]>, Vec<&Placed>>, out: &mut String) {
    let Some(spans) = children.get(&parent) else { return };
    let mut spans: Vec<(String, &Placed)> = spans.iter().map(|placed| (name(placed), *placed)).collect();
    spans.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, placed) in spans {
        writeln!(out, "{}{name}", "  ".repeat(depth)).unwrap();
        below(Some(placed.span_id), depth + 1, children, out);
    }
}

fn name(placed: &Placed) -> String {
    let attribute =
        |key: &str| {
            placed.span.attributes.iter().find(|(name, _)| *name == key).map_or(
                "-".to_owned(),
                |(_, value)| match value {
                    Value::Text(text) => text.to_string(),
                    Value::Int(number) => number.to_string(),
                    other => format!("{other:?}"),
                },
            )
        };
    let kind = if placed.span.kind == SpanKind::Server {
        "server"
    } else {
        "client"
    };
    format!(
        "{kind} {} {} {}?{} {} request {} response {} by {}",
        placed.process.service,
        placed.span.name,
        attribute("url.path"),
        attribute("url.query"),
        attribute("http.response.status_code"),
        attribute("http.request.body.size"),
        attribute("http.response.body.size"),
        attribute("clew.parent.source"),
    )
}

#[test]
fn recordings_give_the_traces_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    let mut recordings: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rec"))
        .collect();
    recordings.sort();
    assert!(!recordings.is_empty(), "no recordings in {}", folder.display());
    for path in recordings {
        let recording = fs::read_to_string(&path).unwrap();
        let shown = show(&play(&recording, false));
        let beside = path.with_extension("expected");
        if std::env::var_os("CLEW_BLESS").is_some() {
            fs::write(&beside, &shown).unwrap();
        }
        assert_eq!(shown, fs::read_to_string(&beside).unwrap(), "{}", path.display());
        // When the pipeline is told the time must not matter.
        assert_eq!(show(&play(&recording, true)), shown, "{} with ticks", path.display());
    }
}

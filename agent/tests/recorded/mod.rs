//! What real clients and servers said, as tests/fixtures holds it.
use std::path::{Path, PathBuf};

use clew::capture::Direction;

/// One line of a recording.
#[derive(Clone)]
pub(super) struct Operation {
    pub(super) time_us: u64,
    pub(super) direction: Direction,
    /// None for the end of the direction.
    pub(super) bytes: Option<Vec<u8>>,
    /// It is a datagram.
    pub(super) datagram: bool,
}

/// The recordings of all protocols in `folder`.
pub(super) fn recordings(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for protocol in std::fs::read_dir(folder).expect("fixtures").flatten() {
        let Ok(files) = std::fs::read_dir(protocol.path()) else {
            continue;
        };
        found.extend(
            files
                .flatten()
                .map(|file| file.path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "wire")),
        );
    }
    found.sort();
    found
}

/// Reads the format that tests/fixtures/record.py describes.
pub(super) fn parse(text: &str) -> Vec<Vec<Operation>> {
    let mut connections: Vec<Vec<Operation>> = Vec::new();
    let mut datagram = false;
    for line in text.lines() {
        if line == "connection" || line == "datagrams" {
            connections.push(Vec::new());
            datagram = line == "datagrams";
            continue;
        }
        let (mark, rest) = line.split_once(' ').expect("mark");
        let (time, bytes) = rest
            .split_once(' ')
            .map_or((rest, None), |(time, bytes)| (time, Some(bytes)));
        connections.last_mut().expect("a connection first").push(Operation {
            time_us: time.parse().expect("time"),
            direction: if mark.starts_with('>') {
                Direction::Egress
            } else {
                Direction::Ingress
            },
            bytes: (!mark.ends_with('.')).then(|| unescape(bytes.expect("bytes"))),
            datagram,
        });
    }
    connections
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().expect("escape") {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let digits = [rest.next().expect("digit"), rest.next().expect("digit")];
                u8::from_str_radix(std::str::from_utf8(&digits).expect("ASCII"), 16).expect("hexadecimal")
            }
            other => panic!("unknown escape {other}"),
        });
    }
    bytes
}

//! FastCGI 1.0 between a web server and what runs its programs, such as PHP-FPM.
//!
//! A request is told as what it stands for: a request of HTTP, its variables turned back into header fields (RFC 3875
//! section 4.1), and the script it is for. Requests of one connection have numbers, so that several may be open at once.
mod connection;
mod head;
mod record;

use super::ordered::Ordered;
use super::{Parser, Recognized, Start};

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(Ordered::new(
        connection::Connection::new(start),
        start,
        start.direction,
        false,
    ))
}

/// Whether bytes begin a request: the first record is of one length and says little else than which of three roles it wants.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    /// `FCGI_BEGIN_REQUEST`: the values each byte may have.
    const FIRST: [(u8, u8); 16] = [
        (1, 1),
        (1, 1),
        (0, 255),
        (0, 255),
        (0, 0),
        (8, 8),
        (0, 255),
        (0, 255),
        (0, 0),
        (1, 3),
        (0, 1),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
    ];
    let fits = bytes
        .iter()
        .zip(FIRST)
        .all(|(byte, (least, most))| (least..=most).contains(byte));
    match (fits, bytes.len() >= FIRST.len()) {
        (false, _) => Recognized::No,
        // Number 0 is the connection's own.
        (true, true) if bytes.get(2..4) == Some(&[0, 0]) => Recognized::No,
        (true, true) => Recognized::Yes,
        (true, false) => Recognized::More,
    }
}

#[cfg(test)]
mod tests;

//! TLS 1.0 to 1.3 (RFC 8446, RFC 5246) as far as the wire shows it.
//!
//! What a connection negotiates stands in its first messages in plain text; the rest is encrypted and never looked at. The
//! exchange told is the connection: its request is the ClientHello, its response what the handshake came to, and it ends
//! with the connection or with an alert. Where what it carries is seen elsewhere, the exchange is withdrawn.
mod hello;
mod message;
mod names;
mod parser;
mod record;
#[cfg(test)]
mod tests;

use smol_str::SmolStr;

pub use hello::ClientHello;
pub use names::SSL_3_0;

use super::{Parser, Recognized, Start};
use crate::capture::Direction;

/// The name of the row in `PROTOCOLS`.
pub const NAME: &str = "tls";

/// A ClientHello, as a session in a library is found by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which way it went: ingress makes this end the server.
    pub direction: Direction,
    /// Its random number.
    pub random: [u8; 32],
}

/// What a handshake came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The client proposed this.
    pub hello: ClientHello,
    /// The number of the version that was chosen; none if no answer was seen.
    pub version: Option<u16>,
    /// The cipher suite, by its number.
    pub cipher: Option<u16>,
    /// The group keys were agreed on in; TLS 1.3 only.
    pub group: Option<u16>,
    /// The protocol that was chosen (ALPN); since TLS 1.3 it is encrypted.
    pub protocol: Option<SmolStr>,
    /// Keys of an earlier connection were used again. None where it does not show.
    pub resumed: Option<bool>,
    /// It is complete.
    pub established: bool,
    /// From the first byte of the ClientHello to the message that completed it, both as this end passed them: up to TLS 1.2
    /// the later of the two Finished, in TLS 1.3 the client's first encrypted record behind the ServerHello, which its
    /// Finished is in. None where one of them was not seen, or early data hides it.
    pub took_ns: Option<u64>,
    /// What ended it.
    pub alert: Option<Alert>,
}

impl Handshake {
    /// The name of the version, as `tls.protocol.version` has it.
    pub fn version_name(&self) -> Option<&'static str> {
        names::version(self.version?)
    }

    /// The name of the cipher suite.
    pub fn cipher_name(&self) -> Option<&'static str> {
        names::cipher(self.cipher?)
    }

    /// The name of the group.
    pub fn group_name(&self) -> Option<&'static str> {
        names::group(self.group?)
    }
}

/// An alert that ended a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The client sent it.
    pub by_client: bool,
    /// Level and description; none where it is encrypted.
    pub said: Option<(u8, u8)>,
}

impl Alert {
    /// The name of its description.
    pub fn name(&self) -> Option<&'static str> {
        names::alert(self.said?.1)
    }

    /// Whether the connection is over by it (RFC 8446 section 6: since TLS 1.3 all but two, whatever the level says).
    const fn is_fatal(self) -> bool {
        /// `close_notify`, `user_canceled`, `no_renegotiation`, `unrecognized_name`.
        const MILD: [u8; 4] = [0, 90, 100, 112];
        match self.said {
            None | Some((2, _)) => true,
            Some((_, description)) => {
                let [close, cancel, renegotiate, name] = MILD;
                description != close && description != cancel && description != renegotiate && description != name
            }
        }
    }
}

/// Whether bytes begin a connection, or are of one that was joined midway.
pub(super) fn recognize(bytes: &[u8]) -> Recognized {
    record::recognize(bytes)
}

/// A parser for one connection.
pub(super) fn parser(start: &Start) -> Box<dyn Parser> {
    Box::new(parser::Tls::new(start))
}

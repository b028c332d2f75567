//! A plain HTTP/1.1 client that does what it is told, so that tests need no other.
use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The body.
    pub body: Vec<u8>,
    /// The server will close the connection.
    pub closes: bool,
}

/// One GET over a connection of its own.
///
/// # Errors
/// When the connection fails or the answer is not HTTP.
pub fn get(port: u16, target: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    ask(&mut stream, target, "Connection: close\r\n")
}

/// One GET over an open connection, with further header lines.
///
/// # Errors
/// When the connection fails or the answer is not HTTP.
pub fn ask<S: Read + Write>(stream: &mut S, target: &str, headers: &str) -> std::io::Result<Answer> {
    asked(
        stream,
        &format!("GET {target} HTTP/1.1\r\nHost: load.test\r\n{headers}\r\n"),
    )
}

/// What is answered to a request that is sent as it is.
pub(crate) fn asked<S: Read + Write>(stream: &mut S, request: &str) -> std::io::Result<Answer> {
    stream.write_all(request.as_bytes())?;
    let mut have = Vec::new();
    let mut chunk = [0; 16384];
    let head = loop {
        if let Some(at) = have.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut chunk)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => have.extend_from_slice(&chunk[..n]),
        }
    };
    let text = String::from_utf8_lossy(&have[..head]).to_ascii_lowercase();
    let code = text.get(9..12).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| Error::other(format!("not HTTP: {text}")))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    let closes = field("connection:").is_some_and(|value| value == "close");
    let mut body = have.split_off(head);
    if let Some(length) = field("content-length:").and_then(|value| value.parse::<usize>().ok()) {
        while body.len() < length {
            match stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => body.extend_from_slice(&chunk[..n]),
            }
        }
    } else if field("transfer-encoding:").is_some() {
        while !body.ends_with(b"\r\n0\r\n\r\n") && body != b"0\r\n\r\n" {
            match stream.read(&mut chunk)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                n => body.extend_from_slice(&chunk[..n]),
            }
        }
    } else {
        stream.read_to_end(&mut body)?;
    }
    Ok(Answer { code, body, closes })
}

/// A connection to a port on 127.0.0.1 that gives up after `patience` instead of hanging the test.
///
/// # Errors
/// When it is refused.
pub fn connect(port: u16, patience: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

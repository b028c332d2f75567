//! The heads of a request and of its response.
use memchr::memmem;
use smol_str::{SmolStr, format_smolstr};

use crate::protocol::http1::{Fields, Gateway, RequestHead, ResponseHead, Version, field};

/// Most variables that become fields.
const MAX_FIELDS: usize = 256;

/// The head that variables stand for; `cut` if some were not seen.
///
/// Each is a name and a value, each of which has its length before both (FastCGI specification, section 3.4): one byte, or
/// four with the highest bit set.
pub(super) fn request(mut variables: &[u8], cut: bool) -> RequestHead {
    let mut fields = Fields::default();
    let mut named = Named::default();
    while let Some((name, value, rest)) = pair(variables) {
        variables = rest;
        if let Some(name) = name.strip_prefix(b"HTTP_") {
            // Some servers say what stands in variables of their own once more.
            let again = matches!(name, b"CONTENT_TYPE" | b"CONTENT_LENGTH") && named.content;
            if !again {
                push(&mut fields, name, value);
            }
        } else {
            named.take(name, value, &mut fields);
        }
    }
    let text = |value: &[u8]| SmolStr::from(String::from_utf8_lossy(value));
    let target = if named.uri.is_empty() {
        let query = text(named.query);
        let mark = if query.is_empty() { "" } else { "?" };
        format_smolstr!("{}{}{mark}{query}", text(named.name), text(named.path))
    } else {
        text(named.uri)
    };
    let server = text(named.server);
    let authority = if field(&fields, "host").is_some() || server.is_empty() {
        None
    } else if named.port.is_empty() {
        Some(server)
    } else {
        Some(format_smolstr!("{server}:{}", text(named.port)))
    };
    let secured = !named.https.is_empty() && !named.https.eq_ignore_ascii_case(b"off");
    RequestHead {
        method: text(named.method),
        target,
        version: match named.protocol {
            b"HTTP/1.0" => Version::Http10,
            b"HTTP/2.0" | b"HTTP/2" => Version::Http2,
            _ => Version::Http11,
        },
        scheme: secured.then_some(SmolStr::new_static("https")),
        authority,
        protocol: None,
        first: false,
        fields,
        unknown: usize::from(cut || !variables.is_empty()),
        gateway: Some(Box::new(Gateway {
            script: text(named.script),
            client: text(named.client),
        })),
    }
}

/// Variables that are no header fields.
#[derive(Default)]
struct Named<'a> {
    method: &'a [u8],
    uri: &'a [u8],
    name: &'a [u8],
    path: &'a [u8],
    query: &'a [u8],
    protocol: &'a [u8],
    script: &'a [u8],
    client: &'a [u8],
    server: &'a [u8],
    port: &'a [u8],
    https: &'a [u8],
    /// It was said what kind of content there is, and how much.
    content: bool,
}

impl<'a> Named<'a> {
    fn take(&mut self, name: &[u8], value: &'a [u8], fields: &mut Fields) {
        let place = match name {
            b"REQUEST_METHOD" => &mut self.method,
            b"REQUEST_URI" => &mut self.uri,
            b"SCRIPT_NAME" => &mut self.name,
            b"PATH_INFO" => &mut self.path,
            b"QUERY_STRING" => &mut self.query,
            b"SERVER_PROTOCOL" => &mut self.protocol,
            b"SCRIPT_FILENAME" => &mut self.script,
            b"REMOTE_ADDR" => &mut self.client,
            b"SERVER_NAME" => &mut self.server,
            b"SERVER_PORT" => &mut self.port,
            b"HTTPS" => &mut self.https,
            b"CONTENT_TYPE" | b"CONTENT_LENGTH" if !value.is_empty() => {
                self.content = true;
                return push(fields, name, value);
            }
            _ => return,
        };
        *place = value;
    }
}

/// A variable becomes the field it was made of.
fn push(fields: &mut Fields, name: &[u8], value: &[u8]) {
    if fields.len() < MAX_FIELDS && name.is_ascii() {
        fields.push_as(name, value, |byte| match byte {
            b'_' => b'-',
            byte => byte.to_ascii_lowercase(),
        });
    }
}

fn pair(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, bytes) = length(bytes)?;
    let (value, bytes) = length(bytes)?;
    let (name, bytes) = bytes.split_at_checked(name)?;
    let (value, rest) = bytes.split_at_checked(value)?;
    Some((name, value, rest))
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if first & 0x80 == 0 {
        return Some((usize::from(*first), rest));
    }
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*word) & 0x7fff_ffff;
    Some((usize::try_from(length).ok()?, rest))
}

/// Where the head of a response ends, if it does: behind its first empty line. It is known not to end within the first `before` bytes,
/// so that a head that comes byte by byte is not looked through each time.
pub(super) fn end(bytes: &[u8], before: usize) -> Option<usize> {
    let from = before.saturating_sub(2);
    let rest = bytes.get(from..).unwrap_or_default();
    let behind = |needle: &[u8]| {
        let at = memmem::find(rest, needle)?;
        Some(from.saturating_add(at).saturating_add(needle.len()))
    };
    let ends = [behind(b"\n\n"), behind(b"\n\r\n")];
    // A response may have no fields at all.
    let empty = bytes.starts_with(b"\r\n").then_some(2);
    let empty = empty.or(bytes.starts_with(b"\n").then_some(1));
    ends.into_iter().flatten().chain(empty).min()
}

/// The head of a response (RFC 3875 section 6): its fields say what the status is.
pub(super) fn response(bytes: &[u8], version: Version, cut: bool) -> ResponseHead {
    let fields = Fields::parse(bytes);
    let said = field(&fields, "status").and_then(|status| std::str::from_utf8(status.get(..3)?).ok()?.parse().ok());
    let moved = field(&fields, "location").is_some_and(|place| memmem::find(place, b"://").is_some());
    let status = match said {
        Some(status) => status,
        None if cut => 0,
        None if moved => 302,
        None => 200,
    };
    ResponseHead {
        status,
        version,
        fields,
        unknown: usize::from(cut),
    }
}

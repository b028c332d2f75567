//! Who a request was made for, as a header or a claim of its token says, where the user of Clew names it.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use smol_str::{SmolStr, ToSmolStr as _};

use super::json::{integer, member, string};
use super::policy::is_secret_header;
use crate::protocol::http1::{Fields, field};

/// A token that is longer is not looked into.
const TOKEN_BYTES: usize = 16 << 10;
/// Most of a name that is kept.
const NAME_BYTES: usize = 128;

/// Where a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// In a header field, by its name in lower case.
    Header(String),
    /// In a claim of a JSON Web Token that is a bearer's (RFC 6750, RFC 7519). The token is read, not checked.
    Claim(String),
}

impl Source {
    /// `header:NAME` or `claim:NAME`; none if it is neither, or a header whose value is a secret.
    pub(super) fn parse(rule: &str) -> Option<Self> {
        let (kind, name) = rule.split_once(':')?;
        let name = name.trim();
        let header = name.to_ascii_lowercase();
        match kind.trim() {
            _ if name.is_empty() => None,
            "header" if is_secret_header(&header) => None,
            "header" => Some(Self::Header(header)),
            "claim" => Some(Self::Claim(name.to_owned())),
            _ => None,
        }
    }

    /// The name, where a request has it.
    pub(super) fn find(&self, fields: &Fields) -> Option<SmolStr> {
        let name = match self {
            Self::Header(name) => String::from_utf8_lossy(field(fields, name)?).trim().to_smolstr(),
            Self::Claim(name) => claim(field(fields, "authorization")?, name)?,
        };
        let end = name.floor_char_boundary(NAME_BYTES);
        name.get(..end).filter(|name| !name.is_empty()).map(SmolStr::new)
    }
}

/// A member of the second part of `Bearer HEADER.PAYLOAD.SIGNATURE`.
fn claim(authorization: &[u8], name: &str) -> Option<SmolStr> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") || token.len() > TOKEN_BYTES {
        return None;
    }
    let payload = token.trim_ascii().split(|byte| *byte == b'.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let value = member(&payload, name)?;
    let text = string(value).map(|text| text.to_smolstr());
    text.or_else(|| integer(value).map(|number| number.to_smolstr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(payload: &str) -> String {
        format!("Bearer e30.{}.x", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn rules() {
        for (rule, want) in [
            ("header:X-User", Some(Source::Header("x-user".to_owned()))),
            ("claim:sub", Some(Source::Claim("sub".to_owned()))),
            ("header:Authorization", None),
            ("header:Cookie", None),
            ("header:", None),
            ("query:user", None),
            ("sub", None),
        ] {
            assert_eq!(Source::parse(rule), want, "{rule}");
        }
    }

    #[test]
    fn claims_of_tokens() {
        for (authorization, want) in [
            (bearer(r#"{"iss":"a","sub":"ann"}"#), Some("ann")),
            (bearer(r#"{"sub":42}"#), Some("42")),
            (bearer(r#"{"sub":{"a":1}}"#), None),
            (bearer(r#"{"name":"ann"}"#), None),
            (bearer("no JSON").replace("Bearer", "Basic"), None),
            ("Bearer opaque".to_owned(), None),
            ("Bearer a.!!!.c".to_owned(), None),
            (format!("Bearer {}", "a".repeat(20_000)), None),
            ("Be".to_owned(), None),
            (bearer(r#"{"sub":"ann"}"#).replace("Bearer", "bearer"), Some("ann")),
        ] {
            assert_eq!(
                claim(authorization.as_bytes(), "sub").as_deref(),
                want,
                "{authorization}"
            );
        }
    }
}

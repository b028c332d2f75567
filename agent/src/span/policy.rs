//! What of a message may be shown.
use std::borrow::Cow;

use smol_str::{SmolStr, format_smolstr};

use super::conceal;
use crate::protocol::http1::{Fields, field};

/// Header fields that are captured unless the user says otherwise.
const DEFAULT_HEADERS: &[&str] = &[
    "accept",
    "content-encoding",
    "content-length",
    "content-type",
    "transfer-encoding",
];
/// Header fields whose values are never shown.
const SECRET_HEADERS: &[&str] = &[
    "authorization",
    "cookie",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "www-authenticate",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-xsrf-token",
];
/// Query parameters whose values are never shown: the four that the semantic conventions name for `url.full`, and others that
/// carry secrets by custom.
const SECRET_PARAMETERS: &[&str] = &[
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "x-amz-signature",
    "x-amz-credential",
    "x-amz-security-token",
    "access_token",
    "api_key",
    "apikey",
    "client_secret",
    "id_token",
    "password",
    "refresh_token",
    "secret",
    "token",
];
/// What stands in place of a value that is not shown.
pub(super) const REDACTED: &str = "REDACTED";

/// What of a message may be shown. The default shows a few harmless headers and hides secrets.
#[derive(Clone, Debug)]
pub struct Policy {
    headers: Vec<Shown>,
    secret_headers: Vec<String>,
    secret_parameters: Vec<String>,
    /// Keys of bodies whose values are hidden.
    secret_keys: Vec<String>,
    /// Whether captured bodies become attributes.
    pub bodies: bool,
    /// Whether values in calls to databases are shown: literals, parameters, arguments, and messages that may repeat them.
    pub values: bool,
}

/// A header field that is captured, and the attributes it becomes.
#[derive(Clone, Debug)]
struct Shown {
    name: String,
    request: SmolStr,
    response: SmolStr,
}

impl Shown {
    fn new(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        Self {
            request: format_smolstr!("http.request.header.{name}"),
            response: format_smolstr!("http.response.header.{name}"),
            name,
        }
    }
}

/// The message a header field is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// Why a `--redact` rule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is not `KIND:NAME`.
    #[error("redaction rule `{0}` is not of the form header:NAME, query:NAME, body:KEY or body:all")]
    Form(String),
    /// The kind is not known.
    #[error("redaction rule `{0}` has an unknown kind; write header:NAME, query:NAME, body:KEY or body:all")]
    Kind(String),
}

impl Default for Policy {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            headers: DEFAULT_HEADERS.iter().map(|name| Shown::new(name)).collect(),
            secret_headers: owned(SECRET_HEADERS),
            secret_parameters: owned(SECRET_PARAMETERS),
            secret_keys: Vec::new(),
            bodies: true,
            values: false,
        }
    }
}

impl Policy {
    /// Captures one more header field.
    pub fn show_header(&mut self, name: &str) {
        self.headers.push(Shown::new(name));
    }

    /// Hides what a rule names: `header:NAME`, `query:NAME`, `body:KEY`, `body:all`.
    ///
    /// # Errors
    /// [`RuleError`] if it names nothing that can be hidden.
    pub fn redact(&mut self, rule: &str) -> Result<(), RuleError> {
        let (kind, name) = rule.split_once(':').ok_or_else(|| RuleError::Form(rule.to_owned()))?;
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() {
            return Err(RuleError::Form(rule.to_owned()));
        }
        match kind.trim() {
            "header" => self.secret_headers.push(name),
            "query" => self.secret_parameters.push(name),
            "body" if name == "all" => self.bodies = false,
            "body" => self.secret_keys.push(name),
            _ => return Err(RuleError::Kind(rule.to_owned())),
        }
        Ok(())
    }

    /// The attribute a header field becomes, and its value as it may be shown; none if the field is not captured.
    pub(super) fn header(&self, side: Side, name: &str, value: &[u8]) -> Option<(&SmolStr, SmolStr)> {
        let shown = self.headers.iter().find(|header| header.name == name)?;
        let key = match side {
            Side::Request => &shown.request,
            Side::Response => &shown.response,
        };
        let secret = self.secret_headers.iter().any(|header| header == name);
        let value = if secret {
            SmolStr::new_static(REDACTED)
        } else {
            SmolStr::from(String::from_utf8_lossy(value))
        };
        Some((key, value))
    }

    /// Whether values in bodies are hidden by their keys: then only what can be read may be shown.
    pub(super) const fn looks_into_bodies(&self) -> bool {
        !self.secret_keys.is_empty()
    }

    /// A body, its content coding removed, as it may be shown.
    pub(super) fn body<'a>(&self, fields: &Fields, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.looks_into_bodies() {
            return Cow::Borrowed(bytes);
        }
        let hidden = |key: &[u8]| {
            self.secret_keys
                .iter()
                .any(|secret| secret.as_bytes().eq_ignore_ascii_case(key))
        };
        // curl calls everything a form that is not called something else: any body may be JSON.
        let shown = conceal::json(bytes, &hidden);
        let media_type = field(fields, "content-type").map(<[u8]>::to_ascii_lowercase);
        let is_form = media_type.is_none_or(|name| name.trim_ascii().starts_with(b"application/x-www-form-urlencoded"));
        Cow::Owned(if is_form { conceal::form(&shown, &hidden) } else { shown })
    }

    /// A query as it may be shown.
    pub(super) fn query(&self, query: &str) -> String {
        let shown = |pair: &str| match pair.split_once('=') {
            Some((name, _))
                if self
                    .secret_parameters
                    .iter()
                    .any(|secret| secret.eq_ignore_ascii_case(name)) =>
            {
                format!("{name}={REDACTED}")
            }
            _ => pair.to_owned(),
        };
        query.split('&').map(shown).collect::<Vec<_>>().join("&")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_even_when_asked_for() {
        fn check(policy: &Policy, name: &str, value: &str, expected: Option<&str>) {
            for (side, prefix) in [
                (Side::Request, "http.request.header."),
                (Side::Response, "http.response.header."),
            ] {
                let shown = policy.header(side, name, value.as_bytes());
                let shown = shown.map(|(key, value)| (key.to_string(), value.to_string()));
                assert_eq!(
                    shown,
                    expected.map(|value| (format!("{prefix}{name}"), value.to_owned()))
                );
            }
        }
        let mut policy = Policy::default();
        check(&policy, "authorization", "Basic x", None);
        policy.show_header("Authorization");
        check(&policy, "authorization", "Basic x", Some(REDACTED));
        check(&policy, "content-type", "text/plain", Some("text/plain"));
        policy.redact("header:Content-Type").unwrap();
        check(&policy, "content-type", "text/plain", Some(REDACTED));
    }

    #[test]
    fn queries() {
        let mut policy = Policy::default();
        policy.redact("query:card").unwrap();
        assert_eq!(
            policy.query("a=1&Token=x&card=4&b"),
            "a=1&Token=REDACTED&card=REDACTED&b"
        );
        assert_eq!(policy.query(""), "");
    }

    #[test]
    fn rules_that_name_nothing() {
        assert_eq!(Policy::default().redact("body:card"), Ok(()));
        for (rule, message) in [
            (
                "card",
                "redaction rule `card` is not of the form header:NAME, query:NAME, body:KEY or body:all",
            ),
            (
                "header:",
                "redaction rule `header:` is not of the form header:NAME, query:NAME, body:KEY or body:all",
            ),
            (
                "cookie:x",
                "redaction rule `cookie:x` has an unknown kind; write header:NAME, query:NAME, body:KEY or body:all",
            ),
        ] {
            assert_eq!(Policy::default().redact(rule).unwrap_err().to_string(), message);
        }
    }
}

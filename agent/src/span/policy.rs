//! What of a message may be shown.
use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use smol_str::{SmolStr, format_smolstr};

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span as Received;

use super::user::Source;
use super::{Span, Status, Value, conceal};
use crate::protocol::http1::{Fields, field};
use crate::redact;
pub(super) use crate::redact::REDACTED;

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
/// What of a message may be shown. The default shows a few harmless headers and hides secrets.
#[derive(Clone, Debug)]
pub struct Policy {
    headers: Vec<Shown>,
    secret_headers: Vec<String>,
    secret_parameters: Vec<String>,
    /// Keys of bodies whose values are hidden.
    secret_keys: Vec<String>,
    /// Attributes whose values are hidden.
    secret_attributes: Vec<String>,
    /// Where the name stands of whoever a request was made for: the first that has one.
    users: Vec<Source>,
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
    #[error("redaction rule `{0}` is not of the form header:NAME, query:NAME, body:KEY, body:all or attribute:KEY")]
    Form(String),
    /// The kind is not known.
    #[error(
        "redaction rule `{0}` has an unknown kind; write header:NAME, query:NAME, body:KEY, body:all or attribute:KEY"
    )]
    Kind(String),
}

/// Whether a header field's value is never shown.
pub(super) fn is_secret_header(name: &str) -> bool {
    SECRET_HEADERS.contains(&name)
}

impl Default for Policy {
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            headers: DEFAULT_HEADERS.iter().map(|name| Shown::new(name)).collect(),
            secret_headers: owned(SECRET_HEADERS),
            secret_parameters: owned(SECRET_PARAMETERS),
            secret_keys: Vec::new(),
            secret_attributes: Vec::new(),
            users: Vec::new(),
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

    /// Names who a request was made for by `header:NAME` or `claim:NAME`; false if the rule says neither, or names a secret.
    pub fn name_user(&mut self, rule: &str) -> bool {
        let source = Source::parse(rule);
        let known = source.is_some();
        self.users.extend(source);
        known
    }

    /// Who a request was made for.
    pub(super) fn user(&self, fields: &Fields) -> Option<SmolStr> {
        self.users.iter().find_map(|source| source.find(fields))
    }

    /// Hides what a rule names: `header:NAME`, `query:NAME`, `body:KEY`, `body:all`, `attribute:KEY`.
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
            "attribute" => self.secret_attributes.push(name),
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

    /// A body, its content coding removed, as it may be shown.
    pub(super) fn body<'a>(&self, fields: &Fields, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let hidden = |key: &[u8]| self.is_secret_key(key);
        // curl calls everything a form that is not called something else: any body may be JSON.
        let shown = conceal::json(bytes, &hidden);
        let media_type = field(fields, "content-type").map(<[u8]>::to_ascii_lowercase);
        let is_form = media_type.is_none_or(|name| name.trim_ascii().starts_with(b"application/x-www-form-urlencoded"));
        if is_form {
            Cow::Owned(conceal::form(&shown, &hidden))
        } else {
            shown
        }
    }

    fn is_secret_key(&self, key: &[u8]) -> bool {
        let known = |secret: &String| secret.as_bytes().eq_ignore_ascii_case(key);
        redact::is_secret(key) || self.secret_keys.iter().any(known)
    }

    /// Hides what a span shows that no name in its messages gave away: last of all, whoever made it.
    pub fn conceal(&self, span: &mut Span) {
        let fixed = span.attributes.iter_mut().map(|(key, value)| (*key, value));
        let named = span.named.iter_mut().map(|(key, value)| (key.as_str(), value));
        let events = span.events.iter_mut().flat_map(|event| &mut event.attributes);
        let events = events.map(|(key, value)| (*key, value));
        for (key, value) in fixed.chain(named).chain(events) {
            match value {
                Value::Text(text) => {
                    if let Cow::Owned(shown) = self.attribute(key, text) {
                        *text = shown.into();
                    }
                }
                Value::Texts(texts) => {
                    for text in texts {
                        if let Cow::Owned(shown) = self.attribute(key, text) {
                            *text = shown.into();
                        }
                    }
                }
                _ => {}
            }
        }
        if let Status::Error(message) = &mut span.status
            && let Cow::Owned(shown) = redact::text(message)
        {
            *message = shown;
        }
    }

    /// The same of a span that was made elsewhere, where nothing may have been hidden.
    pub fn conceal_received(&self, span: &mut Received) {
        self.pairs(&mut span.attributes);
        span.events
            .iter_mut()
            .for_each(|event| self.pairs(&mut event.attributes));
        span.links.iter_mut().for_each(|link| self.pairs(&mut link.attributes));
        if let Some(status) = &mut span.status
            && let Cow::Owned(shown) = redact::text(&status.message)
        {
            status.message = shown;
        }
    }

    /// The same of what it came from.
    pub fn conceal_resource(&self, resource: &mut Resource) {
        for attribute in &mut resource.attributes {
            if let ("process.command_args", Some(Any::ArrayValue(array))) = (
                attribute.key.as_str(),
                attribute.value.as_mut().and_then(|value| value.value.as_mut()),
            ) {
                let texts = array.values.iter().map(|value| match &value.value {
                    Some(Any::StringValue(text)) => text.clone(),
                    _ => String::new(),
                });
                let shown = redact::arguments(texts.collect());
                array.values = shown
                    .into_iter()
                    .map(|text| AnyValue {
                        value: Some(Any::StringValue(text)),
                    })
                    .collect();
            }
            if matches!(attribute.key.as_str(), "process.command_line" | "process.command")
                && let Some(Any::StringValue(text)) = attribute.value.as_mut().and_then(|value| value.value.as_mut())
            {
                *text = redact::arguments(text.split(' ').map(str::to_owned).collect()).join(" ");
            }
        }
        self.pairs(&mut resource.attributes);
    }

    fn pairs(&self, attributes: &mut [KeyValue]) {
        for KeyValue { key, value, .. } in attributes {
            if let Some(value) = value.as_mut().and_then(|value| value.value.as_mut()) {
                self.value(key, value);
            }
        }
    }

    fn value(&self, key: &str, value: &mut Any) {
        match value {
            Any::StringValue(text) => {
                if let Cow::Owned(shown) = self.attribute(key, text) {
                    *text = shown;
                }
                let query = match key {
                    "url.full" | "http.url" | "http.target" => {
                        text.split_once('?').map(|(path, query)| (path.len() + 1, query))
                    }
                    "url.query" => Some((0, text.as_str())),
                    _ => None,
                };
                if let Some((at, query)) = query {
                    let shown = self.query(query);
                    text.truncate(at);
                    text.push_str(&shown);
                }
            }
            Any::ArrayValue(array) => {
                for value in array.values.iter_mut().filter_map(|value| value.value.as_mut()) {
                    self.value(key, value);
                }
            }
            Any::KvlistValue(list) => self.pairs(&mut list.values),
            _ => {}
        }
    }

    /// An attribute's text as it may be shown.
    pub fn attribute<'a>(&self, key: &str, text: &'a str) -> Cow<'a, str> {
        let is_secret = match header_name(key) {
            Some(name) => {
                let name = name.replace('_', "-");
                redact::is_secret(name.as_bytes()) || self.secret_headers.contains(&name)
            }
            None => {
                redact::is_secret(key.as_bytes())
                    || self.secret_attributes.iter().any(|it| it.eq_ignore_ascii_case(key))
            }
        };
        if is_secret {
            return match text {
                REDACTED => Cow::Borrowed(text),
                _ => Cow::Owned(REDACTED.to_owned()),
            };
        }
        if may_have_keys(text)
            && let Cow::Owned(shown) = conceal::json(text.as_bytes(), &|key| self.is_secret_key(key))
        {
            let shown = String::from_utf8_lossy(&shown);
            return Cow::Owned(redact::text(&shown).into_owned());
        }
        redact::text(text)
    }

    /// A line of a log as it may be shown. It has no form that is known: what is called like a secret is hidden wherever a value
    /// is named, as in JSON, in `key=value` or in `key: value`.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let named = |key: &[u8]| {
            let mut names = self.secret_parameters.iter().chain(&self.secret_headers);
            names.any(|secret| secret.as_bytes().eq_ignore_ascii_case(key))
        };
        let hidden = |key: &[u8]| self.is_secret_key(key) || named(key);
        let in_json = match memchr::memchr(b'"', text.as_bytes()) {
            Some(_) => conceal::json(text.as_bytes(), &hidden),
            None => Cow::Borrowed(text.as_bytes()),
        };
        match in_json {
            Cow::Borrowed(_) => redacted(conceal::pairs(text, &hidden)),
            Cow::Owned(shown) => {
                let shown = String::from_utf8_lossy(&shown);
                Cow::Owned(redacted(conceal::pairs(&shown, &hidden)).into_owned())
            }
        }
    }

    /// A query as it may be shown.
    pub(super) fn query(&self, query: &str) -> String {
        let shown = |pair: &str| match pair.split_once('=') {
            Some((name, _))
                if self
                    .secret_parameters
                    .iter()
                    .any(|secret| secret.eq_ignore_ascii_case(name))
                    || redact::is_secret(name.as_bytes()) =>
            {
                format!("{name}={REDACTED}")
            }
            _ => pair.to_owned(),
        };
        query.split('&').map(shown).collect::<Vec<_>>().join("&")
    }
}

/// As [`redact::text`], of a text in which something may have been hidden.
fn redacted(shown: Cow<'_, str>) -> Cow<'_, str> {
    match shown {
        Cow::Borrowed(text) => redact::text(text),
        Cow::Owned(text) => match redact::text(&text) {
            Cow::Borrowed(_) => Cow::Owned(text),
            Cow::Owned(text) => Cow::Owned(text),
        },
    }
}

/// The name of the header field an attribute is of, as in `http.request.header.NAME` and `rpc.grpc.request.metadata.NAME`.
fn header_name(key: &str) -> Option<&str> {
    let at = |finder: &Finder<'_>| Some(finder.find(key.as_bytes())? + finder.needle().len());
    let at = at(&HEADER).or_else(|| at(&METADATA))?;
    key.get(at..)
}

// Made once: to make one costs more than to look with it.
static HEADER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(".header."));
static METADATA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(".metadata."));

/// Whether a quote ends what may be a key of JSON.
fn may_have_keys(text: &str) -> bool {
    memchr::memchr_iter(b'"', text.as_bytes()).any(|at| {
        let rest = text.as_bytes().get(at + 1..).unwrap_or_default();
        rest.starts_with(b":") || rest.starts_with(b" :")
    })
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
    fn spans_whoever_made_them() {
        use crate::span::{Event, SpanKind};
        let text = |text: &str| Value::Text(text.into());
        let mut policy = Policy::default();
        policy.redact("attribute:app.note").unwrap();
        policy.redact("body:nickname").unwrap();
        let mut span = Span {
            kind: SpanKind::Client,
            name: "GET".into(),
            start_ns: 0,
            end_ns: 1,
            attributes: vec![
                ("db.query.text", text("SELECT '4111 1111 1111 1111'")),
                ("app.note", text("x")),
                ("app.db.password", text("x")),
                ("clew.log.body", text(r#"{"nickname":"x","apiKey": "y","n":1}"#)),
                ("url.path", text("/cart")),
            ],
            named: vec![(
                "http.request.header.x-api-key".into(),
                Value::Texts(Box::new(["a".into(), "b".into()])),
            )],
            status: Status::Error("no 5500005555555559".to_owned()),
            events: vec![Event {
                name: "log",
                time_ns: 0,
                attributes: vec![("token", text("x"))],
            }],
        };
        policy.conceal(&mut span);
        let shown: Vec<&Value> = span.attributes.iter().map(|(_, value)| value).collect();
        assert_eq!(
            shown,
            [
                &text("SELECT 'REDACTED'"),
                &text("REDACTED"),
                &text("REDACTED"),
                &text(r#"{"nickname":"REDACTED","apiKey": "REDACTED","n":1}"#),
                &text("/cart"),
            ]
        );
        assert_eq!(
            span.named[0].1,
            Value::Texts(Box::new(["REDACTED".into(), "REDACTED".into()]))
        );
        assert_eq!(span.status, Status::Error("no REDACTED".to_owned()));
        assert_eq!(span.events[0].attributes[0].1, text("REDACTED"));
    }

    #[test]
    fn rules_that_name_nothing() {
        assert_eq!(Policy::default().redact("body:card"), Ok(()));
        for (rule, message) in [
            (
                "card",
                "redaction rule `card` is not of the form header:NAME, query:NAME, body:KEY, body:all or attribute:KEY",
            ),
            (
                "header:",
                "redaction rule `header:` is not of the form header:NAME, query:NAME, body:KEY, body:all or attribute:KEY",
            ),
            (
                "cookie:x",
                "redaction rule `cookie:x` has an unknown kind; write header:NAME, query:NAME, body:KEY, body:all or attribute:KEY",
            ),
        ] {
            assert_eq!(Policy::default().redact(rule).unwrap_err().to_string(), message);
        }
    }
}

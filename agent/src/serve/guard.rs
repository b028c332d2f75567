//! Who may ask.
//!
//! On this machine's own addresses anyone who has an account may; browsers may be asked by any page they show, so what
//! names another host than the one listened on is refused (DNS rebinding), and what another page asks for as well. On any
//! other address a token is wanted with each request.
use std::net::SocketAddr;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};

/// Names this machine calls itself by.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What is asked of whoever asks.
#[derive(Clone, Debug)]
pub struct Access {
    address: SocketAddr,
    token: Option<String>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) &'static str);

impl Access {
    /// For a server on this address: with a token that was drawn unless it is this machine's own.
    pub fn new(address: SocketAddr) -> Self {
        let token = (!address.ip().is_loopback()).then(|| {
            let drawn: [u8; 16] = rand::random();
            crate::export::hex(&drawn)
        });
        Self { address, token }
    }

    /// Where a browser finds the page. The token stands behind `#`, which browsers send to nobody.
    pub fn url(&self) -> String {
        match &self.token {
            // Browsers refuse the address that stands for all of them; here this machine's own does as well.
            Some(token) if self.address.ip().is_unspecified() => {
                let own = if self.address.is_ipv4() { "127.0.0.1" } else { "[::1]" };
                format!("http://{own}:{}/#token={token}", self.address.port())
            }
            Some(token) => format!("http://{}/#token={token}", self.address),
            None => format!("http://{}/", self.address),
        }
    }

    /// Lets a request pass or refuses it. `public` is what holds nothing that was captured: the page itself. `takes` is what can
    /// be posted to.
    pub(super) fn check(&self, method: &Method, headers: &HeaderMap, public: bool, takes: bool) -> Result<(), Refused> {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = text(header::HOST).ok_or(Refused(StatusCode::BAD_REQUEST, "a Host header is missing"))?;
        if self.token.is_none() && !self.is_own(host) {
            return Err(Refused(
                StatusCode::FORBIDDEN,
                "this host name is not the server's: ask for 127.0.0.1 or localhost",
            ));
        }
        let foreign = |origin: &str| origin.strip_prefix("http://") != Some(host);
        if text(header::ORIGIN).is_some_and(foreign) {
            return Err(Refused(StatusCode::FORBIDDEN, "another page may not ask"));
        }
        // Browsers that say so tell of a request that no page of ours has made, even where no Origin is sent.
        let site = text(HeaderName::from_static("sec-fetch-site"));
        if !public && site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return Err(Refused(StatusCode::FORBIDDEN, "another page may not ask"));
        }
        match *method {
            Method::GET | Method::HEAD => {}
            // No form of another page's can say that it sends JSON: a browser asks first, and is refused.
            Method::POST if takes => {
                let kind = text(header::CONTENT_TYPE).unwrap_or_default();
                let kind = kind.split(';').next().unwrap_or_default().trim();
                if !kind.eq_ignore_ascii_case("application/json") && !kind.eq_ignore_ascii_case("application/x-ndjson")
                {
                    return Err(Refused(
                        StatusCode::UNSUPPORTED_MEDIA_TYPE,
                        "application/json is wanted",
                    ));
                }
            }
            _ => return Err(Refused(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here")),
        }
        match &self.token {
            Some(token) if !public && !carries(text(header::AUTHORIZATION), token) => Err(Refused(
                StatusCode::UNAUTHORIZED,
                "a token is wanted: Authorization: Bearer TOKEN, which clew printed",
            )),
            _ => Ok(()),
        }
    }

    /// Lets a program's request pass, or refuses it: one that no page has made. `host` is what it names beside its headers.
    pub(super) fn check_program(&self, headers: &HeaderMap, host: Option<&str>) -> Result<(), Refused> {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = host.or_else(|| text(header::HOST)).unwrap_or_default();
        if self.token.is_none() && !self.is_own(host) {
            return Err(Refused(StatusCode::FORBIDDEN, "this host name is not the server's"));
        }
        if text(header::ORIGIN).is_some() || text(HeaderName::from_static("sec-fetch-site")).is_some() {
            return Err(Refused(StatusCode::FORBIDDEN, "pages may not send spans"));
        }
        match &self.token {
            Some(token) if !carries(text(header::AUTHORIZATION), token) => Err(Refused(
                StatusCode::UNAUTHORIZED,
                "a token is wanted: Authorization: Bearer TOKEN, which clew printed",
            )),
            _ => Ok(()),
        }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is wanted with each request.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    fn is_own(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port.parse::<u16>().ok()),
            // Without one HTTP's own is meant.
            _ => (host, Some(80)),
        };
        let mine = OWN_NAMES.iter().any(|own| name.eq_ignore_ascii_case(own)) || self.address.ip().to_string() == name;
        mine && port == Some(self.address.port())
    }
}

/// Compares without telling by time how much of the token was right.
fn carries(authorization: Option<&str>, token: &str) -> bool {
    let given = authorization
        .and_then(|text| text.strip_prefix("Bearer "))
        .unwrap_or_default();
    let differing = given
        .bytes()
        .zip(token.bytes())
        .fold(0, |all, (one, other)| all | (one ^ other));
    given.len() == token.len() && differing == 0
}

/// What every answer says to a browser.
pub(super) const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers, whether the page is asked for, and what comes of it.
    type Case<'a> = (&'a [(&'static str, &'a str)], bool, u16);

    fn check(access: &Access, cases: &[Case<'_>]) {
        for (given, public, want) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in *given {
                headers.insert(*name, HeaderValue::from_str(value).expect("a value"));
            }
            let found = access.check(&Method::GET, &headers, *public, false);
            let found = found.map_or_else(|refused| refused.0.as_u16(), |()| 200);
            assert_eq!(found, *want, "{given:?}");
        }
    }

    #[test]
    fn on_this_machine() {
        let access = Access::new("127.0.0.1:9911".parse().expect("an address"));
        assert_eq!(access.url(), "http://127.0.0.1:9911/");
        check(
            &access,
            &[
                (&[("host", "127.0.0.1:9911")], false, 200),
                (&[("host", "LocalHost:9911")], false, 200),
                (&[("host", "[::1]:9911")], false, 200),
                (&[], false, 400),
                (&[("host", "evil.example:9911")], false, 403),
                (&[("host", "evil.example:9911")], true, 403),
                (&[("host", "127.0.0.1:80")], false, 403),
                (&[("host", "127.0.0.1")], false, 403),
                (&[("host", "127.0.0.1.evil.example:9911")], false, 403),
                (
                    &[("host", "127.0.0.1:9911"), ("origin", "http://127.0.0.1:9911")],
                    false,
                    200,
                ),
                (
                    &[("host", "127.0.0.1:9911"), ("origin", "http://evil.example")],
                    false,
                    403,
                ),
                (&[("host", "127.0.0.1:9911"), ("origin", "null")], false, 403),
                (
                    &[("host", "127.0.0.1:9911"), ("sec-fetch-site", "cross-site")],
                    false,
                    403,
                ),
                (
                    &[("host", "127.0.0.1:9911"), ("sec-fetch-site", "same-site")],
                    false,
                    403,
                ),
                (
                    &[("host", "127.0.0.1:9911"), ("sec-fetch-site", "cross-site")],
                    true,
                    200,
                ),
                (
                    &[("host", "127.0.0.1:9911"), ("sec-fetch-site", "same-origin")],
                    false,
                    200,
                ),
            ],
        );
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:9911"));
        let mut posted = |kind: &'static str, more: Option<(&'static str, &'static str)>, takes| {
            headers.insert("content-type", HeaderValue::from_static(kind));
            let mut headers = headers.clone();
            if let Some((name, value)) = more {
                headers.insert(name, HeaderValue::from_static(value));
            }
            let checked = access.check(&Method::POST, &headers, false, takes);
            checked.map_or_else(|refused| refused.0.as_u16(), |()| 200)
        };
        assert_eq!(posted("application/json", None, false), 405);
        assert_eq!(posted("application/json; charset=utf-8", None, true), 200);
        // What a form of another page's can send.
        assert_eq!(posted("text/plain", None, true), 415);
        assert_eq!(
            posted("application/json", Some(("origin", "http://evil.example")), true),
            403
        );
        assert_eq!(
            posted("application/json", Some(("sec-fetch-site", "cross-site")), true),
            403
        );
    }

    #[test]
    fn everywhere_is_shown_as_here() {
        for (address, want) in [
            ("0.0.0.0:9911", "http://127.0.0.1:9911/#token="),
            ("[::]:9911", "http://[::1]:9911/#token="),
        ] {
            let access = Access::new(address.parse().expect("an address"));
            assert!(access.url().starts_with(want), "{}", access.url());
        }
    }

    #[test]
    fn elsewhere() {
        let access = Access::new("192.0.2.1:9911".parse().expect("an address"));
        let url = access.url();
        let token = url.strip_prefix("http://192.0.2.1:9911/#token=").expect("a token");
        assert_eq!(token.len(), 32);
        assert_ne!(url, Access::new(access.address).url(), "a token that can be foretold");
        let (right, wrong) = (format!("Bearer {token}"), format!("Bearer {}", "0".repeat(32)));
        check(
            &access,
            &[
                (&[("host", "clew.example:9911")], false, 401),
                (&[("host", "clew.example:9911")], true, 200),
                (&[("host", "clew.example:9911"), ("authorization", &right)], false, 200),
                (&[("host", "clew.example:9911"), ("authorization", &wrong)], false, 401),
                (
                    &[("host", "clew.example:9911"), ("authorization", "Bearer ")],
                    false,
                    401,
                ),
                (
                    &[
                        ("host", "clew.example:9911"),
                        ("authorization", &right),
                        ("origin", "http://evil.example"),
                    ],
                    false,
                    403,
                ),
            ],
        );
    }
}

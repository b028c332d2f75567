//! Route templates, guessed from the paths that pass.
//!
//! Which route of its program a request takes is not on the wire. Segments that no program names its routes by (numbers, UUIDs,
//! hashes, dates, addresses) are `{id}`. Of the others a service has a tree: a segment in whose place very many others stand, most
//! of them once, is `{value}` from then on. A path that was answered with 404 teaches nothing.
use std::collections::HashMap;

use foldhash::fast::RandomState;
use smol_str::{SmolStr, format_smolstr};

use super::{Span, SpanKind, Value};

/// What stands for a segment that is no name by its look.
const ID: &str = "{id}";
/// What stands for one of very many.
const VALUE: &str = "{value}";
/// What stands for the rest of a long path.
const REST: &str = "{rest}";

/// Services and hosts whose paths are learned.
const MAX_TREES: usize = 1024;
/// Segments of a tree.
const MAX_SEGMENTS: usize = 4096;
/// Segments of a path that are told apart.
const MAX_DEPTH: usize = 12;
/// From how many segments in one place it is asked whether they are names.
const MANY: usize = 32;
/// More in one place are not names.
const MOST: usize = 256;
/// One that was seen so often is a name.
const OFTEN: u32 = 16;
/// A segment this long is no name, bytes.
const LONG: usize = 64;

/// The paths of every service and of every host that is asked.
#[derive(Debug, Default)]
pub(super) struct Routes {
    trees: HashMap<(SpanKind, SmolStr), Tree, RandomState>,
}

#[derive(Debug, Default)]
struct Tree {
    root: Place,
    segments: usize,
}

/// A place in a path: what has stood there.
#[derive(Debug, Default)]
struct Place {
    named: HashMap<SmolStr, Named, RandomState>,
    /// Behind a segment that is none of those.
    other: Option<Box<Place>>,
    /// What is new here is no name.
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Named {
    seen: u32,
    behind: Place,
}

impl Routes {
    /// Gives an HTTP span that is named by its method alone the route of its path: `http.route` of a server, `url.template` of a
    /// client, both marked as guessed.
    pub(super) fn describe(&mut self, span: &mut Span, service: &str) {
        let text = |key| {
            span.attributes.iter().find_map(|(name, value)| match value {
                Value::Text(text) if *name == key => Some(text),
                _ => None,
            })
        };
        let (Some(method), Some(path)) = (text("http.request.method"), text("url.path")) else {
            return;
        };
        if *method != span.name || !path.starts_with('/') {
            return;
        }
        let missing = |(name, value): &(&str, Value)| *name == "http.response.status_code" && *value == Value::Int(404);
        let learns = !span.attributes.iter().any(missing);
        let (whose, attribute) = match span.kind {
            SpanKind::Server => (SmolStr::from(service), "http.route"),
            _ => (text("server.address").cloned().unwrap_or_default(), "url.template"),
        };
        let Some(route) = self.route(span.kind, whose, path, learns) else {
            return;
        };
        span.name = format_smolstr!("{method} {route}");
        span.attributes.push((attribute, Value::Text(route)));
        span.attributes.push(("clew.http.route.guessed", Value::Bool(true)));
    }

    fn route(&mut self, kind: SpanKind, whose: SmolStr, path: &str, learns: bool) -> Option<SmolStr> {
        let key = (kind, whose);
        if !self.trees.contains_key(&key) && (!learns || self.trees.len() >= MAX_TREES) {
            return None;
        }
        self.trees.entry(key).or_default().route(path, learns)
    }
}

impl Tree {
    fn route(&mut self, path: &str, learns: bool) -> Option<SmolStr> {
        let mut route = String::new();
        let mut place = &mut self.root;
        let mut segments = path.split('/').skip(1);
        for segment in segments.by_ref().take(MAX_DEPTH) {
            route.push('/');
            if segment.is_empty() {
                continue;
            }
            let (shown, next) = match template(segment) {
                Some(shown) => (shown, place.other(learns)?),
                None => match place.step(segment, learns, &mut self.segments)? {
                    (true, next) => (SmolStr::from(segment), next),
                    (false, next) => (SmolStr::new_static(VALUE), next),
                },
            };
            route.push_str(&shown);
            place = next;
        }
        if segments.next().is_some() {
            route.push('/');
            route.push_str(REST);
        }
        Some(route.into())
    }
}

impl Place {
    /// What is behind a segment that is no name.
    fn other(&mut self, learns: bool) -> Option<&mut Self> {
        if learns {
            return Some(self.other.get_or_insert_default());
        }
        self.other.as_deref_mut()
    }

    /// What is behind `segment`, and whether that is a name here.
    fn step(&mut self, segment: &str, learns: bool, segments: &mut usize) -> Option<(bool, &mut Self)> {
        if learns && !self.is_closed && !self.named.contains_key(segment) {
            self.make_room(segments);
            if !self.is_closed {
                *segments += 1;
                self.named.insert(segment.into(), Named::default());
            }
        }
        if self.named.contains_key(segment) {
            let named = self.named.get_mut(segment)?;
            named.seen = named.seen.saturating_add(u32::from(learns));
            return Some((true, &mut named.behind));
        }
        Some((false, self.other(learns && self.is_closed)?))
    }

    /// Decides whether another name may stand here.
    fn make_room(&mut self, segments: &mut usize) {
        let full = *segments >= MAX_SEGMENTS || self.named.len() >= MOST;
        let once = self.named.values().filter(|named| named.seen <= 1).count();
        if !full && (self.named.len() < MANY || once * 2 < self.named.len()) {
            return;
        }
        self.is_closed = true;
        let before = self.named.len();
        self.named.retain(|_, named| named.seen >= OFTEN);
        // What was learned behind the others is learned anew; their segments stay counted.
        *segments -= before - self.named.len();
    }
}

/// What stands for a segment that no program names its routes by.
fn template(segment: &str) -> Option<SmolStr> {
    if is_value(segment) {
        return Some(SmolStr::new_static(ID));
    }
    // Built files carry a hash: app.3f2a9c1b.js.
    let (stem, kind) = segment.rsplit_once('.')?;
    let is_kind = (1..=5).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let hashed = stem.split(['.', '-']).any(is_value);
    (is_kind && hashed).then(|| format_smolstr!("{ID}.{kind}"))
}

fn is_value(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_hex = bytes.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let has = |of: fn(&u8) -> bool| bytes.iter().any(of);
    let is_word = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && digits > 0;
    bytes.len() > LONG
        || digits == bytes.len()
        || (is_hex && digits > 0 && bytes.len() >= 8)
        // order-1234, 2026-11-29, ABC00123
        || (digits >= 3 && digits * 3 >= bytes.len())
        || (is_word && bytes.len() >= 16)
        || has(|byte| matches!(byte, b'@' | b'%' | b'=' | b',' | b';' | b'{' | b'}') || !byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Status;

    fn route(routes: &mut Routes, path: &str) -> Option<String> {
        routes
            .route(SpanKind::Server, "shop".into(), path, true)
            .map(|route| route.to_string())
    }

    #[test]
    fn what_no_route_is_named_by() {
        for (path, expected) in [
            ("/", "/"),
            ("/api/v1/users", "/api/v1/users"),
            ("/users/42/orders/7", "/users/{id}/orders/{id}"),
            ("/orders/9f1c2d3e-1111-4222-8333-944455556666/", "/orders/{id}/"),
            ("/objects/deadbeef01", "/objects/{id}"),
            ("/orders/order-1234", "/orders/{id}"),
            ("/reports/2026-11-29", "/reports/{id}"),
            ("/oauth2/token", "/oauth2/token"),
            ("/s3/bucket", "/s3/bucket"),
            ("/static/app.3f2a9c1b.js", "/static/{id}.js"),
            ("/static/app.js", "/static/app.js"),
            ("/users/ann@example.com", "/users/{id}"),
            ("/t/aGVsbG8gd29ybGQ1Xx", "/t/{id}"),
            ("/a//b", "/a//b"),
            (
                "/1/2/3/4/5/6/7/8/9/10/11/12/13",
                "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{rest}",
            ),
        ] {
            assert_eq!(route(&mut Routes::default(), path).as_deref(), Some(expected), "{path}");
        }
    }

    /// Names of things are values once there are very many; what is asked for again and again is a name all the same.
    #[test]
    fn one_of_very_many() {
        let mut routes = Routes::default();
        let name = |n: u32| {
            format!(
                "{}{}",
                ["red", "blue", "green", "grey"][n as usize % 4],
                "-chair".repeat(n as usize / 4)
            )
        };
        for n in 0..MANY as u32 {
            for _ in 0..OFTEN {
                assert_eq!(
                    route(&mut routes, "/items/best/price").as_deref(),
                    Some("/items/best/price")
                );
            }
            assert!(route(&mut routes, &format!("/items/{}/price", name(n % 8))).is_some());
            let n = char::from(b'a' + (n % 26) as u8)
                .to_string()
                .repeat(2 + n as usize / 26);
            assert!(route(&mut routes, &format!("/items/{n}/price")).is_some());
        }
        for new in ["lantern", "minotaur"] {
            let path = format!("/items/{new}/price");
            assert_eq!(route(&mut routes, &path).as_deref(), Some("/items/{value}/price"));
        }
        assert_eq!(
            route(&mut routes, "/items/best/price").as_deref(),
            Some("/items/best/price")
        );
        assert_eq!(
            route(&mut routes, "/cart").as_deref(),
            Some("/cart"),
            "elsewhere nothing changes"
        );
    }

    #[test]
    fn routes_that_are_used_stay() {
        let mut routes = Routes::default();
        for n in 0..100 {
            let name: String = (0..4)
                .map(|at| char::from(b'a' + ((n >> (at * 2)) & 3) as u8))
                .collect();
            for _ in 0..2 {
                assert_eq!(route(&mut routes, &format!("/{name}")), Some(format!("/{name}")));
            }
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut routes = Routes::default();
        let word = |n: usize| -> String { (0..4).map(|at| char::from(b'a' + (n >> (at * 4) & 15) as u8)).collect() };
        for n in 0..20_000 {
            // Each twice, so that they look like names.
            for _ in 0..2 {
                let path = format!("/{}/{}/{}", word(n % 200), word(n / 7), word(n));
                route(&mut routes, &path);
            }
        }
        for n in 0..2 * MAX_TREES {
            routes.route(SpanKind::Client, word(n).into(), "/a", true);
        }
        assert_eq!(routes.trees.len(), MAX_TREES);
        let tree = &routes.trees[&(SpanKind::Server, SmolStr::new("shop"))];
        assert!(tree.segments <= MAX_SEGMENTS, "{}", tree.segments);
        assert!(count(&tree.root) <= MAX_SEGMENTS);
    }

    fn count(place: &Place) -> usize {
        let named = place.named.values().map(|named| 1 + count(&named.behind));
        named.sum::<usize>() + place.other.as_deref().map_or(0, count)
    }

    fn span(kind: SpanKind, name: &str, path: &str, status: i64) -> Span {
        Span {
            kind,
            name: name.into(),
            start_ns: 0,
            end_ns: 1,
            attributes: vec![
                ("http.request.method", Value::fixed("GET")),
                ("url.path", Value::Text(path.into())),
                ("http.response.status_code", Value::Int(status)),
                ("server.address", Value::fixed("stock")),
            ],
            named: Vec::new(),
            status: Status::Unset,
            events: Vec::new(),
        }
    }

    #[test]
    fn spans() {
        let mut routes = Routes::default();
        let mut describe = |kind, name, path, status| {
            let mut span = span(kind, name, path, status);
            routes.describe(&mut span, "shop");
            let route = span.attributes.iter().find_map(|(key, value)| match value {
                Value::Text(text) if matches!(*key, "http.route" | "url.template") => Some(format!("{key}={text}")),
                _ => None,
            });
            (span.name.to_string(), route)
        };
        let told = |name: &str, route: &str| (name.to_owned(), Some(route.to_owned()));
        let nothing = |name: &str| (name.to_owned(), None);
        assert_eq!(
            describe(SpanKind::Server, "GET", "/a/1", 404),
            nothing("GET"),
            "nothing is known yet"
        );
        assert_eq!(
            describe(SpanKind::Server, "GET", "/a/1", 200),
            told("GET /a/{id}", "http.route=/a/{id}")
        );
        assert_eq!(
            describe(SpanKind::Server, "GET", "/a/2", 404),
            told("GET /a/{id}", "http.route=/a/{id}")
        );
        assert_eq!(describe(SpanKind::Server, "GET", "/wp-admin", 404), nothing("GET"));
        assert_eq!(
            describe(SpanKind::Client, "GET", "/a/2", 200),
            told("GET /a/{id}", "url.template=/a/{id}")
        );
        assert_eq!(
            describe(SpanKind::Server, "chat model", "/a/2", 200),
            nothing("chat model"),
            "it has a name"
        );
        assert_eq!(describe(SpanKind::Server, "GET", "*", 200), nothing("GET"));
    }
}

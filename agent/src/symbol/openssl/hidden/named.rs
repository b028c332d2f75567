//! OpenSSL: a function says that it is the one that fails, since version 3 by its name, before by a number.
use std::collections::{BTreeSet, HashMap};

use super::super::super::image::Image;
use super::super::place::Place;
use super::{Failing, Hidden, only};

/// Functions by name, and by the numbers that version 1.1.1 has for them (`include/openssl/sslerr.h`).
const FUNCTIONS: &[(&str, u64)] = &[
    (READ, 223),
    (WRITE, 208),
    (READ_INNER, 523),
    (WRITE_INNER, 524),
    (HANDSHAKE, 180),
    (NEW, 186),
    ("SSL_shutdown", 224),
    ("SSL_clear", 164),
];
const READ: &str = "SSL_read";
const WRITE: &str = "SSL_write";
const READ_INNER: &str = "ssl_read_internal";
const WRITE_INNER: &str = "ssl_write_internal";
const HANDSHAKE: &str = "SSL_do_handshake";
const NEW: &str = "SSL_new";

/// What version 1.1.1 numbers itself in failures.
const OPENSSL: u64 = 20;

/// The functions among those that fail in its file.
pub(super) fn identify(image: &Image, functions: &[Failing]) -> Result<Hidden, &'static str> {
    let numbered = functions.iter().any(|function| function.says_in(OPENSSL));
    let mut owners: HashMap<&'static str, Vec<&Failing>> = HashMap::new();
    let mut fails = BTreeSet::new();
    for function in functions {
        let mut names: Vec<&'static str> = function
            .sites
            .iter()
            .filter_map(|site| {
                let name = match site.arguments {
                    [Some(OPENSSL), Some(number), ..] if numbered => by_number(number),
                    [_, _, Some(text), ..] if !numbered => by_text(image, text),
                    _ => None,
                };
                fails.extend(name.and(site.called));
                name
            })
            .collect();
        names.dedup();
        for name in names {
            owners.entry(name).or_default().push(function);
        }
    }
    if fails.len() != 1 {
        return Err("it fails in another way than Clew knows");
    }
    let one = |name: &'static str, none: &'static str| only(owners.get(name).into_iter().flatten().copied(), none);
    let (read, write) = (
        one(READ, "what reads does not show")?,
        one(WRITE, "what writes does not show")?,
    );
    let inner = [
        (READ, read, one(READ_INNER, "what reads does not show")?),
        (WRITE, write, one(WRITE_INNER, "what writes does not show")?),
    ];
    let made = one(NEW, "what makes a session does not show")?;
    let shake = one(HANDSHAKE, "what shakes hands does not show")?;
    for (_, outer, inner) in &inner {
        // A function that is inlined has its name in two.
        let on = Place::handed(image, outer.range.address, None).is_some_and(|place| inner.range.holds(place.at));
        if !on || outer.range == inner.range || !inner.takes_three() {
            return Err("its functions hand on in another way than Clew knows");
        }
    }
    if !made.takes_one() || !shake.takes_one() {
        return Err("its functions begin in another way than Clew knows");
    }
    let others = ["SSL_shutdown", "SSL_clear"].into_iter().filter_map(|name| {
        let found = one(name, "").ok().filter(|function| function.takes_one())?;
        Some((name, found.range.address))
    });
    let named = [(READ, read), (WRITE, write), (NEW, made), (HANDSHAKE, shake)];
    Ok(Hidden {
        functions: named
            .into_iter()
            .map(|(name, function)| (name, function.range.address))
            .chain(others)
            .collect(),
        calls: Vec::new(),
        hands_on: true,
        random: None,
        name: "OpenSSL",
    })
}

fn by_number(number: u64) -> Option<&'static str> {
    let found = FUNCTIONS.iter().find(|(_, other)| *other == number);
    found.map(|(name, _)| *name)
}

/// The function whose name stands at `address`.
fn by_text(image: &Image, address: u64) -> Option<&'static str> {
    FUNCTIONS
        .iter()
        .map(|(name, _)| *name)
        .find(|name| image.begins(address, &[name.as_bytes(), b"\0"].concat()))
}

//! OpenSSL and BoringSSL within a program that names none of its functions.
//!
//! A function tells which it is when it fails: it says in which source file, and OpenSSL in which function, BoringSSL and OpenSSL
//! 1.1.1 by which reason or number. These words are data that its code refers to. What is found so has to agree with who calls
//! whom, with the arguments a function reads, and with where functions begin; and each has to be the only one. Else the program
//! is left alone: a probe in a wrong function would be worse than none.
mod boringssl;
mod named;
mod site;

use std::collections::HashMap;

use super::super::frames::{self, Range};
use super::super::image::Image;
pub(super) use site::Site;

/// The source file that has the functions; BoringSSL's name goes on with another letter.
const FILE: &[u8] = b"ssl/ssl_lib.c";
/// Code that is searched, bytes.
const MOST_CODE: u64 = 512 << 20;
/// Data that is searched, bytes.
const MOST_DATA: u64 = 256 << 20;
/// Most of a function that is looked at, bytes.
const FUNCTION_BYTES: u64 = 16 << 10;
/// Places that refer to the file's name.
const MOST_PLACES: usize = 4096;

/// The functions, by the names they have in a library.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hidden {
    pub(super) functions: HashMap<&'static str, u64>,
    /// More functions that use a session's connection and move no plaintext.
    pub(super) calls: Vec<u64>,
    /// `SSL_read` and `SSL_write` hand on to functions which others that are not known hand on to as well.
    pub(super) hands_on: bool,
    /// Where a session has its ClientHello's random number, as `place::random` tells it.
    pub(super) random: Option<(u16, u16)>,
    /// Which library it is, for people.
    pub(super) name: &'static str,
}

/// A function and what it says when it fails.
#[derive(Debug)]
struct Failing {
    range: Range,
    code: Vec<u8>,
    sites: Vec<Site>,
}

/// Looks for the functions. Nothing if the program has neither library; why they are not known, if it has one.
pub(super) fn find(image: &Image) -> Option<Result<Hidden, &'static str>> {
    // Go's own programs have neither.
    if image.section(&[".gopclntab"]).is_some() {
        return None;
    }
    let data = image.section(&[".rodata"]).filter(|data| data.size <= MOST_DATA)?;
    let ends = image.places(data, FILE, MOST_PLACES);
    let names = site::starts(image, &ends);
    (!names.is_empty()).then(|| identify(image, &names))
}

fn identify(image: &Image, names: &[(u64, bool)]) -> Result<Hidden, &'static str> {
    const MANY: &str = "the program has several libraries of the kind, or parts of one";
    let &[(file, is_boring)] = names else {
        return Err(MANY);
    };
    let text = image
        .section(&[".text"])
        .filter(|text| text.size <= MOST_CODE)
        .ok_or("it is too large")?;
    // The code may be large: it is searched once.
    let labels = site::labels(image);
    let wanted: Vec<u64> = labels.iter().copied().chain([file]).collect();
    let places = site::references(image, text, &wanted, MOST_PLACES);
    let of = |what: &dyn Fn(u64) -> bool| -> Vec<u64> {
        let found = places.iter().filter(|(_, target)| what(*target));
        found.map(|(at, _)| *at).collect()
    };
    let derive = of(&|target| target != file);
    let all: Vec<u64> = places.iter().map(|(at, _)| *at).collect();
    let ranges = frames::around(image, &all);
    let functions: Vec<Failing> = ranges
        .iter()
        .filter_map(|range| {
            let size = usize::try_from(range.size.min(FUNCTION_BYTES)).ok()?;
            let code = image.code(range.address, size)?;
            let sites = site::sites(&code, range.address, file);
            let range = *range;
            (!sites.is_empty()).then_some(Failing { range, code, sites })
        })
        .collect();
    if functions.is_empty() {
        return Err("where its functions begin and end does not show");
    }
    let mut hidden = if is_boring || functions.iter().any(|function| function.says_in(site::BORING)) {
        boringssl::identify(&functions)?
    } else {
        named::identify(image, &functions)?
    };
    hidden.random = site::random(image, &ranges, &derive, &hidden);
    Ok(hidden)
}

impl Failing {
    /// It fails in this library, as BoringSSL and OpenSSL 1.1.1 number them.
    fn says_in(&self, library: u64) -> bool {
        self.sites
            .iter()
            .any(|site| site.arguments.first() == Some(&Some(library)))
    }

    fn calls(&self, address: u64) -> bool {
        super::super::code::calls_to(&self.code, self.range.address, address)
            .next()
            .is_some()
    }

    /// It begins as a function that is given a session, a buffer and its size: it reads all three before anything changes them,
    /// and returns. The part of a function that a compiler has put elsewhere does neither.
    fn takes_three(&self) -> bool {
        site::takes(&self.code, self.range.address, 3)
    }

    fn takes_one(&self) -> bool {
        site::takes(&self.code, self.range.address, 1)
    }
}

/// The only one; why it is not known.
fn only<'a>(mut found: impl Iterator<Item = &'a Failing>, none: &'static str) -> Result<&'a Failing, &'static str> {
    let one = found.next().ok_or(none)?;
    match found.next() {
        None => Ok(one),
        Some(_) => Err("more than one of its functions looks like the one that is meant"),
    }
}

#[cfg(test)]
mod tests;

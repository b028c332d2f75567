//! Exchanges of messages, as the expectations tell them, and what must hold of them where something was not seen.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clew::protocol::message::{Content, Detail, Message, Outcome};
use clew::protocol::{RequestHead, ResponseHead, Step};

/// Whether exchanges are messages.
pub(crate) fn are_of(steps: &[Step]) -> bool {
    steps
        .iter()
        .any(|step| matches!(step, Step::Request(request) if matches!(request.head, RequestHead::Message(_))))
}

/// A message, in a line.
pub(crate) fn tell(message: &Message) -> String {
    let temporary = if message.is_temporary { " (temporary)" } else { "" };
    format!(
        "{} {:?} {} {:?}{temporary}{}",
        message.system,
        message.action,
        message.operation,
        message.destination,
        tell_content(&message.content)
    )
}

fn tell_content(content: &Content) -> String {
    let mut told = content.bytes.map_or(String::new(), |bytes| format!(" {bytes} bytes"));
    for (name, value) in [("id", &content.id), ("conversation", &content.conversation)] {
        if !value.is_empty() {
            let _ = write!(told, " {name} {value}");
        }
    }
    if !content.headers.is_empty() {
        let _ = write!(told, " {:?}", content.headers);
    }
    told.push_str(&details(&content.details));
    if !content.contexts.is_empty() {
        let _ = write!(told, " {:?}", content.contexts);
    }
    if let Some(topic) = content.topic {
        let _ = write!(told, " topic {:032x}", u128::from_be_bytes(topic));
    }
    if !content.identities.is_empty() {
        told.push_str(" recognized");
    }
    told
}

/// Names and numbers, by the last part of what tells them.
pub(crate) fn details(details: &[(&'static str, Detail)]) -> String {
    let mut told = String::new();
    for (key, detail) in details {
        let key = key.rsplit('.').next().unwrap_or(key);
        let _ = match detail {
            Detail::Text(text) => write!(told, " {key} {text:?}"),
            Detail::Number(number) => write!(told, " {key} {number}"),
            Detail::Is(is) => write!(told, " {key} {is}"),
        };
    }
    told
}

/// What became of one.
pub(crate) fn tell_outcome(outcome: &Outcome) -> String {
    let mut told = outcome
        .settled
        .map_or_else(|| "-".to_owned(), |settled| format!("{settled:?}"));
    if let Some(error) = &outcome.error {
        let _ = write!(told, ", failed {} {:?}", error.code, error.message);
    }
    if let Some(received) = &outcome.received {
        let _ = write!(told, ", {}", tell(received));
    }
    if outcome.identity.is_some() {
        told.push_str(", recognized");
    }
    told
}

/// A message by its place: whether the broker sent it unasked, and its first byte.
type Place = (bool, u64);

struct Told<'a> {
    message: &'a Message,
    begun_ns: u64,
    outcome: Option<&'a Outcome>,
}

fn all(steps: &[Step]) -> BTreeMap<Place, Told<'_>> {
    let mut places = BTreeMap::new();
    let mut all = BTreeMap::new();
    for step in steps {
        match step {
            Step::Request(request) => {
                let RequestHead::Message(message) = &request.head else {
                    continue;
                };
                let place = (request.head.is_pushed(), request.offset);
                places.insert(request.exchange, place);
                let told = Told {
                    message,
                    begun_ns: request.start.time_ns,
                    outcome: None,
                };
                assert!(all.insert(place, told).is_none(), "two messages at {place:?}");
            }
            Step::Response(response) => {
                if let (ResponseHead::Message(outcome), Some(place)) = (&response.head, places.get(&response.exchange))
                {
                    all.get_mut(place).expect("it began").outcome = Some(outcome);
                }
            }
            _ => {}
        }
    }
    all
}

/// With a hole, whatever is told of a message was said of it; and those that begin behind it are told, but for one that may be
/// needed to find the way.
#[track_caller]
pub(crate) fn agree(whole: &[Step], holed: &[Step], hole_ns: u64, what: &str) {
    let (whole, holed) = (all(whole), all(holed));
    for (place, told) in &holed {
        let expected = whole.get(place);
        let expected = expected.unwrap_or_else(|| panic!("{what}: no message is at {place:?}: {}", tell(told.message)));
        let (message, other) = (told.message, expected.message);
        let without = |content: &Content| Content {
            identities: Vec::new(),
            details: Vec::new(),
            ..content.clone()
        };
        let is_known = |identity| other.content.identities.contains(identity);
        // A subscription's group was said before.
        let is_told = |detail| other.content.details.contains(detail);
        assert!(message.content.details.iter().all(is_told), "{what}");
        // What a broker counts is of use only where it has named itself.
        assert!(message.content.identities.iter().all(is_known), "{what}");
        // Of MQTT nothing but the topic is told until the version is known.
        if message.content.bytes.is_some() || other.content.bytes.is_none() {
            assert_eq!(without(&message.content), without(&other.content), "{what}");
        } else {
            assert_eq!(without(&message.content), Content::default(), "{what}");
        }
        // Part of its name may have been said before.
        let named = other.destination == message.destination
            || other.destination.starts_with(&format!("{}:", message.destination))
            || message.destination.is_empty();
        assert!(named, "{what}: {} is {}", message.destination, other.destination);
        let Some(outcome) = told.outcome.filter(|outcome| **outcome != Outcome::default()) else {
            continue;
        };
        let mut outcome = outcome.clone();
        let whole = expected.outcome.and_then(|outcome| outcome.identity);
        outcome.identity = outcome.identity.or(whole);
        if let (Some(mine), Some(theirs)) = (
            &mut outcome.received,
            expected.outcome.and_then(|outcome| outcome.received.as_ref()),
        ) {
            mine.destination.clone_from(&theirs.destination);
            mine.is_temporary = theirs.is_temporary;
        }
        assert_eq!(Some(&outcome), expected.outcome, "{what}: {}", tell(message));
    }
    // Who is the client of MQTT is said at the beginning, and after that only when nothing passes.
    let is_told = |told: &&Told<'_>| told.message.system != "mqtt" || hole_ns > 0;
    let behind: Vec<_> = whole.iter().filter(|(_, told)| told.begun_ns > hole_ns).collect();
    // One operation may carry several.
    let missing = behind
        .iter()
        .filter(|(place, told)| is_told(told) && !holed.contains_key(place))
        .map(|(_, told)| told.begun_ns);
    let missing = missing.collect::<BTreeSet<_>>().len();
    assert!(
        missing <= 1,
        "{what}: {missing} of {} messages behind it are missing",
        behind.len()
    );
}

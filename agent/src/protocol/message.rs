//! Messages that programs send to each other through a broker, and what became of them.
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::fast::FixedState;
use smol_str::SmolStr;

use super::Id;
use super::call::Failure;
use super::http1::Fields;
use super::uuid::{Uuid, Uuids};

/// Shortest text that is taken for a name no other message has. What is shorter counts, and begins anew with each program.
const MIN_UNIQUE: usize = 16;
/// Headers that name the span a message was made in.
const CONTEXTS: [&str; 5] = [
    "traceparent",
    "b3",
    "x-b3-spanid",
    "uber-trace-id",
    "x-datadog-parent-id",
];

/// Who says something, where a broker hands on what a program publishes in the words in which it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Client,
    Server,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// What is done with a message by who says it, and what that is called.
    pub(super) const fn passes(self) -> (Action, &'static str) {
        match self {
            Self::Client => (Action::Send, "publish"),
            Self::Server => (Action::Deliver, "deliver"),
        }
    }
}

/// What a program has to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It hands it to the broker.
    Send,
    /// It asks the broker for one.
    Receive,
    /// The broker hands it over unasked.
    Deliver,
}

/// A message on its way between a program and a broker, or the wish for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The system, as `messaging.system` has it.
    pub system: &'static str,
    /// What is done with it.
    pub action: Action,
    /// What the system calls that.
    pub operation: &'static str,
    /// Where it is sent, or comes from, as `messaging.destination.name` has it.
    pub destination: SmolStr,
    /// The name of the destination was made for one program, and means nothing to others.
    pub is_temporary: bool,
    /// What is known of it.
    pub content: Content,
}

/// What is known of a message itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Bytes of its body.
    pub bytes: Option<u64>,
    /// What the sender names it, if anything.
    pub id: SmolStr,
    /// What the sender names the conversation it is part of, if anything.
    pub conversation: SmolStr,
    /// Its headers that are text.
    pub headers: Fields,
    /// By what it is recognized on its way, each by itself.
    pub identities: Vec<Identity>,
    /// The number its destination goes by, where that is what is sent: a name of it may be told by [`Step::Named`](super::Step).
    pub topic: Option<Id>,
    /// Contexts that messages carry which are sent together, where they have not all the same.
    pub contexts: Vec<Fields>,
    /// Further names and numbers, as the attributes that tell them are called.
    pub details: Vec<(&'static str, Detail)>,
}

/// A name or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A name.
    Text(SmolStr),
    /// A number.
    Number(u64),
    /// Yes or no.
    Is(bool),
}

/// By what a message is recognized when a program sends it and when another gets it. Two messages have the same only if
/// nothing of what is compared tells them apart; whoever sees two sent believes neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub [u64; 2]);

impl Identity {
    /// Of something made of these parts, which no other message of the system has.
    pub(super) fn of(system: &'static str, parts: impl Hash) -> Self {
        let half = |seed| {
            let mut hasher = FixedState::with_seed(seed).build_hasher();
            system.hash(&mut hasher);
            parts.hash(&mut hasher);
            hasher.finish()
        };
        Self([half(1), half(2)])
    }
}

impl Content {
    /// Names of the message that no other has, and what else its headers name. Celery's messages have theirs in one of them (`id`).
    pub fn names(&self) -> (Vec<Uuid>, Vec<Uuid>) {
        const NAME: &str = "id";
        let texts = [self.id.as_bytes(), self.conversation.as_bytes()];
        let own: Vec<Uuid> = texts
            .into_iter()
            .chain(self.headers.all(NAME))
            .filter_map(Uuid::parse)
            .collect();
        if own.is_empty() {
            return (own, Vec::new());
        }
        let others = self.headers.iter().filter_map(|(_, value)| Uuids::of(value).found());
        (own, others.flatten().collect())
    }

    /// What the message is recognized by, if it carries a name that is likely its own: all that the sender says of it, and
    /// `place`, where it is sent. A body is not looked at.
    pub(super) fn recognized_by(&self, system: &'static str, place: impl Hash) -> Option<Identity> {
        let is_named = self.id.len() >= MIN_UNIQUE
            || self.conversation.len() >= MIN_UNIQUE
            || CONTEXTS.iter().any(|name| self.headers.all(name).next().is_some());
        if !is_named {
            return None;
        }
        let parts = (place, &self.id, &self.conversation, &self.headers, self.bytes);
        Some(Identity::of(system, parts))
    }
}

/// What became of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How its receiver, or the broker, settled it. None where nobody does.
    pub settled: Option<Settled>,
    /// What the broker says against it.
    pub error: Option<Box<Failure>>,
    /// The message that was asked for.
    pub received: Option<Box<Message>>,
    /// What it is recognized by, where only the broker's answer tells.
    pub identity: Option<Identity>,
}

impl Outcome {
    /// It was settled so, and nothing else is known.
    pub(super) fn settled(how: Settled) -> Self {
        Self {
            settled: Some(how),
            ..Self::default()
        }
    }
}

/// How a message was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was taken.
    Accepted,
    /// It was refused for good.
    Rejected,
    /// It was given back, to be handed over again.
    Requeued,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_other_message_has() {
        let [one, two, three] = [1, 2, 3].map(|number| format!("00000000-0000-4000-8000-{number:012}"));
        let uuid = |text: &str| Uuid::parse(text.as_bytes()).expect("one");
        let content = |id: &str, conversation: &str, headers: &[(&str, &str)]| Content {
            id: id.into(),
            conversation: conversation.into(),
            headers: headers.iter().copied().collect(),
            ..Content::default()
        };
        let names = content(&one, "17", &[]).names();
        assert_eq!(names, (vec![uuid(&one)], vec![]));
        let origin = format!("{two}, {three}");
        let names = content("", &one, &[("id", &two), ("parent_id", &three), ("origin", &origin)]).names();
        let others = [&two, &three, &two, &three].map(|text| uuid(text));
        assert_eq!(names, (vec![uuid(&one), uuid(&two)], others.to_vec()));
        // Nothing is its own.
        let names = content("17", "", &[("id", "18"), ("parent_id", &three)]).names();
        assert_eq!(names, (vec![], vec![]));
    }

    #[track_caller]
    fn check(one: &Content, other: &Content, expected: bool) {
        let (one, other) = (one.recognized_by("x", "a"), other.recognized_by("x", "a"));
        assert_eq!(one.is_some() && one == other, expected, "{one:?} {other:?}");
    }

    #[test]
    fn only_what_has_a_name_of_its_own_is_recognized() {
        let named = |id: &str| Content {
            id: id.into(),
            bytes: Some(3),
            ..Content::default()
        };
        let long = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";
        check(&named(long), &named(long), true);
        check(&named("17"), &named("17"), false);
        check(&named(""), &named(""), false);
        let longer = Content {
            bytes: Some(4),
            ..named(long)
        };
        check(&named(long), &longer, false);
        let with = |parent: &str| Content {
            headers: [("traceparent", parent)].into_iter().collect(),
            ..Content::default()
        };
        check(&with("00-1-2-01"), &with("00-1-2-01"), true);
        check(&with("00-1-2-01"), &with("00-1-3-01"), false);
        let elsewhere = named(long).recognized_by("x", "b");
        assert_ne!(elsewhere, named(long).recognized_by("x", "a"));
    }
}

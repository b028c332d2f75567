//! Commands of Redis, and those that are answered otherwise than by one value.
use smol_str::{SmolStr, SmolStrBuilder};

use super::MAX_NAME;
use super::queued::{MAX_MESSAGE, Queued};
use super::resp::{KEPT, Sink};
use crate::protocol::Mark;
use crate::protocol::call::{Call, Command, MAX_ARGUMENTS, Query};
use crate::protocol::message::Action;

/// What is special about a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Special {
    No,
    Multi,
    Exec,
    Discard,
    /// The database of this number is used from here on.
    Select(SmolStr),
    /// The same; the database before.
    Selected(Option<SmolStr>),
    /// So many confirmations come.
    Subscribe(u64),
    /// `CLIENT REPLY`: whether there are answers from here on.
    Reply(bool),
    /// `CLIENT REPLY SKIP`.
    Skip,
    /// Who the client is and what it can, which clients tell every server: they go on where one does not know the command.
    Introduced,
    /// It asks for values by their keys: each is there or is not.
    Lookup,
    /// It puts a message into a list.
    Queues,
    /// It waits for what lists hold, which may be messages.
    Pops,
    /// What follows are no calls.
    Streams,
}

/// What the name of a command says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kind {
    does: Does,
    /// Its first argument is part of its name.
    container: bool,
    /// Its arguments may be passwords.
    secret: bool,
}

/// What a command does that is of interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Does {
    #[default]
    Other,
    Multi,
    Exec,
    Discard,
    Select,
    Subscribe,
    /// It sets how the connection goes on.
    Client,
    Lookup,
    Push,
    Pops,
    Streams,
}

impl Kind {
    fn of(name: &str) -> Self {
        let plain = |does| Self {
            does,
            ..Self::default()
        };
        let container = |does, secret| Self {
            does,
            container: true,
            secret,
        };
        match name {
            "GET" | "GETEX" | "GETDEL" | "HGET" | "MGET" | "HMGET" => plain(Does::Lookup),
            "LPUSH" => plain(Does::Push),
            "BRPOP" => plain(Does::Pops),
            "MULTI" => plain(Does::Multi),
            "EXEC" => plain(Does::Exec),
            "DISCARD" => plain(Does::Discard),
            "SELECT" => plain(Does::Select),
            "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE" | "SUNSUBSCRIBE" => {
                plain(Does::Subscribe)
            }
            "MONITOR" | "SYNC" | "PSYNC" => plain(Does::Streams),
            "AUTH" | "HELLO" | "MIGRATE" => Self {
                secret: true,
                ..Self::default()
            },
            "ACL" | "CONFIG" => container(Does::Other, true),
            "CLIENT" => container(Does::Client, false),
            "CLUSTER" | "COMMAND" | "DEBUG" | "FUNCTION" | "LATENCY" | "MEMORY" | "MODULE" | "OBJECT" | "PUBSUB"
            | "SCRIPT" | "SLOWLOG" | "XGROUP" | "XINFO" => container(Does::Other, false),
            _ => Self::default(),
        }
    }

    /// How many words behind the name say what it does.
    const fn words(self) -> usize {
        match self.does {
            Does::Client => 2,
            Does::Select => 1,
            _ => self.container as usize,
        }
    }
}

/// A command on its way.
#[derive(Debug, Default)]
pub(super) struct Asked {
    begin: Option<Mark>,
    /// Whether arguments are kept.
    values: bool,
    /// The name as it was said, which often is that of the command before, and what it is.
    said: Word,
    name: SmolStr,
    kind: Kind,
    /// The words behind it that say what it does.
    rest: [Word; 2],
    count: usize,
    arguments: Vec<SmolStr>,
    /// Where it pushes: the list, and what it puts there.
    key: Vec<u8>,
    queued: Queued,
}

impl Sink for Asked {
    fn keeps(&self) -> usize {
        if self.pushes() { MAX_MESSAGE } else { KEPT }
    }

    fn leaf(&mut self, depth: usize, kind: u8, content: &[u8]) {
        if kind == 0 {
            // A command in a line.
            for word in content.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
                self.word(word);
            }
        } else if depth == 1 {
            self.word(content);
        }
    }

    fn aggregate(&mut self, _depth: usize, _kind: u8, _count: u64) {}
}

impl Asked {
    /// The next byte begins a command.
    pub(super) fn begin(&mut self, at: Mark, values: bool) {
        self.begin = Some(at);
        self.values = values;
        for word in &mut self.rest {
            word.clear();
        }
        self.count = 0;
        self.queued = Queued::Other;
    }

    /// Whether what comes next is pushed to a list.
    fn pushes(&self) -> bool {
        self.count == 2 && self.kind.does == Does::Push
    }

    fn word(&mut self, word: &[u8]) {
        match self.count.checked_sub(1) {
            None if self.said.bytes() == word && !self.name.is_empty() => {}
            None => {
                self.said.set(word);
                let mut name = self.said;
                let name = name.upper();
                self.kind = Kind::of(name);
                self.name = if is_name(name) {
                    SmolStr::new(name)
                } else {
                    SmolStr::new_static("_OTHER")
                };
            }
            Some(place) if place < self.kind.words() => {
                if let Some(place) = self.rest.get_mut(place) {
                    place.set(word);
                }
            }
            Some(0) if self.kind.does == Does::Push => {
                self.key.clear();
                self.key.extend_from_slice(word);
            }
            Some(_) if self.pushes() => self.queued = Queued::of(&self.key, word, Action::Send),
            Some(_) => {}
        }
        if self.values && self.count > 0 && self.arguments.len() < MAX_ARGUMENTS {
            let word = word.get(..KEPT).unwrap_or(word);
            self.arguments.push(SmolStr::from(String::from_utf8_lossy(word)));
        }
        self.count = self.count.saturating_add(1);
    }

    /// What the command that is complete has put into a list.
    pub(super) fn take_queued(&mut self) -> Queued {
        let queued = std::mem::take(&mut self.queued);
        // Of several only the first was looked at.
        if self.count == 3 { queued } else { Queued::Other }
    }

    /// The command that is complete; none if it is an empty one.
    pub(super) fn take(&mut self) -> Option<(Mark, Command, Special)> {
        let begin = self.begin.take()?;
        let mut arguments = std::mem::take(&mut self.arguments);
        let mut argument_count = std::mem::take(&mut self.count).checked_sub(1)?;
        let [first, second] = &mut self.rest;
        let kind = self.kind;
        let special = special(kind.does, first, second, argument_count);
        if kind.secret {
            arguments.clear();
        }
        let named = if kind.container && is_name(first.upper()) {
            argument_count = argument_count.saturating_sub(1);
            if !arguments.is_empty() {
                arguments.remove(0);
            }
            let mut both = SmolStrBuilder::new();
            both.push_str(&self.name);
            both.push(' ');
            both.push_str(first.upper());
            both.finish()
        } else {
            self.name.clone()
        };
        let command = Command {
            name: named,
            collection: None,
            arguments,
            argument_count,
        };
        Some((begin, command, special))
    }
}

/// A word; nothing where it is too long to mean something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    bytes: [u8; MAX_NAME],
    length: usize,
}

impl Word {
    pub(super) fn set(&mut self, word: &[u8]) {
        self.length = 0;
        if let Some(space) = self.bytes.get_mut(..word.len()) {
            space.copy_from_slice(word);
            self.length = word.len();
        }
    }

    pub(super) const fn clear(&mut self) {
        self.length = 0;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The word in upper case, in which it stays; nothing where it is no ASCII.
    fn upper(&mut self) -> &str {
        let bytes = self.bytes.get_mut(..self.length).unwrap_or_default();
        bytes.make_ascii_uppercase();
        std::str::from_utf8(bytes)
            .ok()
            .filter(|text| text.is_ascii())
            .unwrap_or_default()
    }
}

fn is_name(word: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'|');
    !word.is_empty() && word.bytes().all(is_of_name)
}

fn special(does: Does, first: &mut Word, second: &mut Word, arguments: usize) -> Special {
    match does {
        Does::Other | Does::Push => Special::No,
        Does::Multi => Special::Multi,
        Does::Exec => Special::Exec,
        Does::Discard => Special::Discard,
        Does::Select => match first.upper() {
            "" => Special::No,
            database => Special::Select(SmolStr::new(database)),
        },
        // Without arguments it is confirmed for each that there was; those behind the first are taken for pushes.
        Does::Subscribe => Special::Subscribe((arguments as u64).max(1)),
        Does::Client => match (first.upper(), second.upper()) {
            ("REPLY", "OFF") => Special::Reply(false),
            ("REPLY", "ON") => Special::Reply(true),
            ("REPLY", "SKIP") => Special::Skip,
            ("SETINFO" | "MAINT_NOTIFICATIONS", _) => Special::Introduced,
            _ => Special::No,
        },
        Does::Lookup => Special::Lookup,
        Does::Pops => Special::Pops,
        Does::Streams => Special::Streams,
    }
}

/// Whether a push that begins with this word confirms a subscription.
pub(super) fn confirms(word: &[u8]) -> bool {
    word.ends_with(b"subscribe")
}

/// Whether an array that begins with this word is a push in RESP 2.
pub(super) fn is_push(word: &[u8]) -> bool {
    matches!(word, b"message" | b"pmessage" | b"smessage") || confirms(word)
}

/// The call a command is.
pub(super) fn call(command: Command, namespace: Option<SmolStr>) -> Call {
    Call {
        system: "redis",
        query: Query::Command(command),
        namespace,
    }
}

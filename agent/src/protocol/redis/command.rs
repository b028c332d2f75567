//! Commands of Redis, and those that are answered otherwise than by one value.
use smol_str::{SmolStr, SmolStrBuilder};

use super::MAX_NAME;
use super::resp::Sink;
use crate::protocol::Mark;
use crate::protocol::call::{Call, Command, MAX_ARGUMENTS, Query};

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
    /// What follows are no calls.
    Streams,
}

/// Commands whose first argument is part of their name.
const CONTAINERS: &[&str] = &[
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT",
    "PUBSUB", "SCRIPT", "SLOWLOG", "XGROUP", "XINFO",
];
/// Commands whose arguments may be passwords.
const SECRET: &[&str] = &["AUTH", "HELLO", "ACL", "CONFIG", "MIGRATE"];

/// A command on its way.
#[derive(Debug, Default)]
pub(super) struct Asked {
    begin: Option<Mark>,
    /// Whether arguments are kept.
    values: bool,
    /// The first three words.
    words: [Word; 3],
    count: usize,
    arguments: Vec<SmolStr>,
}

impl Sink for Asked {
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
        self.count = 0;
    }

    fn word(&mut self, word: &[u8]) {
        if let Some(place) = self.words.get_mut(self.count) {
            place.set(word);
        }
        if self.values && self.count > 0 && self.arguments.len() < MAX_ARGUMENTS {
            self.arguments.push(SmolStr::from(String::from_utf8_lossy(word)));
        }
        self.count = self.count.saturating_add(1);
    }

    /// The command that is complete; none if it is an empty one.
    pub(super) fn take(&mut self) -> Option<(Mark, Command, Special)> {
        let begin = self.begin.take()?;
        let count = std::mem::take(&mut self.count);
        let mut arguments = std::mem::take(&mut self.arguments);
        let word = |place: usize| self.words.get(place).filter(|_| place < count).map_or("", Word::text);
        let (name, first) = (word(0), word(1));
        if count == 0 {
            return None;
        }
        let special = special(name, first, word(2), count.saturating_sub(1));
        let mut argument_count = count.saturating_sub(1);
        if SECRET.contains(&name) {
            arguments.clear();
        }
        let named = if !is_name(name) {
            SmolStr::new_static("_OTHER")
        } else if CONTAINERS.contains(&name) && is_name(first) {
            argument_count = argument_count.saturating_sub(1);
            if !arguments.is_empty() {
                arguments.remove(0);
            }
            let mut both = SmolStrBuilder::new();
            both.push_str(name);
            both.push(' ');
            both.push_str(first);
            both.finish()
        } else {
            SmolStr::new(name)
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

/// A word in upper case; nothing where it is too long to mean something, or no ASCII.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    bytes: [u8; MAX_NAME],
    length: usize,
}

impl Word {
    fn set(&mut self, word: &[u8]) {
        self.length = 0;
        if word.len() <= MAX_NAME && word.is_ascii() {
            self.length = word.len();
            for (space, byte) in self.bytes.iter_mut().zip(word) {
                *space = byte.to_ascii_uppercase();
            }
        }
    }

    fn text(&self) -> &str {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

fn is_name(word: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'|');
    !word.is_empty() && word.bytes().all(is_of_name)
}

fn special(name: &str, first: &str, second: &str, arguments: usize) -> Special {
    match (name, first, second) {
        ("MULTI", ..) => Special::Multi,
        ("EXEC", ..) => Special::Exec,
        ("DISCARD", ..) => Special::Discard,
        ("SELECT", ..) if !first.is_empty() => Special::Select(SmolStr::new(first)),
        ("SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE", ..) => Special::Subscribe((arguments as u64).max(1)),
        // Without arguments it is confirmed for each that there was; those behind the first are taken for pushes.
        ("UNSUBSCRIBE" | "PUNSUBSCRIBE" | "SUNSUBSCRIBE", ..) => Special::Subscribe((arguments as u64).max(1)),
        ("CLIENT", "REPLY", "OFF") => Special::Reply(false),
        ("CLIENT", "REPLY", "ON") => Special::Reply(true),
        ("CLIENT", "REPLY", "SKIP") => Special::Skip,
        ("CLIENT", "SETINFO" | "MAINT_NOTIFICATIONS", _) => Special::Introduced,
        ("GET" | "GETEX" | "GETDEL" | "HGET" | "MGET" | "HMGET", ..) => Special::Lookup,
        ("MONITOR" | "SYNC" | "PSYNC", ..) => Special::Streams,
        _ => Special::No,
    }
}

/// Whether a push that begins with this word confirms a subscription.
pub(super) fn confirms(word: &str) -> bool {
    word.ends_with("subscribe")
}

/// Whether an array that begins with this word is a push in RESP 2.
pub(super) fn is_push(word: &str) -> bool {
    matches!(word, "message" | "pmessage" | "smessage") || confirms(word)
}

/// The call a command is.
pub(super) fn call(command: Command, namespace: Option<SmolStr>) -> Call {
    Call {
        system: "redis",
        query: Query::Command(command),
        namespace,
    }
}

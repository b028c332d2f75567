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

/// Longest word behind a command's name that means something: what a short text has room for.
const MAX_SUBCOMMAND: usize = 23;
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
    words: [SmolStr; 3],
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
        let text = |word: &[u8]| SmolStr::from(String::from_utf8_lossy(word));
        if let Some(place) = self.words.get_mut(self.count) {
            // Behind the name only short ones mean something.
            let most = if self.count == 0 { MAX_NAME } else { MAX_SUBCOMMAND };
            *place = if word.len() <= most {
                text(word)
            } else {
                SmolStr::default()
            };
        }
        if self.values && self.count > 0 && self.arguments.len() < MAX_ARGUMENTS {
            self.arguments.push(text(word));
        }
        self.count = self.count.saturating_add(1);
    }

    /// The command that is complete; none if it is an empty one.
    pub(super) fn take(&mut self) -> Option<(Mark, Command, Special)> {
        let begin = self.begin.take()?;
        let count = std::mem::take(&mut self.count);
        let arguments = std::mem::take(&mut self.arguments);
        let words = std::mem::take(&mut self.words);
        if count == 0 {
            return None;
        }
        let [name, first, second] = words.map(upper);
        let name = if name.is_empty() || !name.bytes().all(is_of_name) {
            SmolStr::new_static("_OTHER")
        } else {
            name
        };
        let special = special(&name, &first, &second, count.saturating_sub(1));
        let hidden = !self.values || SECRET.contains(&name.as_str());
        let mut argument_count = count.saturating_sub(1);
        let mut arguments = arguments;
        if hidden {
            arguments = vec![SmolStr::new_static("?"); argument_count.min(MAX_ARGUMENTS)];
        }
        let mut name = name;
        if CONTAINERS.contains(&name.as_str()) && !first.is_empty() && first.bytes().all(is_of_name) {
            let mut both = SmolStrBuilder::new();
            both.push_str(&name);
            both.push(' ');
            both.push_str(&first);
            name = both.finish();
            argument_count = argument_count.saturating_sub(1);
            if !arguments.is_empty() {
                arguments.remove(0);
            }
        }
        let command = Command {
            name,
            collection: None,
            arguments,
            argument_count,
        };
        Some((begin, command, special))
    }
}

const fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'|')
}

fn upper(word: SmolStr) -> SmolStr {
    if word.bytes().any(|byte| byte.is_ascii_lowercase()) {
        SmolStr::from(word.to_ascii_uppercase())
    } else {
        word
    }
}

fn special(name: &str, first: &SmolStr, second: &SmolStr, arguments: usize) -> Special {
    match (name, first.as_str(), second.as_str()) {
        ("MULTI", ..) => Special::Multi,
        ("EXEC", ..) => Special::Exec,
        ("DISCARD", ..) => Special::Discard,
        ("SELECT", ..) if !first.is_empty() => Special::Select(first.clone()),
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

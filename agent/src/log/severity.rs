//! Levels of logs, by the many names they have.

/// `SeverityNumber` of OpenTelemetry's log data model; 0 is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Severity(u8);

impl Severity {
    /// Not said.
    pub const UNSPECIFIED: Self = Self(0);
    /// TRACE.
    pub const TRACE: Self = Self(1);
    /// DEBUG.
    pub const DEBUG: Self = Self(5);
    /// INFO.
    pub const INFO: Self = Self(9);
    /// WARN.
    pub const WARN: Self = Self(13);
    /// ERROR.
    pub const ERROR: Self = Self(17);
    /// FATAL.
    pub const FATAL: Self = Self(21);

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its short name; empty where it is not said.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "",
            1..=4 => "TRACE",
            5..=8 => "DEBUG",
            9..=12 => "INFO",
            13..=16 => "WARN",
            17..=20 => "ERROR",
            _ => "FATAL",
        }
    }
}

/// What a level is called: in lower case.
const NAMES: &[(&str, Severity)] = &[
    ("trace", Severity::TRACE),
    ("finest", Severity::TRACE),
    ("finer", Severity::TRACE),
    ("verbose", Severity::DEBUG),
    ("debug", Severity::DEBUG),
    ("dbg", Severity::DEBUG),
    ("fine", Severity::DEBUG),
    ("config", Severity::DEBUG),
    ("info", Severity::INFO),
    ("inf", Severity::INFO),
    ("information", Severity::INFO),
    ("notice", Severity(10)),
    ("warn", Severity::WARN),
    ("wrn", Severity::WARN),
    ("warning", Severity::WARN),
    ("error", Severity::ERROR),
    ("err", Severity::ERROR),
    ("severe", Severity::ERROR),
    ("critical", Severity(18)),
    ("crit", Severity(18)),
    ("alert", Severity(19)),
    ("fatal", Severity::FATAL),
    ("panic", Severity::FATAL),
    ("emerg", Severity::FATAL),
    ("emergency", Severity::FATAL),
];

/// The level a word names.
pub(super) fn of_word(word: &str) -> Option<Severity> {
    let found = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
    Some(found.1)
}

/// The level a number is: of pino and bunyan (10 to 60), or Python's (10 to 50), which agree in the order.
pub(super) fn of_number(number: i64) -> Option<Severity> {
    match number {
        10 => Some(Severity::TRACE),
        20 => Some(Severity::DEBUG),
        30 => Some(Severity::INFO),
        40 => Some(Severity::WARN),
        50 => Some(Severity::ERROR),
        60 => Some(Severity::FATAL),
        _ => None,
    }
}

/// The level of a syslog priority (RFC 5424, section 6.2.1), and its name.
pub(super) const fn of_priority(priority: u32) -> (Severity, &'static str) {
    match priority & 7 {
        0 => (Severity::FATAL, "emerg"),
        1 => (Severity(19), "alert"),
        2 => (Severity(18), "crit"),
        3 => (Severity::ERROR, "err"),
        4 => (Severity::WARN, "warning"),
        5 => (Severity(10), "notice"),
        6 => (Severity::INFO, "info"),
        _ => (Severity::DEBUG, "debug"),
    }
}

/// The level near the beginning of a text, and the word for it as it stands there.
///
/// A word counts where it is written as levels are: in capitals, within brackets, or before a colon. `error` in a sentence is none.
pub(super) fn near_beginning(text: &str) -> (Severity, &str) {
    /// Times, names of hosts, threads and loggers stand before it.
    const NEAR_BYTES: usize = 120;
    let line = text.lines().next().unwrap_or_default();
    let near = line.get(..line.floor_char_boundary(NEAR_BYTES)).unwrap_or(line);
    if let Some(found) = priority(near).or_else(|| glog(near)) {
        return found;
    }
    let mut rest = near;
    let mut before = None;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_alphabetic()) {
        before = rest.get(..start).and_then(|text| text.chars().next_back()).or(before);
        let word = rest.get(start..).unwrap_or_default();
        let end = word.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let (word, behind) = word.split_at(end.unwrap_or(word.len()));
        let after = behind.chars().next();
        let capitals = word.bytes().all(|byte| byte.is_ascii_uppercase());
        let boxed = matches!(
            (before, after),
            (Some('['), Some(']')) | (Some('<'), Some('>')) | (Some('('), Some(')'))
        );
        let apart = !matches!(before, Some('/' | '.' | '-' | '=' | '_' | '@'));
        if apart
            && (capitals || boxed || after == Some(':'))
            && let Some(severity) = of_word(word)
        {
            return (severity, word);
        }
        before = word.chars().next_back();
        rest = behind;
    }
    // A JUL record has its level in its second line.
    let second = text.lines().nth(1).and_then(|line| line.split_once(':'));
    match second.and_then(|(word, _)| Some((of_word(word)?, word))) {
        Some((severity, word)) if word.bytes().all(|byte| byte.is_ascii_uppercase()) => (severity, word),
        _ => (Severity::UNSPECIFIED, ""),
    }
}

/// `<134>...`: syslog's priority.
fn priority(text: &str) -> Option<(Severity, &str)> {
    let (digits, _) = text.strip_prefix('<')?.split_once('>')?;
    let number: u32 = digits.parse().ok()?;
    (number < 192 && digits.len() <= 3).then(|| (of_priority(number).0, ""))
}

/// `I0102 15:04:05.000000 ...`: glog and klog.
fn glog(text: &str) -> Option<(Severity, &str)> {
    let severity = match text.as_bytes() {
        [b'I', rest @ ..] if is_day(rest) => Severity::INFO,
        [b'W', rest @ ..] if is_day(rest) => Severity::WARN,
        [b'E', rest @ ..] if is_day(rest) => Severity::ERROR,
        [b'F', rest @ ..] if is_day(rest) => Severity::FATAL,
        _ => return None,
    };
    Some((severity, text.get(..1).unwrap_or_default()))
}

fn is_day(rest: &[u8]) -> bool {
    matches!(rest, [a, b, c, d, b' ', ..] if [a, b, c, d].into_iter().all(u8::is_ascii_digit))
}

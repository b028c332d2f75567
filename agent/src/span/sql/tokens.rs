//! Cuts a text in SQL into tokens.
use super::Flavor;

/// A token. Together, but for the insides of literals and comments, they are the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or a name.
    Word(&'a str),
    /// A name in quotes: what is between them, and with them.
    Name(&'a str, &'a str),
    /// A string or a number.
    Literal,
    /// A place for a parameter: `$1`, `:name`, `@variable`.
    Raw(&'a str),
    /// Anything else.
    Mark(char),
    Space(&'a str),
    Comment,
}

/// The tokens of a text.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a str,
    flavor: Flavor,
    /// The character before, for `::` and names that hold digits.
    last: char,
}

impl<'a> Tokens<'a> {
    pub(super) const fn new(text: &'a str, flavor: Flavor) -> Self {
        Self {
            rest: text,
            flavor,
            last: ' ',
        }
    }

    /// Takes so many bytes.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.last = taken.chars().next_back().unwrap_or(' ');
        taken
    }

    /// Bytes while characters are so.
    fn run(&self, from: usize, so: impl Fn(char) -> bool) -> usize {
        let rest = self.rest.get(from..).unwrap_or_default();
        from + rest.find(|letter| !so(letter)).unwrap_or(rest.len())
    }

    /// Bytes of what is quoted by `quote`, which stands at `from`. A quote within is doubled, or escaped if `escapes`.
    fn quoted(&self, from: usize, quote: u8, escapes: bool) -> usize {
        let bytes = self.rest.as_bytes();
        let mut at = from + 1;
        while let Some(byte) = bytes.get(at) {
            if escapes && *byte == b'\\' {
                at += 2;
            } else if *byte != quote {
                at += 1;
            } else if bytes.get(at + 1) == Some(&quote) {
                at += 2;
            } else {
                return at + 1;
            }
        }
        bytes.len()
    }

    fn literal(&mut self, length: usize) -> Token<'a> {
        self.take(length);
        Token::Literal
    }

    fn name(&mut self, quote: u8) -> Token<'a> {
        let raw = self.take(self.quoted(0, quote, false));
        let inside = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        Token::Name(inside, raw)
    }

    /// `$1`, or a string between `$tag$`.
    fn dollar(&mut self) -> Token<'a> {
        let digits = self.run(1, |letter| letter.is_ascii_digit());
        if digits > 1 {
            return Token::Raw(self.take(digits));
        }
        let tag = self.run(1, |letter| letter.is_alphanumeric() || letter == '_');
        if self.rest.as_bytes().get(tag) != Some(&b'$') {
            self.take(1);
            return Token::Mark('$');
        }
        let delimiter = self.rest.get(..=tag).unwrap_or_default();
        let inside = self.rest.get(tag + 1..).unwrap_or_default();
        let length = inside
            .find(delimiter)
            .map_or(self.rest.len(), |end| tag + 1 + end + delimiter.len());
        self.literal(length)
    }

    /// A comment of several lines; MySQL's do not nest.
    fn comment(&mut self) -> Token<'a> {
        let nests = self.flavor != Flavor::Mysql;
        let bytes = self.rest.as_bytes();
        let (mut at, mut depth) = (2, 1);
        while depth > 0 && at < bytes.len() {
            match bytes.get(at..at + 2) {
                Some(b"*/") => {
                    depth -= 1;
                    at += 2;
                }
                Some(b"/*") if nests => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        self.take(at);
        Token::Comment
    }

    fn line(&mut self) -> Token<'a> {
        self.take(self.run(0, |letter| letter != '\n'));
        Token::Comment
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let mut letters = self.rest.chars();
        let (first, second) = (letters.next()?, letters.next().unwrap_or(' '));
        let (mysql, sql_server) = (self.flavor == Flavor::Mysql, self.flavor == Flavor::SqlServer);
        Some(match first {
            _ if first.is_whitespace() => {
                let length = self.run(0, char::is_whitespace);
                Token::Space(self.take(length))
            }
            '\'' => self.literal(self.quoted(0, b'\'', mysql)),
            '"' if mysql => self.literal(self.quoted(0, b'"', true)),
            '"' => self.name(b'"'),
            '`' if mysql => self.name(b'`'),
            '[' if sql_server => self.name(b']'),
            // An amount of money.
            '$' if sql_server && second.is_ascii_digit() => {
                self.literal(self.run(1, |letter| letter.is_alphanumeric() || matches!(letter, '.' | '_')))
            }
            // A table of the session's own.
            '#' if sql_server && (second.is_alphanumeric() || matches!(second, '#' | '_')) => {
                Token::Word(self.take(self.run(1, |letter| letter.is_alphanumeric() || "#_@$".contains(letter))))
            }
            // `E'a\n'`, `B'101'`, `X'1f'`, `N'a'`.
            'e' | 'E' | 'b' | 'B' | 'x' | 'X' | 'n' | 'N' if second == '\'' => {
                let escapes = mysql || matches!(first, 'e' | 'E');
                self.literal(self.quoted(1, b'\'', escapes))
            }
            // `U&'d\0061t'`
            'u' | 'U' if second == '&' && self.rest.as_bytes().get(2) == Some(&b'\'') => {
                self.literal(self.quoted(2, b'\'', false))
            }
            '$' if !sql_server => self.dollar(),
            '-' if second == '-' => self.line(),
            '#' if mysql => self.line(),
            '/' if second == '*' => self.comment(),
            '0'..='9' => {
                // Digits, fraction and exponent; also what has no sense, such as `1abc`, is rather hidden.
                let mut length = self.run(0, |letter| letter.is_alphanumeric() || matches!(letter, '.' | '_'));
                let exponent = |text: &str| text.ends_with(['e', 'E']);
                let signed = matches!(self.rest.as_bytes().get(length), Some(b'+' | b'-'));
                if signed && self.rest.get(..length).is_some_and(exponent) {
                    length = self.run(length + 1, |letter| letter.is_ascii_digit());
                }
                self.literal(length)
            }
            '.' if second.is_ascii_digit()
                && !(self.last.is_alphanumeric() || matches!(self.last, '"' | '`' | '_')) =>
            {
                self.literal(self.run(1, |letter| letter.is_alphanumeric()))
            }
            ':' if self.last != ':' && (second.is_alphabetic() || second == '_') => {
                Token::Raw(self.take(self.run(1, |letter| letter.is_alphanumeric() || letter == '_')))
            }
            '@' if mysql || sql_server => {
                let goes_on = if mysql { "@_.$" } else { "@_#$" };
                Token::Raw(self.take(self.run(1, |letter| letter.is_alphanumeric() || goes_on.contains(letter))))
            }
            _ if first.is_alphabetic() || first == '_' => {
                Token::Word(self.take(self.run(0, |letter| letter.is_alphanumeric() || matches!(letter, '_' | '$'))))
            }
            other => {
                self.take(other.len_utf8());
                Token::Mark(other)
            }
        })
    }
}

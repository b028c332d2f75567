//! Patterns for executables.

/// A pattern: `*` is any text, slashes included, `?` any one character. One without a slash goes by the file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// Whether a path matches.
    pub(super) fn matches(&self, path: &str) -> bool {
        let subject = if self.0.contains('/') {
            path
        } else {
            path.rsplit('/').next().unwrap_or(path)
        };
        let (pattern, subject): (Vec<char>, Vec<char>) = (self.0.chars().collect(), subject.chars().collect());
        // Where the last star stands and how much of the subject it has taken so far: the only place to come back to,
        // so the time is at most the product of the lengths.
        let mut star: Option<(usize, usize)> = None;
        let (mut at, mut seen) = (0, 0);
        while let Some(&char) = subject.get(seen) {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(&wanted) if wanted == '?' || wanted == char => {
                    at += 1;
                    seen += 1;
                }
                _ => {
                    let Some((star_at, taken)) = star else { return false };
                    star = Some((star_at, taken + 1));
                    at = star_at + 1;
                    seen = taken + 1;
                }
            }
        }
        pattern
            .get(at..)
            .is_none_or(|rest| rest.iter().all(|&char| char == '*'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, want) in [
            ("*/own-server", "/tmp/a/own-server", true),
            ("*/own-server", "/tmp/a/own-server2", false),
            ("nginx", "/usr/sbin/nginx", true),
            ("ngin?", "/usr/sbin/nginx", true),
            ("/usr/*/nginx", "/usr/local/sbin/nginx", true),
            ("/usr/sbin/nginx", "/usr/sbin/nginx", true),
            ("/usr/sbin/nginx", "/sbin/nginx", false),
            ("py*3*", "/usr/bin/python3.11", true),
            ("*", "/anything", true),
            ("*", "", true),
            ("", "/x", false),
            ("a*b*c", "aXbXb", false),
            ("a*b*c", "aXbXbc", true),
            ("é?", "/é!", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(path), want, "{pattern} {path}");
        }
        assert!(!Glob::new(&"*a".repeat(50)).matches(&"b".repeat(1000)));
    }
}

//! The truth of a workload: which spans a request makes, and which of them caused which.

/// A span that a request makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hop<'a> {
    /// `kind service path`.
    pub(super) name: &'a str,
    /// Its parent's place in the list; none for the root.
    pub(super) parent: Option<usize>,
    /// It need not be there: the call may have been given up before it was sent.
    pub(super) optional: bool,
    /// Its parent need not be named: the call may have left after the request's end.
    pub(super) loose: bool,
}

/// Reads one hop a line. Lines without indentation each cause the next. Otherwise a line stands under the nearest one above
/// that is indented less. `?` before a name marks a span that may be absent, `~` one whose parent may be.
pub(super) fn parse<'a>(lines: &[&'a str]) -> Vec<Hop<'a>> {
    let indented = lines.iter().any(|line| line.starts_with(' '));
    let mut above: Vec<(usize, usize)> = Vec::new();
    let mut hops = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let text = line.trim_start_matches(' ');
        let depth = if indented { line.len() - text.len() } else { index };
        above.retain(|(other, _)| *other < depth);
        let name = text.trim_start_matches(['?', '~']);
        let marks = &text[..text.len() - name.len()];
        hops.push(Hop {
            name,
            parent: above.last().map(|(_, index)| *index),
            optional: marks.contains('?'),
            loose: marks.contains('~'),
        });
        above.push((depth, index));
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], want: &[(&str, Option<usize>, bool, bool)]) {
        let got: Vec<_> = parse(lines)
            .into_iter()
            .map(|hop| (hop.name, hop.parent, hop.optional, hop.loose))
            .collect();
        assert_eq!(got, want, "{lines:?}");
    }

    #[test]
    fn trees() {
        check(
            &["a", "b", "~c"],
            &[
                ("a", None, false, false),
                ("b", Some(0), false, false),
                ("c", Some(1), false, true),
            ],
        );
        check(
            &["a", " b", "  ?c", "   ?d", "  e"],
            &[
                ("a", None, false, false),
                ("b", Some(0), false, false),
                ("c", Some(1), true, false),
                ("d", Some(2), true, false),
                ("e", Some(1), false, false),
            ],
        );
    }
}

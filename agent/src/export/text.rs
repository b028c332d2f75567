//! Text from the network and from other processes, made fit for a terminal.
use unicode_width::UnicodeWidthChar as _;

/// The longest text a message repeats, columns.
const MESSAGE_COLUMNS: usize = 200;

/// Text on one line of a message.
pub(super) fn one_line(text: &str) -> String {
    clean(text, MESSAGE_COLUMNS, "...")
}

/// Text without anything that moves the cursor, changes colors or the direction of writing, and at most `columns` wide.
/// What is cut off is replaced by `mark`, whose characters are one column wide.
pub(super) fn clean(text: &str, columns: usize, mark: &str) -> String {
    let mut out = String::new();
    let mut width = 0_usize;
    // Where the text ends if it turns out to be too long.
    let mut fits = 0_usize;
    let mark_width = mark.chars().count().min(columns);
    for character in text.chars() {
        let shown = if is_harmless(character) { character } else { '\u{FFFD}' };
        let next = width + shown.width().unwrap_or(1);
        if next > columns {
            out.truncate(fits);
            out.extend(mark.chars().take(mark_width));
            return out;
        }
        width = next;
        out.push(shown);
        if width + mark_width <= columns {
            fits = out.len();
        }
    }
    out
}

/// Columns a clean text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(1)).sum()
}

/// Not a control character (Unicode Cc), and none of those that change the direction or are invisible (Unicode Cf, and
/// the separators of lines and paragraphs).
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{AD}' | '\u{61C}' | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let cases = [
            ("plain", 10, "plain"),
            ("exactly ten", 11, "exactly ten"),
            ("a\x1b[31mb", 20, "a\u{FFFD}[31mb"),
            (
                "a\nb\tc\r\u{7f}\u{9b}",
                20,
                "a\u{FFFD}b\u{FFFD}c\u{FFFD}\u{FFFD}\u{FFFD}",
            ),
            ("a\u{202e}b\u{2066}\u{200b}", 20, "a\u{FFFD}b\u{FFFD}\u{FFFD}"),
            ("too long for this", 8, "too lo.."),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日.."),
            ("e\u{301}e\u{301}e\u{301}", 3, "e\u{301}e\u{301}e\u{301}"),
            ("abc", 1, "."),
            ("abc", 0, ""),
            ("", 5, ""),
        ];
        for (text, columns, expected) in cases {
            let got = clean(text, columns, "..");
            assert_eq!(got, expected, "{text:?} {columns}");
            assert!(width(&got) <= columns);
        }
    }
}

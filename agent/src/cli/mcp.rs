//! The store as tools for an assistant that has started Clew: a message a line, over the standard streams.
use std::io::{self, BufRead, Read as _};
use std::path::Path;

use crate::serve::mcp;
use crate::store::Reader;
use crate::store::sqlite::SqliteReader;

/// Most of a message.
const MOST_BYTES: u64 = 1 << 20;

/// Answers until the standard input ends.
pub(super) fn serve(folder: &Path) -> io::Result<()> {
    talk(folder, io::stdin().lock(), io::stdout().lock())
}

fn talk(folder: &Path, mut input: impl BufRead, mut output: impl io::Write) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(MOST_BYTES).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if read as u64 == MOST_BYTES && !line.ends_with(b"\n") {
            return Err(io::Error::other("a message is longer than is read"));
        }
        let open = || Ok(Box::new(SqliteReader::open(folder)?) as Box<dyn Reader>);
        if let Some(answer) = mcp::answer(open, &line, super::traces::now_ns()) {
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_a_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let input =
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n{\"method\":\"notifications/initialized\"}\nx\n";
        let mut output = Vec::new();
        talk(folder.path(), input.as_bytes(), &mut output).expect("the end");
        let lines = String::from_utf8(output).expect("text");
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], r#"{"id":1,"jsonrpc":"2.0","result":{}}"#);
        assert!(lines[1].contains("-32700"), "{lines:?}");
        let endless = io::repeat(b'x').take(MOST_BYTES + 5);
        assert!(talk(folder.path(), io::BufReader::new(endless), io::sink()).is_err());
    }
}

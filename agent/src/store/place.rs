//! Where a store lies unless the user says.
use std::ffi::OsString;
use std::path::PathBuf;

/// There is no place.
#[derive(Debug, thiserror::Error)]
#[error("neither XDG_STATE_HOME nor HOME says where a store could lie: give --store DIR")]
pub struct NoPlace;

/// The folder of the store: under sudo the caller's, `home` then being the caller's and the state directory of root's
/// environment not meant.
///
/// # Errors
/// The environment names no home.
pub fn default_folder(home: Option<OsString>, variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, NoPlace> {
    let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let state = match home {
        Some(home) => absolute(home).map(below_home),
        // The base directory specification has a relative path ignored.
        None => variable("XDG_STATE_HOME")
            .and_then(absolute)
            .or_else(|| variable("HOME").and_then(absolute).map(below_home)),
    };
    state.map(|state| state.join("clew")).ok_or(NoPlace)
}

fn below_home(home: PathBuf) -> PathBuf {
    home.join(".local/state")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        type Case<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>);
        let cases: [Case<'_>; 6] = [
            (
                Some("/home/a"),
                Some("/state"),
                Some("/home/b"),
                Some("/home/a/.local/state/clew"),
            ),
            (None, Some("/state"), Some("/home/b"), Some("/state/clew")),
            (None, Some("state"), Some("/home/b"), Some("/home/b/.local/state/clew")),
            (None, None, Some("/home/b"), Some("/home/b/.local/state/clew")),
            (None, None, Some("here"), None),
            (None, None, None, None),
        ];
        for (caller, state, home, want) in cases {
            let variable = |name: &str| match name {
                "XDG_STATE_HOME" => state.map(OsString::from),
                _ => home.map(OsString::from),
            };
            let found = default_folder(caller.map(OsString::from), variable).ok();
            assert_eq!(found, want.map(PathBuf::from), "{caller:?} {state:?} {home:?}");
        }
    }
}

use super::*;

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{}", String::from_utf8_lossy(bytes));
}

#[test]
fn commands_are_recognized_and_little_else() {
    for begin in ["", "*", "*1", "*1\r", "*1\r\n", "*1\r\n$", "*12\r\n$4\r\n", "p", "PIN"] {
        check(begin.as_bytes(), Recognized::More);
    }
    check(b"*1\r\n$4\r\nPING\r\n", Recognized::Yes);
    check(b"ping\r\n", Recognized::Yes);
    for other in [
        "*0\r\n",
        "*x",
        "*1\r\n+OK",
        "*1\r\n$0\r\n",
        "*1\r\n$99\r\n",
        "*1\r\n$4\r\n\0",
        "PINK",
        "+OK\r\n",
        "$5\r\n",
        "GET a\r\n",
    ] {
        check(other.as_bytes(), Recognized::No);
    }
}

/// What is made of an error that answers the only command.
#[track_caller]
fn failure(error: &str, expected: (&str, bool)) {
    let mut answer = Answer::default();
    let mut reader = Reader::new(false);
    let line = format!("-{error}\r\n");
    assert_eq!(reader.read(line.as_bytes(), &mut answer), Got::Value(line.len()));
    let (text, within) = answer.error.expect("an error");
    assert!(!within);
    let failure = self::failed(&text);
    assert_eq!((failure.code.as_str(), failure.redirect), expected);
}

#[test]
fn redirects_are_no_failures() {
    failure("MOVED 3999 127.0.0.1:6381", ("MOVED", true));
    failure("ASK 3999 127.0.0.1:6381", ("ASK", true));
    failure("WRONGTYPE Operation against a key", ("WRONGTYPE", false));
    failure("ERR", ("ERR", false));
}

#[test]
fn values_that_are_none() {
    for bytes in [
        "$x\r\n",
        "$-2\r\n",
        "*\r\n",
        ":1a\r\n",
        "*1\r\nx",
        "?\r\n",
        "$99999999999999999999\r\n",
    ] {
        let got = Reader::new(false).read(bytes.as_bytes(), &mut Answer::default());
        assert_eq!(got, Got::Invalid, "{bytes}");
    }
    let deep = "*1\r\n".repeat(100);
    assert_eq!(
        Reader::new(false).read(deep.as_bytes(), &mut Answer::default()),
        Got::Invalid
    );
    let whole = "|1\r\n+a\r\n+b\r\n%1\r\n$1\r\nk\r\n*2\r\n:1\r\n#t\r\n";
    let got = Reader::new(false).read(whole.as_bytes(), &mut Answer::default());
    assert_eq!(got, Got::Value(whole.len()));
}

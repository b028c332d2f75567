use super::*;

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{bytes:02x?}");
}

#[test]
fn requests_are_recognized_and_little_else() {
    let options = b"\x04\0\0\0\x05\0\0\0\0";
    for length in 1..9 {
        check(&options[..length], Recognized::More);
    }
    check(options, Recognized::Yes);
    check(
        b"\x05\0\0\x01\x01\0\0\0\x16\0\x01\0\x0bCQL_VERSION\0\x053.4.7",
        Recognized::Yes,
    );
    check(b"\x03\0\0\x02\x07\0\0\0\x10\0\0\0\x08SELECT 1\0\x01\0", Recognized::Yes);
    for no in [
        // An answer, an older version, a flag that there is not, a text longer than its message.
        b"\x84\0\0\0\x06\0\0\0\x02\0\0".as_slice(),
        b"\x02\0\0\x05\0\0\0\0\0",
        b"\x04\x20\0\0\x05\0\0\0\0",
        b"\x03\0\0\x02\x07\0\0\0\x10\0\0\0\x0dSELECT 1\0\x01\0",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x04\x01\0\x50\x7f\0\0\x01\0",
    ] {
        check(no, Recognized::No);
    }
}

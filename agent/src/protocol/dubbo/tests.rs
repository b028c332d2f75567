use super::*;

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{bytes:02x?}");
}

#[test]
fn calls_are_recognized_and_little_else() {
    let call = b"\xda\xbb\xc2\0\x14t\x18\x89Q\x85\x0eT\0\0\0\x95\x052.0.2";
    for length in 1..16 {
        check(&call[..length], Recognized::More);
    }
    check(call, Recognized::Yes);
    for no in [
        // An answer, one that asks whether the other end is there, a status, a length that cannot be, nothing.
        b"\xda\xbb\x02\x14\x14t\x18\x89Q\x85\x0eT\0\0\0\x16".as_slice(),
        b"\xda\xbb\xe2\0\x14t\x18\x89Q\x85\x0eT\0\0\0\x01N",
        b"\xda\xbb\xc2\x14\x14t\x18\x89Q\x85\x0eT\0\0\0\x95",
        b"\xda\xbb\xc2\0\x14t\x18\x89Q\x85\x0eT\xff\0\0\x95",
        b"\xda\xbb\xc2\0\x14t\x18\x89Q\x85\x0eT\0\0\0\0",
        b"GET / HTTP/1.1\r\n",
    ] {
        check(no, Recognized::No);
    }
}

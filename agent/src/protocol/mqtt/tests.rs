use super::*;

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{bytes:02x?}");
}

#[test]
fn what_proves_itself_is_recognized() {
    let connect = b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\0\0\x06taker5";
    for length in 0..9 {
        check(&connect[..length], Recognized::More);
    }
    check(&connect[..9], Recognized::Yes);
    check(b"\x10\x12\0\x06MQIsdp\x03", Recognized::Yes);
    check(b"\x10\x10\0\x04MQTT\x09", Recognized::No);
    let publish = b"\x32\x0c\0\x03a/b\0\x01hello";
    for length in 0..7 {
        check(&publish[..length], Recognized::More);
    }
    check(&publish[..7], Recognized::Yes);
    for no in [
        // Quality of service 3, a wildcard, a topic that is longer than its packet, none.
        b"\x36\x0c\0\x03a/b\0\x01hello".as_slice(),
        b"\x32\x0c\0\x03a/#\0\x01hello",
        b"\x32\x06\0\x03a/b",
        b"\x30\x03\0\0x",
        // A number in more bytes than it needs.
        b"\x30\x85\x00\0\x03a/b",
        // Other packets are no evidence, nor is text.
        b"\xc0\x00",
        b"\x40\x02\0\x01",
        b"220 mail.example.org ESMTP\r\n",
        b"0123456789",
        // LDAP.
        b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03",
    ] {
        check(no, Recognized::No);
    }
}

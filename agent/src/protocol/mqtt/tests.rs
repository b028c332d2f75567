use super::*;
use crate::capture::Direction;
use crate::protocol::played::played;
use crate::protocol::{Conversation, Limits, RequestHead, Step};

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

#[test]
fn aliases_of_topics_are_bounded() {
    let connect = b"\x10\x12\0\x04MQTT\x05\x02\0\x3c\0\0\x05taker".to_vec();
    let publish = |topic: &str, alias: u16| {
        let mut packet = vec![0x30, 0, 0, topic.len() as u8];
        packet.extend(topic.as_bytes());
        packet.extend([3, 0x23]);
        packet.extend(alias.to_be_bytes());
        packet[1] = packet.len() as u8 - 2;
        packet
    };
    let all: Vec<u8> = (1..=4097).flat_map(|alias| publish("a/b", alias)).collect();
    let again = [
        publish("", 4096),
        publish("c", 4096),
        publish("", 4096),
        publish("", 4097),
    ]
    .concat();
    let said = [connect, all, again].map(|bytes| (Direction::Egress, bytes));
    let steps = played(Conversation::new(Limits::default()), false, &said, 1000);
    let told = steps.iter().filter_map(|step| match step {
        Step::Request(request) => match &request.head {
            RequestHead::Message(message) => Some(message.destination.as_str()),
            other => panic!("{other:?}"),
        },
        Step::Count(name) => Some(*name),
        _ => None,
    });
    let told: Vec<&str> = told.skip_while(|told| *told == "a/b").collect();
    assert_eq!(told, ["protocol.mqtt.aliases_full", "a/b", "a/b", "c", "c", ""]);
}

use super::*;

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{}", bytes.escape_ascii());
}

#[test]
fn commands_are_recognized_and_little_else() {
    for begin in [
        "",
        "s",
        "set",
        "set k",
        "get ",
        "get key",
        "get key\r",
        "version",
        "version\r",
        "mn",
        "mg k v",
    ] {
        check(begin.as_bytes(), Recognized::More);
    }
    for whole in [
        "set k 0 -1 5\r\n",
        "cas k 1 2 3 4 noreply\r\n",
        "get k\r\n",
        "gat 10 k l\r\n",
        "incr k 1\r\n",
        "delete k\r\n",
        "mg k v\r\n",
        "ms k 5 T0\r\n",
        "mn\r\n",
        "version\r\n",
    ] {
        check(whole.as_bytes(), Recognized::Yes);
    }
    for other in [
        "GET / HTTP/1.1\r\n",
        "get k\n",
        "get\r\n",
        "get \x01",
        "set k a b c\r\n",
        "setter",
        "delete from items\r\n",
        "select 1",
        "version 2\r\n",
        "*1\r\n",
    ] {
        check(other.as_bytes(), Recognized::No);
    }
    let mut keys = b"get ".to_vec();
    keys.resize(256, b'k');
    check(&keys, Recognized::Yes);
}

#[test]
fn heads_are_recognized_by_what_their_opcode_needs() {
    let mut head = [0_u8; 24];
    head[0] = 0x80;
    for length in 1..24 {
        check(&head[..length], Recognized::More);
    }
    // Without the key that it needs.
    check(&head, Recognized::No);
    head[3] = 3;
    // The key is longer than all there is.
    check(&head, Recognized::No);
    head[11] = 3;
    check(&head, Recognized::Yes);
    for (place, wrong) in [(1, 0x01), (1, 0x7f), (4, 1), (5, 1), (8, 0x50)] {
        let mut head = head;
        head[place] = wrong;
        check(&head, Recognized::No);
    }
}

#[test]
fn a_line_is_the_same_however_it_is_cut() {
    use lines::{Got, KEPT, Lines};
    for length in [0, 1, 2, KEPT, KEPT + 10] {
        let mut bytes = vec![b'x'; length];
        bytes.extend_from_slice(b"\r\nrest");
        let mut whole = Lines::default();
        let Got::Line(taken) = whole.read(&bytes) else {
            panic!("a line")
        };
        let line = whole.line(&bytes, taken);
        let mut cut = Lines::default();
        for piece in bytes.chunks(1).take(taken - 1) {
            assert_eq!(cut.read(piece), Got::More);
        }
        assert_eq!(cut.read(b"\nrest"), Got::Line(1));
        assert_eq!(cut.line(b"\nrest", 1), line, "{length}");
    }
}

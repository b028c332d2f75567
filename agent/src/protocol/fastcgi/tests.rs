use super::*;

#[track_caller]
fn check(bytes: &[u8], expected: Recognized) {
    assert_eq!(recognize(bytes), expected, "{}", bytes.escape_ascii());
}

#[test]
fn only_a_first_record_is_recognized() {
    let first = [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0];
    for length in 0..first.len() {
        check(&first[..length], Recognized::More);
    }
    check(&first, Recognized::Yes);
    check(&[&first[..], b"\x01\x04\x00\x01"].concat(), Recognized::Yes);
    for (place, wrong) in [(0, 2), (1, 4), (3, 0), (5, 9), (9, 0), (9, 4), (10, 2), (15, 1)] {
        let mut other = first;
        other[place] = wrong;
        check(&other, Recognized::No);
    }
}

#[test]
fn variables_become_fields() {
    let mut bytes = Vec::new();
    let long = "x".repeat(300);
    for (name, value) in [
        ("REQUEST_METHOD", "POST"),
        ("SCRIPT_NAME", "/index.php"),
        ("PATH_INFO", "/items"),
        ("QUERY_STRING", "a=1"),
        ("HTTP_X_TRACE_ID", &long),
        ("CONTENT_TYPE", "text/plain"),
        ("CONTENT_LENGTH", ""),
        ("SERVER_NAME", "shop"),
        ("SERVER_PORT", "8080"),
        ("HTTPS", "on"),
    ] {
        bytes.push(u8::try_from(name.len()).expect("short"));
        if value.len() < 128 {
            bytes.push(u8::try_from(value.len()).expect("short"));
        } else {
            let length = u32::try_from(value.len()).expect("short") | 1 << 31;
            bytes.extend(length.to_be_bytes());
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    let head = head::request(&bytes, false);
    let fields: Vec<(&str, &[u8])> = head.fields.iter().collect();
    assert_eq!(
        fields,
        [
            ("x-trace-id", long.as_bytes()),
            ("content-type", b"text/plain".as_ref())
        ]
    );
    assert_eq!(head.target, "/index.php/items?a=1");
    assert_eq!(
        (head.authority.as_deref(), head.scheme.as_deref()),
        (Some("shop:8080"), Some("https"))
    );
    assert_eq!(head.unknown, 0);
    // Cut within a variable.
    let cut = head::request(bytes.get(..55).expect("so many"), false);
    assert_eq!((cut.method.as_str(), cut.unknown), ("POST", 1));
}

#[test]
fn the_head_of_a_response_says_its_status_in_a_field() {
    let status = |head: &str| {
        let end = head::end(head.as_bytes(), 0);
        let end = end.unwrap_or(head.len());
        head::response(&head.as_bytes()[..end], crate::protocol::http1::Version::Http11, false).status
    };
    assert_eq!(status("Status: 404 Not Found\r\nA: b\r\n\r\nbody"), 404);
    assert_eq!(status("Content-type: text/html\n\n"), 200);
    assert_eq!(status("Location: https://elsewhere/\r\n\r\n"), 302);
    assert_eq!(status("Location: /here\r\n\r\n"), 200);
    assert_eq!(status("\r\nbody"), 200);
    assert_eq!(head::end(b"Status: 200\r\n", 0), None);
}

#[test]
fn a_head_ends_where_it_does_however_it_comes() {
    for head in ["\r\n", "\n", "A: b\n\n", "A: b\r\n\r\n", "A: b\r\n\n", "A: b\n\r\n"] {
        let all = format!("{head}\n\nbody");
        let ends = |length: usize, before: usize| head::end(&all.as_bytes()[..length], before);
        for before in 0..head.len() {
            let (short, whole) = (ends(before, before.saturating_sub(1)), ends(all.len(), before));
            assert_eq!((short, whole), (None, Some(head.len())), "{all:?} behind {before}");
        }
    }
}

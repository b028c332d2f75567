use super::*;
use crate::export::sample::{Sample, service};
use crate::export::text::width;
use crate::span::Value;

const PLAIN: Options = Options {
    columns: 80,
    unicode: true,
    color: false,
    lines: 200,
};

/// Spans of a shop: curl → nginx → shop → stock, and a call to a service nobody traces.
fn shop() -> Vec<Finished> {
    let (curl, nginx, shop, stock) = (service("curl"), service("nginx"), service("shop"), service("stock"));
    vec![
        Sample::server(7, &stock)
            .parent(6)
            .remote()
            .ms(20, 23)
            .http("GET", "/stock/4", 200)
            .done(),
        Sample::client(6, &shop)
            .parent(4)
            .ms(12, 24)
            .http("GET", "/stock/4", 200)
            .done(),
        Sample::client(1, &curl)
            .ms(0, 50)
            .http("GET", "/cart?id=7", 500)
            .error("")
            .done(),
        Sample::server(2, &nginx)
            .parent(1)
            .remote()
            .ms(1, 49)
            .http("GET", "/cart", 500)
            .with("url.query", Value::fixed("id=7"))
            .error("")
            .done(),
        Sample::client(3, &nginx)
            .parent(2)
            .ms(10, 40)
            .http("GET", "/items", 200)
            .done(),
        Sample::server(4, &shop)
            .parent(3)
            .remote()
            .ms(10, 40)
            .http("GET", "/items", 200)
            .done(),
        Sample::client(5, &nginx)
            .parent(2)
            .ms(41, 48)
            .with("server.address", Value::fixed("10.0.0.5"))
            .with("server.port", Value::Int(5000))
            .with("http.request.method", Value::fixed("POST"))
            .with("url.full", Value::fixed("http://10.0.0.5:5000/reserve"))
            .with("error.type", Value::fixed("ECONNRESET"))
            .error("")
            .done(),
    ]
}

#[track_caller]
fn check(spans: &[Finished], options: Options, expected: &str) {
    let got = render(spans, &options);
    let expected: String = expected
        .trim_start_matches('\n')
        .lines()
        .fold(String::new(), |all, line| {
            all + line.strip_prefix('|').unwrap_or(line) + "\n"
        });
    assert!(got == expected, "got\n{got}\nexpected\n{expected}");
}

#[test]
fn a_trace() {
    check(
        &shop(),
        PLAIN,
        "
|trace 000102030405060708090a0b0c0d0eff  50.0 ms  7 spans in 4 services  3 failed spans
|curl → nginx  GET /cart?id=7                 500   50.0 ms  ████████████████████
|├─ shop  GET /items                          200   30.0 ms      ████████████
|│  └─ stock  GET /stock/4  (server 3.00 …    200   12.0 ms       ░░░█░
|└─ → 10.0.0.5:5000  POST /reserve  ECONN…  error   7.00 ms                  ░░░
",
    );
}

#[test]
fn where_a_client_waited() {
    let (a, b) = (service("a"), service("b"));
    let ns = |name, ms: i64| (name, Value::Int(ms * 1_000_000));
    let client = |id, connect, receive| {
        let (connect, receive) = (
            ns("clew.network.connect_ns", connect),
            ns("clew.network.receive_ns", receive),
        );
        Sample::client(id, &a)
            .parent(1)
            .ms(0, 40)
            .http("GET", "/slow", 200)
            .with(connect.0, connect.1)
            .with(receive.0, receive.1)
            .done()
    };
    let spans = [
        Sample::server(1, &a).ms(0, 50).http("GET", "/", 200).done(),
        client(2, 30, 9),
        Sample::server(3, &b)
            .parent(2)
            .remote()
            .ms(1, 20)
            .http("GET", "/slow", 200)
            .done(),
        // A tenth of the call is not worth a word.
        client(4, 4, 4),
    ];
    check(
        &spans,
        Options { columns: 100, ..PLAIN },
        "
|trace 000102030405060708090a0b0c0d0eff  50.0 ms  4 spans in 2 services
|a  GET /                                                         200   50.0 ms  ████████████████████
|├─ b  GET /slow  (connect 30.0 ms, server 19.0 ms, receive 9…    200   40.0 ms  ████████░░░░░░░░
|└─ → ?  GET /slow                                                200   40.0 ms  ░░░░░░░░░░░░░░░░
",
    );
}

#[test]
fn ascii() {
    let options = Options {
        unicode: false,
        columns: 120,
        ..PLAIN
    };
    check(
        &shop(),
        options,
        "
|trace 000102030405060708090a0b0c0d0eff  50.0 ms  7 spans in 4 services  3 failed spans
|curl -> nginx  GET /cart?id=7                                                        500   50.0 ms  ####################
||- shop  GET /items                                                                  200   30.0 ms      ############
||  `- stock  GET /stock/4  (server 3.00 ms)                                          200   12.0 ms       ---#-
|`- -> 10.0.0.5:5000  POST /reserve  ECONNRESET                                     error   7.00 ms                  ---
",
    );
}

#[test]
fn narrow() {
    check(
        &shop(),
        Options { columns: 50, ..PLAIN },
        "
|trace 000102030405060708090a0b0c0d0eff  50.0 ms  7 spans in 4 services  3 failed spans
|curl → nginx  GET /cart?id=7         500   50.0 ms
|├─ shop  GET /items                  200   30.0 ms
|│  └─ stock  GET /stock/4  (serv…    200   12.0 ms
|└─ → 10.0.0.5:5000  POST /reserv…  error   7.00 ms
",
    );
}

#[test]
fn many_lines() {
    check(
        &shop(),
        Options { lines: 2, ..PLAIN },
        "
|trace 000102030405060708090a0b0c0d0eff  50.0 ms  7 spans in 4 services  3 failed spans
|curl → nginx  GET /cart?id=7                 500   50.0 ms  ████████████████████
|├─ shop  GET /items                          200   30.0 ms      ████████████
|… and 2 more calls
",
    );
}

#[test]
fn colors() {
    let (curl, nginx) = (service("curl"), service("nginx"));
    let spans = [
        Sample::client(1, &curl).ms(0, 2).http("GET", "/", 200).done(),
        Sample::server(2, &nginx)
            .parent(1)
            .remote()
            .ms(1, 2)
            .http("GET", "/", 503)
            .error("")
            .done(),
    ];
    check(
        &spans,
        Options { color: true, ..PLAIN },
        "
|\x1b[1mtrace 000102030405060708090a0b0c0d0eff\x1b[0m  2.00 ms  2 spans in 2 services  \x1b[31m1 failed span\x1b[0m
|\x1b[34mcurl\x1b[0m → \x1b[96mnginx\x1b[0m  GET /                        \x1b[31m  200\x1b[0m   2.00 ms  \x1b[31m░░░░░░░░░░██████████\x1b[0m
",
    );
}

#[test]
fn odd_parents() {
    let (a, b) = (service("a"), service("b"));
    let spans = [
        // Called from outside.
        Sample::server(1, &a)
            .parent(99)
            .remote()
            .ms(0, 10)
            .http("GET", "/outside", 200)
            .done(),
        // Each the other's parent.
        Sample::server(2, &a)
            .parent(3)
            .ms(1, 2)
            .http("GET", "/loop/2", 200)
            .done(),
        Sample::server(3, &a)
            .parent(2)
            .ms(2, 3)
            .http("GET", "/loop/3", 200)
            .done(),
        // Its own parent.
        Sample::server(4, &a).parent(4).ms(3, 4).http("GET", "/own", 200).done(),
        // Two answers to one call.
        Sample::client(5, &a)
            .parent(1)
            .ms(4, 9)
            .http("GET", "/twice", 200)
            .done(),
        Sample::server(6, &b)
            .parent(5)
            .remote()
            .ms(5, 6)
            .http("GET", "/twice", 200)
            .done(),
        Sample::server(7, &b)
            .parent(5)
            .remote()
            .ms(7, 8)
            .http("GET", "/twice", 200)
            .done(),
        // The same id again.
        Sample::server(7, &b).ms(9, 9).http("GET", "/again", 200).done(),
    ];
    check(
        &spans,
        PLAIN,
        "
|trace 000102030405060708090a0b0c0d0eff  10.0 ms  8 spans in 2 services
|a  GET /outside  (parent not seen)           200   10.0 ms  ████████████████████
|└─ → ?  GET /twice                           200   5.00 ms          ░░░░░░░░░░
|   ├─ b  GET /twice                          200   1.00 ms            ██
|   └─ b  GET /twice                          200   1.00 ms                ██
|b  GET /again                                200      0 µs                    █
|a  GET /loop/2  (parent not seen)            200   1.00 ms    ██
|└─ a  GET /loop/3                            200   1.00 ms      ██
|a  GET /own  (parent not seen)               200   1.00 ms        ██
",
    );
}

#[test]
fn hostile_text() {
    let service = service("\x1b[2Jev\u{202e}il");
    let span = Sample::server(1, &service)
        .http("GET", "/\x1b]0;title\x07\n\u{200f}日本語", 200)
        .error("a\nb");
    check(
        &[span.done()],
        PLAIN,
        "
|trace 000102030405060708090a0b0c0d0eff  0 µs  1 span in 1 service  1 failed span
|�[2Jev�il  GET /�]0;title���日本語  a�b      200      0 µs  ████████████████████
",
    );
}

#[test]
fn deep_and_wide_traces_keep_to_the_columns() {
    let service = service("a service with a very long name that goes on and on");
    let mut spans: Vec<Finished> = (1..3_000)
        .map(|id| {
            Sample::server(id, &service)
                .parent(id - 1)
                .ms(0, id)
                .http("GET", "/日本語/path/of/some/length", 200)
                .done()
        })
        .collect();
    spans.push(Sample::server(0, &service).http("GET", "/", 200).done());
    for columns in [0, 40, 41, 71, 72, 80, 100, 140, 1000] {
        for unicode in [true, false] {
            let options = Options {
                columns,
                unicode,
                color: false,
                lines: 60,
            };
            let drawn = render(&spans, &options);
            assert_eq!(drawn.lines().count(), 1 + 60 + 1);
            for line in drawn.lines().skip(1) {
                assert!(width(line) <= columns.clamp(40, 140), "{columns}: {line}");
            }
        }
    }
}

#[test]
fn durations() {
    let process = service("a");
    for (ns, text) in [
        (0, "0 µs"),
        (999_999, "999 µs"),
        (1_000_000, "1.00 ms"),
        (9_999_999, "9.99 ms"),
        (12_345_678, "12.3 ms"),
        (999_999_999, "999 ms"),
        (1_234_000_000, "1.23 s"),
        (59_999_000_000, "59.9 s"),
        (61_000_000_000, "1m 01s"),
        (u64::MAX, "307445734m 33s"),
    ] {
        let drawn = render(&[Sample::server(1, &process).at(0, ns).done()], &PLAIN);
        assert!(
            drawn.contains(&format!("  {text}  1 span in 1 service\n")),
            "{ns} {drawn}"
        );
    }
}

#[test]
fn options() {
    type Case<'a> = (Option<u16>, &'a [(&'a str, &'a str)], (usize, bool, bool));
    let cases: &[Case<'_>] = &[
        (None, &[], (100, false, false)),
        (Some(80), &[("LANG", "en_US.UTF-8")], (80, true, true)),
        (Some(80), &[("LANG", "de_DE.utf8"), ("LC_ALL", "C")], (80, false, true)),
        (
            Some(80),
            &[("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8"), ("NO_COLOR", "1")],
            (80, true, false),
        ),
        (Some(80), &[("NO_COLOR", ""), ("TERM", "xterm")], (80, false, true)),
        (Some(80), &[("TERM", "dumb")], (80, false, false)),
    ];
    for (terminal, variables, expected) in cases {
        let options = Options::detect(*terminal, |name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        });
        assert_eq!(
            (options.columns, options.unicode, options.color),
            *expected,
            "{variables:?}"
        );
    }
}

//! What passes on top of HTTP.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Span, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// The only span of this kind of a path and a number.
#[track_caller]
fn only<'a>(out: &'a Outcome, kind: Kind, path: &str, number: u64) -> &'a Span {
    let found = out
        .spans
        .filter(|span| span.kind == kind && span.path() == path && span.number() == Some(number));
    let [span] = found.as_slice() else {
        out.fail(&format!("{} {kind:?} spans of {path} {number}", found.len()));
    };
    span
}

#[test]
fn a_websocket_is_one_span_at_each_end() {
    const REQUESTS: u64 = 90;
    let Some(lab) = Lab::new("a_websocket_is_one_span_at_each_end") else {
        return;
    };
    let port = free_port();
    let app = Lab::workload("python/websocket_app.py");
    let plan = Plan::default()
        .service(port, &[&Lab::python("python"), &app, &port.to_string()])
        .rested()
        .load(port, "/front", REQUESTS, 16);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    for number in 1..=REQUESTS {
        let failed = number % 3 == 0;
        let client = only(&out, Kind::Client, "/talk", number);
        let server = only(&out, Kind::Server, "/talk", number);
        let (sent, received) = ("clew.websocket.sent", "clew.websocket.received");
        for (span, to_server, to_client) in [(client, sent, received), (server, received, sent)] {
            out.check_span(
                span,
                &[
                    ("http.response.status_code", "101"),
                    ("clew.websocket", "true"),
                    (&format!("{to_server}.messages"), "4"),
                    (&format!("{to_server}.frames"), "5"),
                    (&format!("{to_server}.bytes"), "5011"),
                    (&format!("{to_client}.messages"), "3"),
                    (&format!("{to_client}.frames"), "4"),
                    (&format!("{to_client}.bytes"), "5008"),
                    ("clew.websocket.close.by", "server"),
                    ("clew.websocket.close.code", if failed { "1011" } else { "1000" }),
                    ("error.type", if failed { "1011" } else { "" }),
                    ("clew.exchange.outcome", ""),
                ],
            );
            out.check_eq(span.status, if failed { 2 } else { 0 }, "status");
        }
        // The connection lasts as long as what is asked on its account.
        let back = only(&out, Kind::Client, "/back", number);
        for (span, parent) in [
            (client, only(&out, Kind::Server, "/front", number)),
            (server, client),
            (back, server),
        ] {
            out.check_eq(
                span.parent.as_ref(),
                Some(&parent.id),
                &format!("the parent of {}", span.path()),
            );
            out.check(
                span.end <= parent.end || span.kind == Kind::Server,
                "it ends within its parent",
            );
        }
    }
}

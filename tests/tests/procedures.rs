//! Procedures called otherwise than over HTTP, below the requests that called them.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Span, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 90;

/// Spans below a span, in the order in which they began.
fn below<'a>(out: &'a Outcome, parent: &Span) -> Vec<&'a Span> {
    let mut found = out
        .spans
        .filter(|span| span.parent.as_ref() == Some(&parent.id) && span.trace == parent.trace);
    found.sort_by_key(|span| span.start);
    found
}

/// Everything is called in one shape of messages.
fn check(shape: &str, variant: &str) {
    let Some(lab) = Lab::new(&format!("thrift_{shape}")) else {
        return;
    };
    let (server, front) = (free_port(), free_port());
    let (python, app) = (Lab::python("python"), Lab::workload("python/thrift_app.py"));
    let ports = [front.to_string(), server.to_string()];
    let plan = Plan::default()
        .service(server, &[&python, &app, "serve", &ports[1], shape])
        .service(front, &[&python, &app, "front", &ports[0], &ports[1], shape])
        .rested()
        .load(front, "/front", REQUESTS, 16);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    for number in 1..=REQUESTS {
        let fronts = out
            .spans
            .filter(|span| span.kind == Kind::Server && span.path() == "/front" && span.number() == Some(number));
        out.check_eq(fronts.len(), 1, &format!("server spans of request {number}"));
        let calls = fronts.iter().flat_map(|front| below(&out, front)).collect::<Vec<_>>();
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        let want: &[&str] = if number % 3 == 0 {
            &["note", "find", "find", "nonsense"]
        } else {
            &["note", "find"]
        };
        out.check_eq(names.as_slice(), want, &format!("calls of request {number}"));
        for (place, call) in calls.iter().enumerate() {
            // What the client says of it, what the server does, and how the client sees that it failed.
            let (declared, code, error, is_fault_of_server) = match place {
                2 => ("true", "", "_OTHER", false),
                3 => ("", "UNKNOWN_METHOD", "UNKNOWN_METHOD", true),
                _ => ("", "", "", false),
            };
            let ends = below(&out, call);
            out.check_eq(ends.len(), 1, &format!("server spans of {}", call.name));
            for end in [&[*call][..], &ends].concat() {
                let is_told = end.kind == Kind::Client || is_fault_of_server;
                out.check_span(
                    end,
                    &[
                        ("rpc.system.name", "thrift"),
                        ("rpc.method", &call.name),
                        ("clew.rpc.variant", variant),
                        ("clew.rpc.oneway", if place == 0 { "true" } else { "" }),
                        ("clew.rpc.exception.declared", declared),
                        ("rpc.response.status_code", code),
                        ("error.type", if is_told { error } else { "" }),
                        ("clew.exchange.outcome", ""),
                    ],
                );
                let failed = is_told && !error.is_empty();
                out.check_eq(end.status, if failed { 2 } else { 0 }, "status");
            }
        }
    }
    for counter in ["protocol.thrift.invalid", "protocol.thrift.response_unmatched"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

#[test]
fn thrift_binary() {
    check("binary", "binary");
}

#[test]
fn thrift_framed() {
    check("framed", "framed binary");
}

#[test]
fn thrift_compact() {
    check("compact", "compact");
}

#[test]
fn thrift_framed_compact() {
    check("framed-compact", "framed compact");
}

/// A server and a client of Apache Dubbo; one connection carries many calls at once. A loop of Netty writes them, so that a call has no
/// parent: what there is, is that each has both its ends, and what came of it.
#[test]
fn dubbo() {
    /// What the client calls, how often, and whether it fails or asks for no answer.
    const CALLS: [(&str, usize, &str, &str); 3] = [
        ("shop.Orders/order", 43, "", ""),
        ("shop.Orders/fail", 1, "java.lang.IllegalStateException", ""),
        ("shop.Orders/told", 1, "", "true"),
    ];
    let Some(lab) = Lab::new("dubbo") else { return };
    let Some(command) = lab.dubbo() else { return };
    let server = free_port();
    let port = server.to_string();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let (serve, ask) = (["serve", &*port], ["ask", &*port]);
    let (serve, ask) = ([&command[..], &serve].concat(), [&command[..], &ask].concat());
    let plan = Plan::default().service(server, &serve).rested().command(&ask);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    let is_dubbo = |span: &Span| span.text("rpc.system.name") == "dubbo";
    for (method, times, error, oneway) in CALLS {
        let calls = out
            .spans
            .filter(|span| is_dubbo(span) && span.kind == Kind::Client && span.text("rpc.method") == method);
        out.check_eq(calls.len(), times, &format!("calls of {method}"));
        for call in calls {
            out.check_eq(call.parent.as_ref(), None, "parent of a call");
            let ends = below(&out, call);
            out.check_eq(ends.len(), 1, &format!("server spans of {method}"));
            for end in [&[call][..], &ends].concat() {
                out.check_span(
                    end,
                    &[
                        ("rpc.system.name", "dubbo"),
                        ("rpc.method", method),
                        ("clew.rpc.variant", "hessian2"),
                        ("clew.rpc.oneway", oneway),
                        ("error.type", error),
                        ("clew.exchange.outcome", ""),
                    ],
                );
            }
        }
    }
    out.check_eq(out.spans.filter(is_dubbo).len(), 90, "spans of calls");
    for counter in ["protocol.dubbo.invalid", "protocol.dubbo.response_unmatched"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

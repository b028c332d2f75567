//! Work that a process hands to its children by pipes: whose what they ask is, and whose pipes are looked at.
use clew_tests::{Clew, Kind, Lab, Span};

#[test]
fn handed_on_seen_at_sockets() {
    handed_on("socket");
}

#[test]
fn handed_on_seen_at_system_calls() {
    handed_on("syscall");
}

/// `workloads/c/hands.c`: children ask for messages of which they are told by pipes, in another order than they came in.
fn handed_on(capture: &str) {
    const MESSAGES: u64 = 60;
    let Some(lab) = Lab::new(&format!("handed_on_{capture}")) else {
        return;
    };
    if capture == "socket" && !clew_tests::has_tracepoint("sock_send_length") {
        lab.skip("this kernel has no tracepoints at the socket (Linux 6.3)");
        return;
    }
    let program = Lab::c("hands");
    let out = Clew::run(&lab)
        .args(&["--capture", capture])
        .traced(&[program, MESSAGES.to_string()]);
    let call = |path: &str, number: u64| -> &Span {
        let of = |span: &Span| span.path() == path && span.number() == Some(number);
        let found = out.spans.filter(|span| span.kind == Kind::Client && of(span));
        match found.as_slice() {
            [one] => one,
            found => out.fail(&format!("{} calls of {path}?id={number}", found.len())),
        }
    };
    for number in 1..=MESSAGES {
        let id = format!("00000000-0000-4000-8000-{number:012}");
        let of = |span: &Span| span.text("messaging.message.conversation_id") == id;
        let got = out.spans.filter(|span| span.kind == Kind::Consumer && of(span));
        let [got] = got.as_slice() else {
            out.fail(&format!("{} messages of {id}", got.len()))
        };
        let stock = call("/stock", number);
        out.check_eq(&stock.parent, &Some(got.id.clone()), "whose what a child asks is");
        out.check_eq(&stock.trace, &got.trace, "the trace of what a child asks");
        out.check_eq(stock.text("clew.parent.source").as_str(), "pipe", "what tells it");
        // Nobody looks at what it reads.
        let other = call("/other", number);
        out.check_eq(&other.parent, &None, "the parent of what somebody else's child asks");
        out.check_eq(other.text("clew.parent.unknown").as_str(), "", "nothing is known of it");
    }
    let both = call("/both", 1);
    out.check_eq(&both.parent, &None, "the parent of what names two messages");
    out.check_eq(both.text("clew.parent.unknown").as_str(), "handed", "why it has none");
    out.check_eq(out.counter("pipes.unseen"), 0, "pipes.unseen");
    out.check_eq(out.counter("causality.unknown.handed"), 1, "causality.unknown.handed");
}

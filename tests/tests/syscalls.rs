//! Every way bytes get into and out of a socket (design: "each is captured right or counted under a named counter").
//!
//! `workloads/c/sock.c` exchanges three requests with itself by one form of system call. A row says what must come out.
use std::sync::OnceLock;

use clew_tests::{Clew, Kind, Lab, Outcome};

/// Requests `sock` makes in one case.
const EXCHANGES: u64 = 3;
/// Bytes of each response's body.
const BODY: &str = "5000";

/// What a case must leave behind.
#[derive(Clone, Copy)]
enum Want {
    /// Both ends of each exchange, complete and joined.
    Exact,
    /// The client's spans, complete; what the server passed is counted under one of these names.
    Client(&'static [&'static str]),
    /// What was not seen is counted under one of these names; no span is wrong.
    Counted(&'static [&'static str]),
}
use Want::{Client, Counted, Exact};

/// Case, family, what the socket tracepoints must give, what the system call tracepoints must give.
type Case = (&'static str, &'static str, Want, Want);

macro_rules! cases {
    ($($name:ident: $case:literal $family:literal, socket $socket:expr, syscall $syscall:expr;)+) => {
        mod socket {
            use super::*;
            $(#[test] fn $name() { check(concat!("socket::", stringify!($name)), $case, $family, "socket", $socket); })+
        }
        mod syscall {
            use super::*;
            $(#[test] fn $name() { check(concat!("syscall::", stringify!($name)), $case, $family, "syscall", $syscall); })+
        }
        const CASES: &[Case] = &[$(($case, $family, $socket, $syscall)),+];
    };
}

cases! {
    read_write_tcp4: "rw" "tcp4", socket Exact, syscall Exact;
    read_write_tcp6: "rw" "tcp6", socket Exact, syscall Exact;
    read_write_unix: "rw" "unix", socket Exact, syscall Exact;
    readv_writev: "rwv" "tcp4", socket Exact, syscall Exact;
    preadv2_pwritev2: "rwv2" "tcp4", socket Exact, syscall Exact;
    send_recv: "sendrecv" "tcp4", socket Exact, syscall Exact;
    sendto_recvfrom: "sendto" "tcp4", socket Exact, syscall Exact;
    sendmsg_recvmsg: "msg" "tcp4", socket Exact, syscall Exact;
    sendmsg_recvmsg_unix: "msg" "unix", socket Exact, syscall Exact;
    sendmmsg_recvmmsg_one: "mmsg1" "tcp4", socket Exact, syscall Exact;
    sendmmsg_recvmmsg_several: "mmsg" "tcp4", socket Exact, syscall Exact;
    msg_peek: "peek" "tcp4", socket Exact, syscall Exact;
    msg_peek_unix: "peek" "unix", socket Exact, syscall Exact;
    msg_trunc: "trunc" "tcp4", socket Exact, syscall Exact;
    msg_oob: "oob" "tcp4",
        socket Counted(&["capture.unseen_bytes", "stream.", "protocol."]),
        syscall Counted(&["capture.unseen_bytes", "stream.", "protocol."]);
    msg_zerocopy: "zerocopy" "tcp4", socket Exact, syscall Exact;
    partial_transfers: "partial" "tcp4", socket Exact, syscall Exact;
    partial_transfers_unix: "partial" "unix", socket Exact, syscall Exact;
    non_blocking: "nonblock" "tcp4", socket Exact, syscall Exact;
    duplicated: "dup" "tcp4", socket Exact, syscall Exact;
    inherited_over_fork: "fork" "tcp4", socket Exact, syscall Exact;
    inherited_over_exec: "exec" "tcp4", socket Exact, syscall Exact;
    passed_by_scm_rights: "scm" "tcp4", socket Exact, syscall Exact;
    sendfile_body: "sendfile" "tcp4", socket Exact, syscall Exact;
    sendfile_whole: "sendfile_head" "tcp4",
        socket Client(&["capture.no_payload.splice"]), syscall Client(&["capture.no_payload.splice"]);
    splice_into_socket: "splice_in" "tcp4", socket Exact, syscall Exact;
    vmsplice_into_socket: "vmsplice" "tcp4", socket Exact, syscall Exact;
    splice_out_of_socket: "splice_out" "tcp4", socket Exact, syscall Exact;
    linux_aio: "aio" "tcp4",
        socket Client(&["capture.no_payload.aio"]), syscall Client(&["capture.no_payload.aio"]);
    io_uring: "uring" "tcp4",
        socket Client(&["capture.no_payload.io_uring"]), syscall Client(&["capture.no_payload.io_uring"]);
    io_uring_beside_file_writes: "uring_foreign" "tcp4",
        socket Client(&["capture.no_payload.io_uring"]), syscall Client(&["capture.no_payload.io_uring"]);
    compat_calls: "compat" "tcp4",
        // The tracepoints of system calls leave out 32-bit calls altogether.
        socket Client(&["capture.no_payload.compat"]), syscall Client(&["stitch.no_peer"]);
    fast_open: "fastopen" "tcp4", socket Exact, syscall Exact;
    not_resident: "pageout" "tcp4", socket Counted(&["capture.user_fault"]), syscall Counted(&["capture.user_fault"]);
    unix_seqpacket: "seqpacket" "unix", socket Counted(&["capture.unix_messages"]), syscall Counted(&["capture.unix_messages"]);
    sctp: "sctp" "tcp4", socket Counted(&["capture.family_unsupported"]), syscall Counted(&["capture.family_unsupported"]);
    smc: "smc" "tcp4", socket Counted(&["capture.family_unsupported"]), syscall Counted(&["capture.family_unsupported"]);
    vsock: "vsock" "vm", socket Counted(&["capture.family_unsupported"]), syscall Counted(&["capture.family_unsupported"]);
    // What the transport counts is longer than what the program writes.
    kernel_tls: "ktls" "tcp4", socket Exact, syscall Exact;
    mptcp: "mptcp" "tcp4", socket Counted(&["capture.family_unsupported"]), syscall Counted(&["capture.family_unsupported"]);
}

fn check(test: &str, case: &str, family: &str, capture: &'static str, want: Want) {
    let Some(lab) = Lab::new(test) else { return };
    if capture == "socket" && !clew_tests::has_tracepoint("sock_send_length") {
        lab.skip("this kernel has no tracepoints at the socket (Linux 6.3)");
        return;
    }
    let alone;
    let out = if matches!(want, Exact) {
        together(capture)
    } else {
        // Counters belong to a run: what is judged by them has one of its own.
        alone = traced(&lab, capture, &[(case, family)]);
        &alone
    };
    let code = out
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{case} {family} ")));
    if code == Some("77") {
        let reason = out.stderr.lines().find(|line| line.starts_with("sock:"));
        lab.skip(reason.unwrap_or("not offered here"));
        return;
    }
    out.check_eq(code, Some("0"), "the exit code of sock");
    let path = format!("/{case}-{family}");
    match want {
        Exact => exact(out, &path, true),
        Client(counters) => {
            exact(out, &path, false);
            counted(out, counters);
        }
        Counted(counters) => counted(out, counters),
    }
    for span in &out.spans.0 {
        let known = CASES
            .iter()
            .any(|(case, family, ..)| span.path() == format!("/{case}-{family}"));
        out.check(known, "a span that nobody made");
        out.check(
            span.number().is_some_and(|n| (1..=EXCHANGES).contains(&n)),
            "a number nobody sent",
        );
    }
    let text = format!("{:?}", out.spans.0);
    out.check(
        !text.contains("FOREIGN") && !text.contains("\\0"),
        "bytes that are not of this connection",
    );
}

/// All the cases that must be exact, traced in one run for each way of capture.
fn together(capture: &'static str) -> &'static Outcome {
    static SOCKET: OnceLock<Outcome> = OnceLock::new();
    static SYSCALL: OnceLock<Outcome> = OnceLock::new();
    let socket = capture == "socket";
    let cell = if socket { &SOCKET } else { &SYSCALL };
    cell.get_or_init(|| {
        let lab = Lab::new(capture).expect("the caller has a lab too");
        let wanted =
            |(_, _, at_socket, at_syscall): &&Case| matches!(if socket { at_socket } else { at_syscall }, Exact);
        let cases: Vec<_> = CASES
            .iter()
            .filter(wanted)
            .map(|(case, family, ..)| (*case, *family))
            .collect();
        traced(&lab, capture, &cases)
    })
}

/// Runs `sock` for each case, one after the other; it prints the exit code of each.
fn traced(lab: &Lab, capture: &str, cases: &[(&str, &str)]) -> Outcome {
    let sock = Lab::c("sock");
    let script: String = cases
        .iter()
        .map(|(case, family)| format!("{sock} {case} {family}; echo {case} {family} $?; "))
        .collect();
    Clew::run(lab)
        .args(&["--capture", capture])
        .traced(&["/bin/sh", "-c", &script])
}

fn exact(out: &Outcome, path: &str, both: bool) {
    out.check_numbers(Kind::Client, path, EXCHANGES);
    let complete = |span| {
        out.check_span(
            span,
            &[
                ("http.request.method", "GET"),
                ("http.response.status_code", "200"),
                ("http.response.body.size", BODY),
                ("user_agent.original", "sock"),
                ("error.type", ""),
            ],
        );
    };
    out.spans.at(Kind::Client, path).into_iter().for_each(complete);
    if !both {
        return;
    }
    out.check_numbers(Kind::Server, path, EXCHANGES);
    for server in out.spans.at(Kind::Server, path) {
        complete(server);
        let parent = out.spans.parent(server);
        out.check(
            parent.is_some_and(|parent| parent.kind == Kind::Client && parent.number() == server.number()),
            "a server span without the client span at the other end",
        );
    }
    let all = out.spans.filter(|span| span.path() == path);
    out.check_eq(all.len() as u64, 2 * EXCHANGES, "number of spans");
}

fn counted(out: &Outcome, counters: &[&str]) {
    let raised = out
        .counters
        .iter()
        .any(|(name, n)| *n > 0 && counters.iter().any(|want| name.starts_with(want)));
    out.check(raised, &format!("none of {counters:?} was raised: {:?}", out.counters));
}

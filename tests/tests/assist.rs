//! The hook that `clew run` hands to Node.js: what it is good for, and that it leaves programs as they are.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, free_port, until};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 200;
const CONCURRENCY: u64 = 32;

/// Load -> a program under `workloads/node` -> a leaf in Go that answers out of order.
fn through(lab: &Lab, node: &str, program: &str, options: &[&str]) -> Outcome {
    let (leaf, front) = (free_port(), free_port());
    let program = Lab::workload(&format!("node/{program}.js"));
    let plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(front, &[node, &program, &front.to_string()])
        .env("NEXT", &format!("{leaf}/leaf"))
        .env("NODE_PATH", &Lab::node_modules())
        .load(front, "/front", REQUESTS, CONCURRENCY);
    Clew::run(lab).args(options).traced(&plan.argv(lab, DRIVE))
}

/// Every link is there and right.
fn check_exact(out: &Outcome, service: &str) {
    let (server, client) = (format!("server {service} /front"), format!("client {service} /leaf"));
    out.check_chains(
        REQUESTS,
        &["client clew-drive /front", &server, &client, "server go-server /leaf"],
    );
    out.check_eq(out.spans.0.len() as u64, 4 * REQUESTS, "number of spans");
    for call in out.spans.at(Kind::Client, "/leaf") {
        out.check_span(call, &[("clew.parent.source", "async")]);
    }
}

/// The program itself, under Clew with these options and variables.
fn node(lab: &Lab, options: &[&str], env: &[(&str, &str)], argv: &[&str]) -> Outcome {
    let mut clew = Clew::run(lab).args(options);
    for (name, value) in env {
        clew = clew.env(name, value);
    }
    clew.start(argv).wait()
}

#[test]
fn a_pool_in_node() {
    let Some(lab) = Lab::new("a_pool_in_node") else { return };
    check_exact(&through(&lab, "node", "server", &[]), "server");
}

#[test]
fn undici_in_express() {
    let Some(lab) = Lab::new("undici_in_express") else {
        return;
    };
    check_exact(&through(&lab, "node", "express", &[]), "express");
}

#[test]
fn fetch_in_the_newest_node() {
    let Some(lab) = Lab::new("fetch_in_the_newest_node") else {
        return;
    };
    check_exact(&through(&lab, &Lab::newest_node(), "fastify", &[]), "fastify");
}

#[test]
fn processes_that_share_a_port() {
    let Some(lab) = Lab::new("processes_that_share_a_port") else {
        return;
    };
    check_exact(&through(&lab, "node", "cluster", &[]), "cluster");
}

/// Queues, fetch, timers, streamed bodies, failures, all at once and on both versions.
#[test]
fn everything_at_once() {
    let Some(lab) = Lab::new("everything_at_once") else {
        return;
    };
    for node in ["node", &Lab::newest_node()] {
        let (leaf, front) = (free_port(), free_port());
        let program = |name: &str| Lab::workload(&format!("node/{name}.js"));
        let plan = Plan::default()
            .service(leaf, &[node, &program("leaf"), &leaf.to_string()])
            .service(front, &[node, &program("mix"), &front.to_string()])
            .env("NEXT", &format!("{leaf}/leaf"))
            .load(front, "/front", REQUESTS, CONCURRENCY);
        let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
        out.check_no_wrong_links();
        let root = "client clew-drive /front > server mix /front";
        for path in ["/pooled", "/fetched", "/late", "/fail", "/cancel", "/last"] {
            check_lineage(&out, path, &format!("{root} > client mix {path}"));
        }
        check_lineage(
            &out,
            "/behind",
            &format!("{root} > client mix /second > server mix /second > client mix /behind"),
        );
        out.check_eq(out.spans.0.len() as u64, 18 * REQUESTS, "number of spans");
    }
}

fn check_lineage(out: &Outcome, path: &str, want: &str) {
    out.check_numbers(Kind::Client, path, REQUESTS);
    for call in out.spans.at(Kind::Client, path) {
        out.check_eq(out.lineage(call).as_str(), want, &call.brief());
    }
}

#[test]
fn without_it_node_is_never_wrong() {
    let Some(lab) = Lab::new("without_it_node_is_never_wrong") else {
        return;
    };
    let out = through(&lab, "node", "server", &["--assist", "off"]);
    out.check_no_wrong_links();
    for (kind, path) in [
        (Kind::Client, "/front"),
        (Kind::Server, "/front"),
        (Kind::Client, "/leaf"),
        (Kind::Server, "/leaf"),
    ] {
        out.check_numbers(kind, path, REQUESTS);
    }
    let missing = out.spans.at(Kind::Client, "/leaf");
    let missing = missing.iter().filter(|span| span.parent.is_none()).count() as u64;
    out.check(missing > 0, "links are there that nothing can have told");
    out.check(
        out.counter("causality.unknown.runtime") > 0,
        "links are missing and nothing is counted",
    );
}

/// `--capture syscall` has other probes, which read the same words.
#[test]
fn at_system_calls() {
    let Some(lab) = Lab::new("at_system_calls") else { return };
    check_exact(&through(&lab, "node", "server", &["--capture", "syscall"]), "server");
}

#[test]
fn what_is_handed_over() {
    let Some(lab) = Lab::new("what_is_handed_over") else {
        return;
    };
    let show = ["/bin/sh", "-c", "echo \"[$NODE_OPTIONS]\""];
    let off = node(&lab, &["--assist", "off"], &[("NODE_OPTIONS", "--no-warnings")], &show);
    off.check_eq(off.stdout.as_str(), "[--no-warnings]\n", "the variable");
    off.check(
        !off.stderr.contains("hook"),
        "a hook is told of and none is handed over",
    );

    let own = node(&lab, &[], &[("NODE_OPTIONS", "--no-warnings")], &show);
    own.check(own.stdout.starts_with("[--no-warnings --require /"), &own.stdout);
    own.check(own.stderr.contains("--assist off"), "nothing says that it was done");
    let hook = own.stdout.trim().trim_end_matches(']').rsplit(' ').next();
    let hook = std::path::Path::new(hook.expect("a path"));
    own.check(!hook.exists(), "the hook is still there");
    own.check(!hook.with_file_name("").exists(), "its folder is still there");
}

/// Output, exit code, arguments and standard input are the program's own; so are modules of either kind.
#[test]
fn programs_stay_as_they_are() {
    let Some(lab) = Lab::new("programs_stay_as_they_are") else {
        return;
    };
    let module = lab.file(
        "module.mjs",
        "import http from 'node:http';\nconsole.log(typeof http.get);\n",
    );
    let module = module.display().to_string();
    let keys = "console.log(process.argv.slice(1), Object.keys(require('http').IncomingMessage.prototype)); \
                process.exitCode = 5";
    for binary in ["node", &Lab::newest_node()] {
        for (argv, code) in [
            (&[binary, "-e", keys, "a b"][..], 5),
            (&[binary, &module], 0),
            (&[binary, "-e", "throw new Error('mine')"], 1),
            (&[binary, "-p", "process.execArgv"], 0),
            (
                &[
                    binary,
                    "--eval",
                    "process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 9999)",
                ],
                143,
            ),
        ] {
            let bare = node(&lab, &["--assist", "off"], &[], argv);
            let out = node(&lab, &[], &[], argv);
            out.check_eq(out.code, code, "exit code");
            out.check_eq(out.stdout.as_str(), bare.stdout.as_str(), "standard output");
        }
    }
}

/// As under sudo: the command's user can read what root wrote.
#[test]
fn another_user_can_load_it() {
    let Some(lab) = Lab::new("another_user_can_load_it") else {
        return;
    };
    let script = "console.log(process.getuid(), require('net').Socket.prototype._writeGeneric.length)";
    let sudo = [("SUDO_UID", "65534"), ("SUDO_GID", "65534"), ("SUDO_USER", "nobody")];
    let out = node(&lab, &[], &sudo, &["/usr/bin/node", "-e", script]);
    out.check_eq(out.code, 0, "exit code");
    out.check_eq(out.stdout.as_str(), "65534 4\n", "standard output");
}

/// A process that outlives the command starts others, which look for the hook.
#[test]
fn what_outlives_the_command_finds_it() {
    let Some(lab) = Lab::new("what_outlives_the_command_finds_it") else {
        return;
    };
    let script = format!(
        "cd {}; (until [ -e go ]; do sleep 0.05; done; node -p 40+2 > answer 2>&1; mv answer done) & \
         echo \"$NODE_OPTIONS\"",
        lab.dir().display()
    );
    let out = node(&lab, &[], &[], &["/bin/sh", "-c", &script]);
    out.check_eq(out.code, 0, "exit code");
    lab.file("go", "");
    let done = lab.dir().join("done");
    until("what outlived the command has ended", || done.exists().then_some(()));
    let answer = std::fs::read_to_string(done).expect("an answer");
    out.check_eq(answer.as_str(), "42\n", "what a later program said");
    // Nobody removes it for it; so does this test.
    let hook = out.stdout.trim().rsplit(' ').next().expect("a path");
    let folder = std::path::Path::new(hook).parent().expect("a folder");
    out.check(folder.display().to_string().contains("/clew-assist-"), hook);
    std::fs::remove_dir_all(folder).expect("the folder is there");
}

#[test]
fn doctor_says_what_a_process_has() {
    let Some(lab) = Lab::new("doctor_says_what_a_process_has") else {
        return;
    };
    let clew = Lab::clew().display().to_string();
    // The shell's child is a shell until it has begun Node.js.
    let begun = "until readlink /proc/$!/exe | grep -q node; do :; done";
    let script = format!("node -e 'setTimeout(() => {{}}, 60000)' & {begun}; {clew} doctor --pid $!; kill $!");
    for (options, want) in [(&[][..], "told by the hook"), (&["--assist", "off"], "none: Node.js")] {
        let out = node(&lab, options, &[], &["/bin/sh", "-c", &script]);
        let line = out.stdout.lines().find(|line| line.trim_start().starts_with("parents"));
        out.check(line.is_some_and(|line| line.contains(want)), &out.stdout);
    }
}

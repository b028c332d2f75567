//! Hosts that cannot trace, or not in every way: what is wrong, why it matters and what mends it is said, with exit code 3,
//! and the command is never started. `cargo xtask vm` runs these tests on other kernels too.
use clew_tests::{Certificate, Clew, Host, Kind, Lab, Plan, Span, free_port, has_tracepoint};

/// Since Linux 6.3.
const SOCKET: &str = "sock_send_length";
const SYSCALL_EVENTS: &str = "/sys/kernel/tracing/events/syscalls";

#[test]
fn no_type_information() {
    let Some(lab) = Lab::new("no_type_information") else {
        return;
    };
    Host::new(&lab).hiding("/sys/kernel/btf").refuses(
        &[],
        &[
            "/sys/kernel/btf/vmlinux",
            "to mend it: boot a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        ],
    );
}

#[test]
fn an_old_kernel() {
    let Some(lab) = Lab::new("an_old_kernel") else { return };
    let host = Host::new(&lab).telling("/proc/sys/kernel/osrelease", "4.19.0-27-cloud-amd64\n");
    host.refuses(
        &[],
        &["4.19.0-27", "need Linux 5.10", "to mend it: boot Linux 5.10 or later"],
    );
}

#[test]
fn a_kernel_before_the_socket_tracepoints() {
    let Some(lab) = Lab::new("a_kernel_before_the_socket_tracepoints") else {
        return;
    };
    if has_tracepoint(SOCKET) {
        lab.skip("this kernel has them; `cargo xtask vm` boots one that does not");
        return;
    }
    without_socket_tracepoint(&Host::new(&lab));
}

#[test]
fn no_socket_tracepoint() {
    let Some(lab) = Lab::new("no_socket_tracepoint") else {
        return;
    };
    without_socket_tracepoint(&Host::new(&lab).without_tracepoint(SOCKET));
}

/// `--capture socket` is refused; without it Clew captures at system calls.
fn without_socket_tracepoint(host: &Host<'_>) {
    host.refuses(&["--capture", "socket"], &[SOCKET, "Linux 6.3"]);
    let json = host.clew(&["doctor", "--json"]);
    assert_eq!(json.status.code(), Some(0), "{json:?}");
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(report["capture"], serde_json::json!(["syscall"]), "{report}");
    let run = host.clew(&["run", "--", "/bin/sh", "-c", "exit 7"]);
    assert_eq!(run.status.code(), Some(7), "{run:?}");
}

#[test]
fn no_process_tracepoint() {
    let Some(lab) = Lab::new("no_process_tracepoint") else {
        return;
    };
    Host::new(&lab)
        .without_tracepoint("sched_process_fork")
        .refuses(&[], &["sched_process_fork is absent", "to mend it: boot a kernel"]);
}

#[test]
fn no_system_call_tracepoints() {
    let Some(lab) = Lab::new("no_system_call_tracepoints") else {
        return;
    };
    mount_tracefs();
    let host = Host::new(&lab).hiding(SYSCALL_EVENTS);
    let words = [
        "the tracepoint sys_exit_read is absent",
        "to mend it: boot a kernel built with CONFIG_FTRACE_SYSCALLS=y",
    ];
    host.refuses(&["--capture", "syscall"], &words);
    if has_tracepoint(SOCKET) {
        let run = host.clew(&["run", "--", "/bin/sh", "-c", "exit 7"]);
        assert_eq!(run.status.code(), Some(7), "{run:?}");
    }
    let neither = host.without_tracepoint(SOCKET);
    neither.refuses(&[], &words);
}

#[test]
fn one_system_call_tracepoint_absent() {
    let Some(lab) = Lab::new("one_system_call_tracepoint_absent") else {
        return;
    };
    mount_tracefs();
    let host = Host::new(&lab).hiding(&format!("{SYSCALL_EVENTS}/sys_exit_recvmmsg"));
    host.refuses(
        &["--capture", "syscall"],
        &["sys_exit_recvmmsg", "to mend it: boot a kernel"],
    );
}

#[test]
fn lockdown() {
    const FILE: &str = "/sys/kernel/security/lockdown";
    let Some(lab) = Lab::new("lockdown") else { return };
    let words = ["confidentiality", "to mend it: boot without lockdown=confidentiality"];
    let host = Host::new(&lab).shell(&format!(
        "[ -e {FILE} ] || mount -t securityfs none /sys/kernel/security"
    ));
    let modes = std::fs::read_to_string(FILE).unwrap_or_default();
    if modes.contains("[confidentiality]") {
        host.refuses(&[], &words);
        // Also where nothing says so.
        let silent = Host::new(&lab).hiding("/sys/kernel/security");
        silent.refuses(&[], &words);
    } else {
        // The kernel only says so here; `cargo xtask vm` boots one that does so.
        host.telling(FILE, "none integrity [confidentiality]\n")
            .refuses(&[], &words);
    }
}

#[test]
fn root_without_capabilities() {
    let Some(lab) = Lab::new("root_without_capabilities") else {
        return;
    };
    Host::new(&lab)
        .setpriv(&["--bounding-set=-sys_admin,-bpf,-perfmon"])
        .refuses(
            &[],
            &[
                "root without CAP_BPF and CAP_PERFMON",
                "to mend it: start the container with --cap-add BPF",
            ],
        );
    Host::new(&lab)
        .setpriv(&["--bounding-set=-sys_admin,-perfmon"])
        .refuses(
            &[],
            &[
                "root without CAP_PERFMON",
                "to mend it: start the container with --cap-add PERFMON",
            ],
        );
}

#[test]
fn bpf_is_refused() {
    let Some(lab) = Lab::new("bpf_is_refused") else { return };
    let words = [
        "refuses to load programs",
        "to mend it: let the container's seccomp profile allow bpf(2)",
    ];
    Host::new(&lab).refusing_bpf(libc::EPERM).refuses(&[], &words);
    let words = [
        "has no bpf(2)",
        "to mend it: boot a kernel built with CONFIG_BPF_SYSCALL=y",
    ];
    Host::new(&lab).refusing_bpf(libc::ENOSYS).refuses(&[], &words);
}

#[test]
fn little_locked_memory() {
    let Some(lab) = Lab::new("little_locked_memory") else {
        return;
    };
    let counted =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| release.starts_with("5.10."));
    let host = Host::new(&lab)
        .shell("ulimit -l 64")
        .setpriv(&["--bounding-set=-sys_resource"]);
    if counted {
        let words = ["at most 65536 bytes", "to mend it: ulimit -l unlimited"];
        host.refuses(&[], &words);
    } else {
        // Since 5.11 maps are charged to the memory cgroup.
        let run = host.clew(&["run", "--", "/bin/sh", "-c", "exit 7"]);
        assert_eq!(run.status.code(), Some(7), "{run:?}");
    }
}

#[test]
fn tracefs_cannot_be_mounted() {
    let Some(lab) = Lab::new("tracefs_cannot_be_mounted") else {
        return;
    };
    let host = Host::new(&lab)
        .hiding("/sys/kernel/tracing")
        .hiding("/sys/kernel/debug")
        .setpriv(&["--bounding-set=-sys_admin"]);
    host.refuses(
        &["--capture", "syscall"],
        &["tracefs", "to mend it: mount -t tracefs none /sys/kernel/tracing"],
    );
    if has_tracepoint(SOCKET) {
        // Event loops are not followed then.
        let run = host.clew(&["run", "--", "/bin/sh", "-c", "exit 7"]);
        assert_eq!(run.status.code(), Some(7), "{run:?}");
    }
}

#[test]
fn another_user() {
    let Some(lab) = Lab::new("another_user") else { return };
    Host::new(&lab)
        .setpriv(&[
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
        ])
        .refuses(&[], &["not root", "to mend it: sudo clew"]);
}

#[test]
fn a_container_with_process_numbers_of_its_own() {
    let Some(lab) = Lab::new("a_container_with_process_numbers_of_its_own") else {
        return;
    };
    // busybox's unshare and util-linux's have these options in common.
    let inside = "exec unshare --pid --fork /bin/sh -c 'mount -t proc none /proc && \"$@\"' sh \"$@\"";
    Host::new(&lab).shell(inside).refuses(
        &[],
        &[
            "process numbers",
            "to mend it: start Clew on the host, or its container with --pid=host",
        ],
    );
}

#[test]
fn two_programs() {
    let Some(lab) = Lab::new("two_programs") else { return };
    let port = free_port();
    lab.file("answer", "an answer\n");
    let (home, at) = (lab.dir().display().to_string(), format!("127.0.0.1:{port}"));
    let url = format!("http://{at}/answer?id=1");
    let plan = Plan::default()
        .service(port, &["busybox", "httpd", "-f", "-p", &at, "-h", &home])
        .command(&["busybox", "wget", "-q", "-O", "/dev/null", &url]);
    let argv = plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive"));
    for capture in ["auto", "syscall"] {
        let out = Clew::run(&lab).args(&["--capture", capture]).traced(&argv);
        let (client, server) = (out.only(Kind::Client, "/answer"), out.only(Kind::Server, "/answer"));
        for span in [client, server] {
            out.check_span(
                span,
                &[
                    ("http.request.method", "GET"),
                    ("http.response.status_code", "200"),
                    ("http.response.body.size", "10"),
                    ("error.type", ""),
                ],
            );
        }
        out.check_eq(
            server.parent.as_deref(),
            Some(client.id.as_str()),
            "the server span's parent",
        );
        out.check_eq(&server.trace, &client.trace, "the trace");
    }
}

/// The kernel programs for goroutines are loaded only where a program of Go's runs.
#[test]
fn parents_in_go() {
    let Some(lab) = Lab::new("parents_in_go") else { return };
    let (h2, grpc) = (Lab::go_by("local", "h2", true), Lab::go_module("grpc", true));
    for (program, calls, paths) in [
        (h2, "", ["/a", "/b", "/long"]),
        (grpc, "/calls", ["/calls/a", "/calls/b", "/calls/stream"]),
    ] {
        let ports = [free_port(), free_port(), free_port()];
        let [front, middle, leaf] = ports.map(|port| port.to_string());
        let plan = Plan::default()
            .service(ports[2], &[&program, "leaf", &leaf])
            .env("OTEL_SERVICE_NAME", "leaf")
            .service(ports[1], &[&program, "middle", &middle, &leaf])
            .env("OTEL_SERVICE_NAME", "middle")
            .service(ports[0], &[&program, "front", &front, &middle])
            .env("OTEL_SERVICE_NAME", "front")
            .probed(&program)
            .command(&["busybox", "sleep", "3"])
            .load(ports[0], "/front", 1, 1);
        let out = Clew::run(&lab).traced(&plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive")));
        let middle = format!("{calls}/middle");
        let links = [("/front", &*middle)]
            .into_iter()
            .chain(paths.map(|path| (&*middle, path)));
        for (above, path) in links {
            let (server, client) = (out.only(Kind::Server, above), out.only(Kind::Client, path));
            out.check_eq(
                client.parent.as_ref(),
                Some(&server.id),
                &format!("the parent of {path}"),
            );
            out.check_span(client, &[("clew.parent.source", "goroutine")]);
        }
    }
}

/// The kernel programs for the time of tasks are loaded only where a program on Tokio runs.
#[test]
fn where_time_goes_in_rust() {
    let Some(lab) = Lab::new("where_time_goes_in_rust") else {
        return;
    };
    // What comes first is asked while an emulated machine still looks at the program.
    let out = Clew::run(&lab).traced(&[&Lab::rust("times-server"), "60", "sleep", "mutex"]);
    let mut told = 0;
    for path in ["/warm", "/sleep", "/mutex"] {
        for span in out.spans.at(Kind::Server, path) {
            let names = span.attributes.keys().filter(|name| name.starts_with("clew.time."));
            let parts: u64 = names.filter_map(|name| span.text(name).parse::<u64>().ok()).sum();
            let length = span.end - span.start;
            out.check(
                parts == 0 || parts.abs_diff(length) * 50 <= length,
                &format!("{parts} ns of {}, which takes {length}", span.brief()),
            );
            told += u64::from(parts != 0);
        }
    }
    out.check(told > 0, "where time went is told");
    let has = |path: &str, name: &str, least: u64| {
        let spans = out.spans.at(Kind::Server, path);
        spans
            .iter()
            .any(|span| span.text(name).parse().is_ok_and(|ns: u64| ns >= least))
    };
    out.check(has("/sleep", "clew.time.blocked.sleep", 195_000_000), "it slept");
    out.check(
        has("/mutex", "clew.time.blocked.lock", 395_000_000),
        "it waited for a lock",
    );
}

/// Each of 40 calls asks the server at the end of the chain, whose paths begin with `root`.
fn check_tonic(name: &str, command: &[&str], root: &str) {
    const CALLS: usize = 40;
    let Some(lab) = Lab::new(name) else {
        return;
    };
    let (program, calls) = (Lab::tonic(), CALLS.to_string());
    let mut argv = vec![program.as_str(), "within", &calls];
    argv.extend(command);
    let out = Clew::run(&lab).traced(&argv);
    let served = out.spans.at(Kind::Server, "/calls/middle");
    out.check_eq(served.len(), CALLS, "calls that were served");
    for path in ["a", "b", "c", "d", "last"].map(|method| format!("{root}/{method}")) {
        let asked = out.spans.at(Kind::Client, &path);
        out.check_eq(asked.len(), CALLS, &path);
        for client in asked {
            let parent = out.spans.parent(client).filter(|parent| parent.kind == Kind::Server);
            out.check_eq(
                parent.and_then(Span::number),
                client.number(),
                &format!("the request {} was sent for", client.brief()),
            );
            out.check_span(client, &[("clew.parent.source", "task")]);
        }
    }
}

/// hyper's server gives each stream a task of its own: what that and those it makes ask is asked for the request the stream brought.
#[test]
fn tonic_serves_streams() {
    check_tonic("tonic_serves_streams", &[], "");
}

/// What tasks ask over one connection is each their own, though one task opens the streams and another writes them.
#[test]
fn tonic_asks_on_streams() {
    check_tonic("tonic_asks_on_streams", &["all"], "/calls");
}

/// As Clew does when it traces; here it shall find it hidden.
fn mount_tracefs() {
    if !std::path::Path::new(SYSCALL_EVENTS).exists() {
        let mount = std::process::Command::new("mount")
            .args(["-t", "tracefs", "none", "/sys/kernel/tracing"])
            .status();
        assert!(mount.is_ok_and(|status| status.success()), "tracefs cannot be mounted");
    }
}

/// The kernel programs for TLS are loaded only where a library is used. What a verifier makes of them differs from kernel to kernel.
#[test]
fn plaintext_of_openssl() {
    let Some(lab) = Lab::new("plaintext_of_openssl") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    let port = free_port();
    let accept = port.to_string();
    let server = [
        "openssl",
        "s_server",
        "-www",
        "-accept",
        &accept,
        "-cert",
        certificate.file(),
        "-key",
        certificate.key(),
    ];
    let url = format!("https://127.0.0.1:{port}/");
    let plan = Plan::default().service(port, &server).command(&[
        "curl",
        "--silent",
        "--fail",
        "--insecure",
        "--output",
        "/dev/null",
        &url,
    ]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive")));
    let (client, server) = (out.only(Kind::Client, "/"), out.only(Kind::Server, "/"));
    out.check_eq(server.parent.as_ref(), Some(&client.id), "the server's parent");
    for span in [client, server] {
        out.check_span(span, &[("http.response.status_code", "200"), ("url.scheme", "https")]);
    }
    out.check_eq(out.counter("capture.user_fault"), 0, "capture.user_fault");
}

/// The kernel encrypts for the server, whose library hands it plaintext: what the socket carries is told once, and joined with what a
/// client says that encrypts by itself.
#[test]
fn plaintext_that_the_kernel_encrypts() {
    let Some(lab) = Lab::new("plaintext_that_the_kernel_encrypts") else {
        return;
    };
    let offered = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
    if !offered.split_whitespace().any(|name| name == "tls") {
        lab.skip("this kernel encrypts nothing; `cargo xtask vm` boots some that do");
        return;
    }
    let certificate = Certificate::new(&lab);
    let config = "openssl_conf = all\n[all]\nssl_conf = modules\n[modules]\nsystem_default = sessions\n[sessions]\nOptions = KTLS\n";
    let config = format!("OPENSSL_CONF={}", lab.file("kernel.cnf", config).display());
    lab.file("page", &PAGE.repeat(2000));
    let whole = (2000 * PAGE.len()).to_string();
    for (version, answers, path, size) in [
        ("-tls1_2", &["-www"][..], "/", None),
        ("-tls1_3", &["-www"], "/", None),
        // The kernel takes it from the file.
        ("-tls1_3", &["-WWW", "-sendfile"], "/page", Some(&whole)),
    ] {
        let port = free_port();
        let accept = port.to_string();
        let server = ["env", &config, "openssl", "s_server", version, "-accept", &accept];
        let files = ["-cert", certificate.file(), "-key", certificate.key()];
        let url = format!("https://127.0.0.1:{port}{path}");
        let client = ["curl", "-sf", "--insecure", "--http1.1", "-o", "/dev/null", &url];
        let plan = Plan::default()
            .service(port, &[&server[..], answers, &files].concat())
            .command(&client);
        let before = encrypted_by_kernel();
        let out = Clew::run(&lab).traced(&plan.argv(&lab, env!("CARGO_BIN_EXE_clew-drive")));
        out.check(encrypted_by_kernel() > before, "the kernel encrypted");
        let (client, server) = (out.only(Kind::Client, path), out.only(Kind::Server, path));
        out.check_eq(out.spans.0.len(), 2, "number of spans");
        out.check_eq(server.parent.as_ref(), Some(&client.id), "the server's parent");
        for span in [client, server] {
            let version = version.replace("-tls1_", "1.");
            out.check_span(
                span,
                &[
                    ("http.response.status_code", "200"),
                    ("url.scheme", "https"),
                    ("tls.protocol.version", &version),
                    ("tls.established", "true"),
                    ("clew.encrypted", ""),
                ],
            );
        }
        let body = |span: &clew_tests::Span| span.text("http.response.body.size");
        out.check_eq(body(client), body(server), "the body");
        if let Some(size) = size {
            out.check_eq(&body(server), size, "the body");
        }
        for counter in [
            "tls.tie_conflict",
            "tls.untied",
            "stream.gap_timeout",
            "protocol.tls.resync",
        ] {
            out.check_eq(out.counter(counter), 0, counter);
        }
    }
}

/// What lies in a file, many times.
const PAGE: &str = "a line of a page\n";

/// Connections that the kernel has encrypted for so far (`Documentation/networking/tls.rst`).
fn encrypted_by_kernel() -> u64 {
    let text = std::fs::read_to_string("/proc/net/tls_stat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("TlsTxSw"));
    line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

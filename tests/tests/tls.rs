//! Connections encrypted by a library: what passes them is seen as if it were plain.
use clew_tests::{Certificate, Clew, Kind, Lab, Outcome, Plan, free_port, nginx_tls};

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

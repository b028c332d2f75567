//! Real servers and clients.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Span, free_port, nginx, php_fpm};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

fn carry_out(lab: &Lab, plan: &Plan) -> Outcome {
    Clew::run(lab).traced(&plan.argv(lab, DRIVE))
}

/// A server alone, asked by curl: both spans, and what they say.
fn check_server(test: &str, service: &str, flavor: &str, argv: impl Fn(&Lab, u16) -> Vec<String>) {
    let Some(lab) = Lab::new(test) else { return };
    let port = free_port();
    let argv = argv(&lab, port);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let url = format!("http://127.0.0.1:{port}/hello?id=1");
    let plan = Plan::default().service(port, &argv).command(&[
        "/usr/bin/curl",
        "-sSf",
        "-A",
        "curl-test",
        "-o",
        "/dev/null",
        &url,
    ]);
    let out = carry_out(&lab, &plan);
    let (client, server) = (out.only(Kind::Client, "/hello"), out.only(Kind::Server, "/hello"));
    let port = port.to_string();
    out.check_span(
        client,
        &[
            ("http.request.method", "GET"),
            ("url.full", &url),
            ("http.response.status_code", "200"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port),
            ("network.protocol.version", "1.1"),
            ("error.type", ""),
        ],
    );
    out.check_span(
        server,
        &[
            ("http.request.method", "GET"),
            ("url.path", "/hello"),
            ("url.query", "id=1"),
            ("url.scheme", "http"),
            ("http.response.status_code", "200"),
            ("user_agent.original", "curl-test"),
            ("server.port", &port),
            ("client.address", "127.0.0.1"),
            ("error.type", ""),
        ],
    );
    out.check_eq(client.service().as_str(), "curl", "service of the client");
    out.check_eq(server.service().as_str(), service, "service of the server");
    out.check(
        server.resource("process.pid").parse::<u32>().is_ok(),
        "process.pid of the server",
    );
    if !flavor.is_empty() {
        let got = server.resource("process.runtime.name");
        out.check_eq(got.as_str(), flavor, "process.runtime.name");
    }
    out.check_eq(server.parent.as_ref(), Some(&client.id), "the server span's parent");
    out.check_eq(client.parent.as_ref(), None, "the client span's parent");
    out.check(client.start <= server.start, "the client starts first");
    out.check(
        server.start <= server.end && client.start <= client.end,
        "spans end after they start",
    );
    out.check_eq(out.spans.0.len(), 2, "number of spans");
}

#[test]
fn nginx_static() {
    check_server("nginx_static", "nginx", "", |lab, port| {
        std::fs::write(lab.dir().join("hello"), "hello\n").expect("write a page");
        nginx(lab, port, &format!("root {}; sendfile on;", lab.dir().display()), "")
    });
}

#[test]
fn python_http_server() {
    check_server("python_http_server", "threaded", "", |_, port| {
        vec![
            "/usr/bin/python3".to_owned(),
            Lab::workload("python/threaded.py"),
            port.to_string(),
        ]
    });
}

#[test]
fn flask_on_gunicorn() {
    check_server("flask_on_gunicorn", "flask_app", "", |_, port| gunicorn(port));
}

#[test]
fn node_http() {
    check_server("node_http", "server", "", |_, port| {
        vec!["node".to_owned(), Lab::workload("node/server.js"), port.to_string()]
    });
}

#[test]
fn go_net_http() {
    check_server("go_net_http", "go-server", "", |_, port| {
        vec![Lab::go("server"), port.to_string()]
    });
}

#[test]
fn service_name_of_the_target() {
    let Some(lab) = Lab::new("service_name_of_the_target") else {
        return;
    };
    let port = free_port();
    let plan = Plan::default()
        .service(
            port,
            &[
                "/usr/bin/python3",
                &Lab::workload("python/threaded.py"),
                &port.to_string(),
            ],
        )
        .env("OTEL_SERVICE_NAME", "shop")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .load(port, "/named", 1, 1);
    let out = carry_out(&lab, &plan);
    let server = out.only(Kind::Server, "/named");
    out.check_eq(server.service().as_str(), "shop", "service.name");
    out.check_eq(
        server.resource("deployment.environment.name").as_str(),
        "test",
        "a resource attribute",
    );
}

fn gunicorn(port: u16) -> Vec<String> {
    let dir = Lab::workload("python/flask_app.py").replace("/flask_app.py", "");
    let bind = format!("127.0.0.1:{port}");
    let gunicorn = Lab::python("gunicorn");
    [
        gunicorn.as_str(),
        "-k",
        "gthread",
        "-w",
        "1",
        "--threads",
        "64",
        "-b",
        &bind,
        "--chdir",
        &dir,
        "--keep-alive",
        "30",
        "--log-level",
        "warning",
        "flask_app:app",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Load, then nginx as a reverse proxy, then a backend: one trace each, the right parents, under concurrency.
fn check_proxy(test: &str, location: impl Fn(u16) -> (String, String)) {
    let Some(lab) = Lab::new(test) else { return };
    let (front, back) = (free_port(), free_port());
    let (location, extra) = location(back);
    let proxy = nginx(&lab, front, &format!("location / {{ {location} }}"), &extra);
    let proxy: Vec<&str> = proxy.iter().map(String::as_str).collect();
    let plan = Plan::default()
        .service(
            back,
            &[
                "/usr/bin/python3",
                &Lab::workload("python/threaded.py"),
                &back.to_string(),
            ],
        )
        .env("DELAY", "1")
        .service(front, &proxy)
        .load(front, "/shop", 200, 16);
    let out = carry_out(&lab, &plan);
    out.check_chains(
        200,
        &[
            "client clew-drive /shop",
            "server nginx /shop",
            "client nginx /shop",
            "server threaded /shop",
        ],
    );
    out.check_eq(out.spans.0.len(), 800, "number of spans");
}

#[test]
fn nginx_proxy_with_kept_upstreams() {
    check_proxy("nginx_proxy_with_kept_upstreams", |back| {
        let location = "proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection '';".to_owned();
        (
            location,
            format!("upstream back {{ server 127.0.0.1:{back}; keepalive 32; }}"),
        )
    });
}

#[test]
fn nginx_proxy_with_an_upstream_each() {
    check_proxy("nginx_proxy_with_an_upstream_each", |back| {
        (format!("proxy_pass http://127.0.0.1:{back};"), String::new())
    });
}

/// nginx with two upstream servers, the first of which is dead in some way: whatever is tried twice belongs to the request it
/// was tried for, or to nothing that is known. `exact` is whether nginx sees the failure in an operation of its own.
fn check_next_upstream(test: &str, how: &str, exact: bool) {
    const REQUESTS: u64 = 100;
    let Some(lab) = Lab::new(test) else { return };
    let (front, back, dead) = (free_port(), free_port(), free_port());
    let upstream =
        format!("upstream back {{ server 127.0.0.1:{dead} max_fails=0; server 127.0.0.1:{back} max_fails=0; }}");
    let location = "location / { proxy_pass http://back; proxy_read_timeout 300ms; }";
    let proxy = nginx(&lab, front, location, &upstream);
    let proxy: Vec<&str> = proxy.iter().map(String::as_str).collect();
    let mut plan = Plan::default()
        .service(
            back,
            &[
                "/usr/bin/python3",
                &Lab::workload("python/threaded.py"),
                &back.to_string(),
            ],
        )
        .env("DELAY", "1");
    if how != "refuse" {
        let argv = [
            "/usr/bin/python3",
            &Lab::workload("python/dead.py"),
            &dead.to_string(),
            how,
        ];
        plan = plan.service(dead, &argv);
    }
    let out = carry_out(&lab, &plan.service(front, &proxy).load(front, "/shop", REQUESTS, 8));
    out.check_no_wrong_links();
    let calls = out
        .spans
        .filter(|span| span.kind == Kind::Client && span.service() == "nginx");
    let (answered, failed): (Vec<&Span>, Vec<&Span>) = calls.iter().copied().partition(|span| span.code() == "200");
    out.check_eq(answered.len() as u64, REQUESTS, "calls with an answer");
    let tried_twice = how != "refuse";
    out.check_eq(
        failed.len() as u64 >= REQUESTS / 4,
        tried_twice,
        "there are calls without an answer",
    );
    let missing = calls.iter().filter(|span| span.parent.is_none()).count() as u64;
    out.check_eq(
        out.counter("causality.unknown.upstream"),
        missing,
        "links that are missing, counted",
    );
    out.check(!exact || missing == 0, "a link is missing");
}

#[test]
fn nginx_next_upstream_when_one_refuses() {
    check_next_upstream("nginx_next_upstream_when_one_refuses", "refuse", false);
}

#[test]
fn nginx_next_upstream_when_one_closes() {
    check_next_upstream("nginx_next_upstream_when_one_closes", "close", true);
}

#[test]
fn nginx_next_upstream_when_one_resets() {
    check_next_upstream("nginx_next_upstream_when_one_resets", "reset", true);
}

#[test]
fn nginx_next_upstream_when_one_is_too_slow() {
    check_next_upstream("nginx_next_upstream_when_one_is_too_slow", "hang", false);
}

#[test]
fn php_fpm_behind_nginx() {
    const REQUESTS: u64 = 60;
    let Some(lab) = Lab::new("php_fpm_behind_nginx") else {
        return;
    };
    let (leaf, php, front) = (free_port(), free_port(), free_port());
    // A process is bound to the connection it has accepted: of those that nginx keeps there may be no more.
    let fpm = php_fpm(&lab, php, "php/front.php", 12);
    let locations = format!(
        "location / {{ {} }} location /kept {{ fastcgi_keep_conn on; {} }} location /fail {{ {} }}",
        fpm.location(&format!("unix:{}", fpm.socket)),
        fpm.location("php"),
        fpm.location(&format!("unix:{}", fpm.socket)),
    );
    let upstream = format!("upstream php {{ server 127.0.0.1:{php}; keepalive 12; }}");
    let proxy = nginx(&lab, front, &locations, &upstream);
    let fpm_argv: Vec<&str> = fpm.argv.iter().map(String::as_str).collect();
    let proxy: Vec<&str> = proxy.iter().map(String::as_str).collect();
    let plan = Plan::default()
        .service(leaf, &[&Lab::go("server"), &leaf.to_string()])
        .service(php, &fpm_argv)
        .env("NEXT", &format!("{leaf}/leaf"))
        .env("OTEL_SERVICE_NAME", "php")
        .service(front, &proxy)
        .rested()
        .load(front, "/front", REQUESTS, 12)
        .load(front, "/kept", REQUESTS, 12)
        .command(&[
            "curl",
            "-s",
            "-o",
            "/dev/null",
            &format!("http://127.0.0.1:{front}/fail?id=[1-3]"),
        ]);
    let out = carry_out(&lab, &plan);
    for path in ["/front", "/kept"] {
        for number in 1..=REQUESTS {
            let of = |kind: Kind, service: &str, path: &str, below: &Span| -> &Span {
                let found = out.spans.filter(|span| {
                    span.kind == kind
                        && span.service() == service
                        && span.path() == path
                        && span.number() == Some(number)
                        && span.parent.as_ref() == Some(&below.id)
                });
                let [span] = found.as_slice() else {
                    out.fail(&format!("{} {kind:?} spans of {service} {path} {number}", found.len()));
                };
                span
            };
            let asks = out
                .spans
                .filter(|span| span.service() == "clew-drive" && span.path() == path && span.number() == Some(number));
            let [asked] = asks.as_slice() else {
                out.fail(&format!("{} requests {path} {number}", asks.len()));
            };
            let served = of(Kind::Server, "nginx", path, asked);
            let passed = of(Kind::Client, "nginx", path, served);
            let script = of(Kind::Server, "php", path, passed);
            for span in [passed, script] {
                out.check_span(
                    span,
                    &[
                        ("network.protocol.name", "fastcgi"),
                        ("network.transport", if path == "/kept" { "tcp" } else { "unix" }),
                        ("http.request.method", "GET"),
                        ("http.response.status_code", "200"),
                        ("clew.exchange.outcome", ""),
                        ("error.type", ""),
                    ],
                );
            }
            out.check_span(
                script,
                &[
                    ("code.file.path", &Lab::workload("php/front.php")),
                    ("client.address", "127.0.0.1"),
                ],
            );
            for call in ["/leaf", "/again"] {
                let call_span = of(Kind::Client, "php", call, script);
                of(Kind::Server, "go-server", call, call_span);
            }
        }
    }
    let failed = out
        .spans
        .filter(|span| span.service() == "php" && span.path() == "/fail");
    out.check_eq(failed.len(), 3, "requests that fail");
    for span in failed {
        out.check_span(span, &[("http.response.status_code", "500"), ("error.type", "500")]);
        out.check_eq(span.status, 2, "status");
    }
    // What is told is what was asked, and nothing else.
    let all = 2 * REQUESTS * 8 + 3 * 4;
    out.check_eq(out.spans.0.len() as u64, all, "number of spans");
}

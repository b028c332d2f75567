//! Calls to real databases, below the requests that made them.
use clew_tests::{
    Certificate, Clew, Kind, Lab, Outcome, Plan, Postgresql, Span, ferretdb, free_port, mariadb, postgresql,
    postgresql_tls, redis,
};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 120;
const CONCURRENCY: u64 = 24;

/// Spans below a span, in the order in which they began.
fn below<'a>(out: &'a Outcome, parent: &Span) -> Vec<&'a Span> {
    let mut found = out
        .spans
        .filter(|span| span.parent.as_ref() == Some(&parent.id) && span.trace == parent.trace);
    found.sort_by_key(|span| span.start);
    found
}

/// The server's span of a request with this number.
#[track_caller]
fn request(out: &Outcome, path: &str, number: u64) -> Span {
    let found = out
        .spans
        .filter(|span| span.kind == Kind::Server && span.path() == path && span.number() == Some(number));
    match found.as_slice() {
        [one] => (*one).clone(),
        found => out.fail(&format!("{} server spans of request {number}", found.len())),
    }
}

fn with_postgresql(lab: &Lab, loads: impl FnOnce(Plan, u16) -> Plan, args: &[&str]) -> Outcome {
    with_server(lab, loads, args, postgresql)
}

fn with_server(
    lab: &Lab,
    loads: impl FnOnce(Plan, u16) -> Plan,
    args: &[&str],
    server: impl FnOnce(&Lab, u16) -> Postgresql,
) -> Outcome {
    let (database, front) = (free_port(), free_port());
    let server = server(lab, database);
    let argv: Vec<&str> = server.argv.iter().map(String::as_str).collect();
    let app = Lab::workload("python/database_app.py");
    let plan = Plan::default()
        .service(database, &argv)
        .service(front, &[&Lab::python("python"), &app, &front.to_string(), &server.dsn])
        .rested();
    Clew::run(lab).args(args).traced(&loads(plan, front).argv(lab, DRIVE))
}

#[test]
fn postgresql_through_a_shared_pool() {
    let Some(lab) = Lab::new("postgresql_through_a_shared_pool") else {
        return;
    };
    through_a_shared_pool(&lab, postgresql);
}

/// The client's OpenSSL is part of its package, under a name of its own; the server's is the system's. TLS begins when they have agreed
/// to in plain.
#[test]
fn postgresql_over_tls() {
    let Some(lab) = Lab::new("postgresql_over_tls") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    let out = through_a_shared_pool(&lab, |lab, port| postgresql_tls(lab, port, &certificate));
    for counter in ["tls.untied", "tls.tie_conflict", "tls.call_unknown"] {
        out.check_eq(out.counter(counter), 0, counter);
    }
}

fn through_a_shared_pool(lab: &Lab, server: impl FnOnce(&Lab, u16) -> Postgresql) -> Outcome {
    let load = |plan: Plan, front| plan.load(front, "/front", REQUESTS, CONCURRENCY);
    let out = with_server(lab, load, &["--db-values"], server);
    for number in 1..=REQUESTS {
        let front = request(&out, "/front", number);
        let calls = below(&out, &front);
        let names: Vec<&str> = calls
            .iter()
            .map(|span| span.name.as_str())
            .filter(|name| !name.starts_with("PREPARE"))
            .collect();
        out.check_eq(
            names,
            vec!["BEGIN", "INSERT items", "SELECT items", "UPDATE items", "COMMIT"],
            &format!("calls of request {number}"),
        );
        let transaction = calls.first().map(|span| span.text("clew.db.transaction.id"));
        for call in &calls {
            out.check_span(
                call,
                &[
                    ("db.system.name", "postgresql"),
                    ("db.namespace", "shop"),
                    ("server.address", "127.0.0.1"),
                    ("error.type", ""),
                    ("clew.parent.source", "thread"),
                    ("clew.db.transaction.id", transaction.as_deref().unwrap_or("?")),
                ],
            );
            // The server sees the same call, and is joined with the client.
            let ends = below(&out, call);
            out.check_eq(ends.len(), 1, "server spans of a call");
            for end in ends {
                out.check_eq(
                    (end.kind, end.name.as_str(), end.service().as_str()),
                    (Kind::Server, call.name.as_str(), "postgres"),
                    "the server's end",
                );
            }
        }
        let of = |name: &str| calls.iter().find(|span| span.name == name);
        let name = format!("item {number}");
        for (call, want) in [
            (
                "SELECT items",
                vec![
                    ("db.query.text", "SELECT name FROM items WHERE name = $1"),
                    ("db.query.parameter.0", name.as_str()),
                    ("db.response.returned_rows", "1"),
                    ("db.operation.name", "SELECT"),
                    ("db.collection.name", "items"),
                ],
            ),
            (
                "UPDATE items",
                vec![
                    ("clew.db.query.normalized", "UPDATE items SET name = ? WHERE name = ?"),
                    ("clew.db.response.affected_rows", "1"),
                ],
            ),
        ] {
            out.check_span(of(call).expect("it is among them"), &want);
        }
    }
    let pending = out.spans.filter(|span| !span.text("clew.exchange.outcome").is_empty());
    out.check(pending.is_empty(), "calls without an answer");
    out
}

#[test]
fn values_are_hidden_and_errors_told() {
    let Some(lab) = Lab::new("values_are_hidden_and_errors_told") else {
        return;
    };
    let load = |plan: Plan, front| plan.load(front, "/front", 3, 1).load(front, "/fail", 3, 1);
    let out = with_postgresql(&lab, load, &[]);
    for number in 1..=3 {
        let calls = request(&out, "/fail", number);
        let calls = below(&out, &calls);
        out.check_eq(calls.len(), 1, "calls of a request that fails");
        for call in calls {
            out.check_eq(call.name.as_str(), "SELECT missing", "name");
            out.check_eq(call.status, 2, "status");
            out.check_span(
                call,
                &[
                    ("db.query.text", "SELECT * FROM missing WHERE name = ?"),
                    ("db.response.status_code", "42P01"),
                    ("error.type", "42P01"),
                ],
            );
        }
    }
    let shows = |span: &&Span| {
        span.attributes
            .iter()
            .any(|(key, value)| key.starts_with("db.") && value.to_string().contains("item "))
    };
    out.check(!out.spans.0.iter().any(|span| shows(&span)), "a value is shown");
}

fn with_mariadb(
    lab: &Lab,
    certificate: Option<&Certificate>,
    loads: impl FnOnce(Plan, u16) -> Plan,
    args: &[&str],
) -> Outcome {
    let (database, front) = (free_port(), free_port());
    let argv = mariadb(lab, database, certificate);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let app = Lab::workload("python/mysql_app.py");
    let how = if certificate.is_some() { "TLS" } else { "PLAIN" };
    let ports = [front.to_string(), database.to_string()];
    let plan = Plan::default()
        .service(database, &argv)
        .service(front, &[&Lab::python("python"), &app, &ports[0], &ports[1], how])
        .rested();
    Clew::run(lab).args(args).traced(&loads(plan, front).argv(lab, DRIVE))
}

/// The statements of requests to mysql_app.py: each is below its request, in its transaction, and joined with the server.
fn mariadb_statements(out: &Outcome, requests: u64, system: &str) {
    for number in 1..=requests {
        let front = request(out, "/front", number);
        // The client prepares and resets statements, and asks how the server reads texts.
        const BETWEEN: [&str; 4] = ["PREPARE shop", "RESET STMT shop", "PING shop", "SELECT"];
        let calls: Vec<&Span> = below(out, &front)
            .into_iter()
            .filter(|span| !BETWEEN.contains(&span.name.as_str()))
            .collect();
        let names: Vec<&str> = calls.iter().map(|span| span.name.as_str()).collect();
        out.check_eq(
            names,
            vec!["BEGIN", "INSERT items", "SELECT items", "UPDATE items", "COMMIT"],
            &format!("calls of request {number}"),
        );
        let transaction = calls.first().map(|span| span.text("clew.db.transaction.id"));
        out.check(transaction.as_ref().is_some_and(|id| !id.is_empty()), "a transaction");
        for call in &calls {
            out.check_span(
                call,
                &[
                    ("db.system.name", system),
                    ("db.namespace", "shop"),
                    ("server.address", "127.0.0.1"),
                    ("error.type", ""),
                    ("clew.db.transaction.id", transaction.as_deref().unwrap_or("?")),
                ],
            );
            let ends = below(out, call);
            out.check_eq(ends.len(), 1, "server spans of a call");
            for end in ends {
                out.check_eq(
                    (end.kind, end.name.as_str(), end.service().as_str()),
                    (Kind::Server, call.name.as_str(), "mariadbd"),
                    "the server's end",
                );
            }
        }
        let name = format!("item {number}");
        for (call, want) in calls.iter().skip(1).zip([
            vec![("clew.db.response.affected_rows", "1")],
            vec![
                ("db.query.text", "SELECT name FROM items WHERE name = ?"),
                ("db.query.parameter.0", name.as_str()),
                ("db.response.returned_rows", "1"),
                ("clew.db.prepared", "true"),
            ],
            vec![
                ("clew.db.query.normalized", "UPDATE items SET name = ? WHERE name = ?"),
                ("clew.db.response.affected_rows", "1"),
            ],
        ]) {
            out.check_span(call, &want);
        }
    }
    let pending = out.spans.filter(|span| !span.text("clew.exchange.outcome").is_empty());
    out.check(pending.is_empty(), "calls without an answer");
}

#[test]
fn mariadb_through_a_shared_pool() {
    let Some(lab) = Lab::new("mariadb_through_a_shared_pool") else {
        return;
    };
    let load = |plan: Plan, front| plan.load(front, "/front", 60, 12);
    let out = with_mariadb(&lab, None, load, &["--db-values"]);
    mariadb_statements(&out, 60, "mariadb");
}

#[test]
fn mariadb_over_tls() {
    let Some(lab) = Lab::new("mariadb_over_tls") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    let load = |plan: Plan, front| plan.load(front, "/front", 20, 4);
    let out = with_mariadb(&lab, Some(&certificate), load, &["--db-values"]);
    // The greeting came before encryption.
    mariadb_statements(&out, 20, "mysql");
}

#[test]
fn mariadb_hides_values_and_tells_errors() {
    let Some(lab) = Lab::new("mariadb_hides_values_and_tells_errors") else {
        return;
    };
    let load = |plan: Plan, front| plan.load(front, "/front", 3, 1).load(front, "/fail", 3, 1);
    let out = with_mariadb(&lab, None, load, &[]);
    for number in 1..=3 {
        let calls = request(&out, "/fail", number);
        let calls = below(&out, &calls);
        out.check_eq(calls.len(), 1, "calls of a request that fails");
        for call in calls {
            out.check_eq(call.name.as_str(), "SELECT missing", "name");
            out.check_eq(call.status, 2, "status");
            out.check_span(
                call,
                &[
                    ("db.query.text", "SELECT * FROM missing WHERE name = ?"),
                    ("db.response.status_code", "1146"),
                    ("clew.db.response.sqlstate", "42S02"),
                    ("error.type", "1146"),
                ],
            );
        }
    }
    let shows = |span: &&Span| {
        span.attributes
            .iter()
            .any(|(key, value)| key.starts_with("db.") && value.to_string().contains("item "))
    };
    out.check(!out.spans.0.iter().any(|span| shows(&span)), "a value is shown");
}

#[test]
fn redis_through_a_shared_pool() {
    let Some(lab) = Lab::new("redis_through_a_shared_pool") else {
        return;
    };
    let (database, front) = (free_port(), free_port());
    let argv = redis(&lab, database);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let app = Lab::workload("python/redis_app.py");
    let ports = [front.to_string(), database.to_string()];
    let plan = Plan::default()
        .service(database, &argv)
        .service(front, &[&Lab::python("python"), &app, &ports[0], &ports[1]])
        .rested()
        .load(front, "/front", REQUESTS, CONCURRENCY);
    let out = Clew::run(&lab).args(&["--db-values"]).traced(&plan.argv(&lab, DRIVE));
    for number in 1..=REQUESTS {
        let front = request(&out, "/front", number);
        // A connection's first calls say who the client is.
        let calls: Vec<&Span> = below(&out, &front)
            .into_iter()
            .filter(|span| !span.text("db.operation.name").starts_with("CLIENT "))
            .collect();
        let key = format!("item:{number}");
        let texts: Vec<String> = calls.iter().map(|span| span.text("db.query.text")).collect();
        let want = [
            &format!("SET {key} {number}"),
            &format!("GET {key}"),
            "GET missing",
            "",
            &format!("INCRBY {key} 1"),
            "",
            &format!("LPUSH {key} no list"),
        ];
        let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        // Calls of one pipeline begin at the same time.
        let mut want = want.to_vec();
        texts.sort_unstable();
        want.sort_unstable();
        out.check_eq(texts, want, &format!("calls of request {number}"));
        for call in calls {
            let fails = call.text("db.operation.name") == "LPUSH";
            let in_transaction = matches!(call.text("db.operation.name").as_str(), "MULTI" | "INCRBY" | "EXEC");
            out.check_span(
                call,
                &[
                    ("db.system.name", "redis"),
                    ("db.namespace", "0"),
                    ("error.type", if fails { "WRONGTYPE" } else { "" }),
                    ("db.response.status_code", if fails { "WRONGTYPE" } else { "" }),
                ],
            );
            out.check_eq(
                !call.text("clew.db.transaction.id").is_empty(),
                in_transaction,
                &format!("the transaction of {}", call.name),
            );
            out.check_eq(below(&out, call).len(), 1, "server spans of a call");
        }
    }
}

#[test]
fn memcached_in_text_and_binary() {
    let Some(lab) = Lab::new("memcached_in_text_and_binary") else {
        return;
    };
    let (cache, front) = (free_port(), free_port());
    let ports = [front.to_string(), cache.to_string()];
    let app = Lab::workload("python/memcached_app.py");
    let server = [
        "memcached",
        "-l",
        "127.0.0.1",
        "-p",
        &ports[1],
        "-U",
        "0",
        "-u",
        "nobody",
    ];
    let plan = Plan::default()
        .service(cache, &server)
        .service(front, &[&Lab::python("python"), &app, &ports[0], &ports[1]])
        .rested()
        .load(front, "/front", REQUESTS, CONCURRENCY);
    let out = Clew::run(&lab).args(&["--db-values"]).traced(&plan.argv(&lab, DRIVE));
    for number in 1..=REQUESTS {
        let front = request(&out, "/front", number);
        let calls = below(&out, &front);
        let mut told: Vec<String> = calls
            .iter()
            .map(|call| {
                let of = |key: &str| call.text(key);
                format!(
                    "{} rows {} status {} error {}",
                    of("db.query.text"),
                    of("db.response.returned_rows"),
                    of("db.response.status_code"),
                    of("error.type")
                )
            })
            .collect();
        let (item, digits) = (format!("item:{number}"), number.to_string().len());
        let mut want = vec![
            format!("set {item} 0 0 {digits} rows  status  error "),
            format!("get {item} missing rows 1 status  error "),
            "set word 0 0 4 rows  status  error ".to_owned(),
            "incr word 1 rows  status CLIENT_ERROR error CLIENT_ERROR".to_owned(),
            format!("set a:{number} rows  status  error "),
            format!("set b:{number} rows  status  error "),
            " rows  status  error ".to_owned(),
            format!("get a:{number} rows 1 status  error "),
            "get missing rows 0 status  error ".to_owned(),
            format!("get b:{number} rows 1 status  error "),
            "get missing rows 0 status KEY_ENOENT error ".to_owned(),
        ];
        told.sort_unstable();
        want.sort_unstable();
        out.check_eq(told, want, &format!("calls of request {number}"));
        for call in calls {
            out.check_span(
                call,
                &[("db.system.name", "memcached"), ("server.address", "127.0.0.1")],
            );
            let ends = below(&out, call);
            out.check_eq(ends.len(), 1, "server spans of a call");
            for end in ends {
                let services = (end.kind, end.name.as_str(), end.service());
                out.check_eq(
                    services,
                    (Kind::Server, call.name.as_str(), "memcached".to_owned()),
                    "the server's end",
                );
            }
        }
    }
    let pending = out.spans.filter(|span| !span.text("clew.exchange.outcome").is_empty());
    out.check(pending.is_empty(), "calls without an answer");
}

/// What the driver writes, a thread of its own writes, so that it has no parent; both ends of each call are one span each all the same,
/// though many are under way at once on one connection.
#[test]
fn cassandra_on_a_shared_connection() {
    let Some(lab) = Lab::new("cassandra_on_a_shared_connection") else {
        return;
    };
    let Some(cassandra) = lab.cassandra() else { return };
    let (database, front) = (free_port(), free_port());
    let app = Lab::workload("python/cassandra_app.py");
    let ports = [front.to_string(), database.to_string()];
    let plan = Plan::default()
        .cassandra(&lab, &cassandra, database)
        .service(front, &[&Lab::python("python"), &app, &ports[0], &ports[1]])
        .rested()
        .load(front, "/front", REQUESTS, CONCURRENCY)
        .load(front, "/fail", 3, 1);
    let out = Clew::run(&lab).args(&["--db-values"]).traced(&plan.argv(&lab, DRIVE));
    let check = |text: &str, name: &str, times: usize, want: &[(&str, &str)]| {
        let of = |kind: Kind| {
            out.spans
                .filter(|span| span.kind == kind && span.text("db.query.text") == text)
        };
        let calls = of(Kind::Client);
        out.check_eq(calls.len(), times, &format!("calls of {text}"));
        out.check_eq(of(Kind::Server).len(), times, &format!("server spans of {text}"));
        for call in calls {
            out.check_eq(call.name.as_str(), name, "name of a call");
            let ends = below(&out, call);
            out.check_eq(ends.len(), 1, "server spans of a call");
            for end in [&[call][..], &ends].concat() {
                out.check_span(end, &[("db.system.name", "cassandra"), ("db.namespace", "shop")]);
                out.check_span(end, want);
            }
        }
    };
    for number in 1..=REQUESTS {
        let insert = format!("INSERT INTO items (id, name) VALUES ({number}, 'item {number}')");
        check(
            &insert,
            "INSERT items",
            1,
            &[("cassandra.consistency.level", "local_one"), ("error.type", "")],
        );
        check(
            &format!("SELECT name FROM items WHERE id = {number}"),
            "SELECT items",
            1,
            &[("db.response.returned_rows", "1"), ("db.collection.name", "items")],
        );
    }
    check(
        "UPDATE items SET name = ? WHERE id = ?",
        "UPDATE items",
        usize::try_from(REQUESTS).expect("few"),
        &[("clew.db.prepared", "true"), ("cassandra.consistency.level", "quorum")],
    );
    check(
        "SELECT nothing FROM items",
        "SELECT items",
        3,
        &[("db.response.status_code", "0x2200"), ("error.type", "0x2200")],
    );
    // Who wrote a call is no request: a parent would be wrong.
    for span in out
        .spans
        .filter(|span| span.kind == Kind::Client && span.text("db.system.name") == "cassandra")
    {
        out.check_eq(span.parent.as_ref(), None, "parent of a call");
    }
}

fn with_sql_server(
    lab: &Lab,
    certificate: Option<&Certificate>,
    mode: &str,
    loads: impl FnOnce(Plan, u16) -> Plan,
) -> Outcome {
    let (database, front) = (free_port(), free_port());
    let (server, app) = (
        Lab::workload("python/mssql_server.py"),
        Lab::workload("python/mssql_app.py"),
    );
    let ports = [front.to_string(), database.to_string()];
    let python = Lab::python("python");
    let files = certificate.map(|certificate| (certificate.file(), certificate.key()));
    let mut serves = vec![&*python, &*server, &*ports[1], mode];
    let mut asks = vec![&*python, &*app, &*ports[0], &*ports[1], mode];
    if let Some((file, key)) = &files {
        serves.extend([&**file, &**key]);
        asks.push(file);
    }
    let plan = Plan::default()
        .service(database, &serves)
        .service(front, &asks)
        .rested();
    Clew::run(lab)
        .args(&["--db-values"])
        .traced(&loads(plan, front).argv(lab, DRIVE))
}

/// Statements of requests to mssql_app.py: each is below its request, and joined with the other end.
fn sql_server_statements(out: &Outcome, path: &str, requests: u64, expected: &[(&str, &[(&str, &str)])]) {
    for number in 1..=requests {
        let front = request(out, path, number);
        // python-tds begins a transaction when it first needs one.
        let calls = below(out, &front);
        let calls: Vec<&Span> = calls.into_iter().filter(|span| span.name != "BEGIN shop").collect();
        let names: Vec<&str> = calls.iter().map(|span| span.name.as_str()).collect();
        let wanted: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
        out.check_eq(names, wanted, &format!("calls of {path} {number}"));
        for (call, (_, want)) in calls.iter().zip(expected) {
            out.check_span(
                call,
                &[
                    ("db.system.name", "microsoft.sql_server"),
                    ("db.namespace", "shop"),
                    ("server.address", "127.0.0.1"),
                ],
            );
            out.check_span(call, want);
            let ends = below(out, call);
            out.check_eq(ends.len(), 1, "server spans of a call");
            for end in ends {
                out.check_eq(
                    (end.kind, end.name.as_str()),
                    (Kind::Server, call.name.as_str()),
                    "the other end",
                );
            }
        }
        for call in calls.iter().filter(|call| call.name == "SELECT items") {
            let name = format!("item {number}");
            out.check_eq(call.text("db.query.parameter.0"), name, "value of a parameter");
        }
    }
    let pending = out.spans.filter(|span| !span.text("clew.exchange.outcome").is_empty());
    out.check(pending.is_empty(), "calls without an answer");
}

/// What a request to /front asks, in order.
const SQL_SERVER_FRONT: &[(&str, &[(&str, &str)])] = &[
    (
        "INSERT items",
        &[("clew.db.response.affected_rows", "1"), ("error.type", "")],
    ),
    (
        "SELECT items",
        &[
            ("db.response.returned_rows", "1"),
            ("db.query.text", "SELECT name FROM items WHERE name = @P1"),
        ],
    ),
    (
        "UPDATE items",
        &[("clew.db.query.normalized", "UPDATE items SET name = ? WHERE name = ?")],
    ),
    ("COMMIT shop", &[("db.operation.name", "COMMIT")]),
];

/// The same of /free.
const SQL_SERVER_FREE: &[(&str, &[(&str, &str)])] = &[("SELECT dbo.items", &[("db.response.returned_rows", "1")])];

/// What answers is a responder that was written after the specification; the clients are real.
#[test]
fn sql_server_through_a_shared_pool() {
    let Some(lab) = Lab::new("sql_server_through_a_shared_pool") else {
        return;
    };
    let out = with_sql_server(&lab, None, "PLAIN", |plan, front| {
        plan.load(front, "/front", 60, 12)
            .load(front, "/free", 60, 12)
            .load(front, "/fail", 3, 1)
    });
    sql_server_statements(&out, "/front", 60, SQL_SERVER_FRONT);
    sql_server_statements(&out, "/free", 60, SQL_SERVER_FREE);
    let failed: &[(&str, &str)] = &[
        ("db.response.status_code", "208"),
        ("error.type", "208"),
        ("clew.db.response.severity", "16"),
    ];
    sql_server_statements(
        &out,
        "/fail",
        3,
        &[("SELECT missing", failed), ("SELECT missing", failed)],
    );
    for number in 1..=60 {
        let calls = below(&out, &request(&out, "/front", number));
        let ids: Vec<String> = calls.iter().map(|call| call.text("clew.db.transaction.id")).collect();
        out.check(
            ids.iter().all(|id| !id.is_empty() && Some(id) == ids.first()),
            "one transaction",
        );
    }
    for login in out.spans.filter(|span| span.name == "CONNECT shop") {
        out.check_span(login, &[("clew.db.client.program", "till"), ("error.type", "")]);
    }
    let tells = |span: &&Span| {
        span.attributes
            .iter()
            .any(|(_, value)| value.to_string().contains("hidden"))
    };
    out.check(!out.spans.0.iter().any(|span| tells(&span)), "the password is told");
}

/// The login passes in TLS, what follows it in plain.
#[test]
fn sql_server_with_an_encrypted_login() {
    let Some(lab) = Lab::new("sql_server_with_an_encrypted_login") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    let out = with_sql_server(&lab, Some(&certificate), "LOGIN", |plan, front| {
        plan.load(front, "/front", 20, 4).load(front, "/free", 20, 4)
    });
    sql_server_statements(&out, "/front", 20, SQL_SERVER_FRONT);
    sql_server_statements(&out, "/free", 20, SQL_SERVER_FREE);
}

/// Everything passes in TLS: FreeTDS brings an OpenSSL along, and is seen through.
#[test]
fn sql_server_over_tls() {
    let Some(lab) = Lab::new("sql_server_over_tls") else {
        return;
    };
    let certificate = Certificate::new(&lab);
    let out = with_sql_server(&lab, Some(&certificate), "TLS", |plan, front| {
        plan.load(front, "/free", 20, 4)
    });
    sql_server_statements(&out, "/free", 20, SQL_SERVER_FREE);
}

#[test]
fn mongodb_through_a_shared_pool() {
    let Some(lab) = Lab::new("mongodb_through_a_shared_pool") else {
        return;
    };
    let (database, front) = (free_port(), free_port());
    let Some(server) = ferretdb(&lab, database) else {
        lab.skip("CLEW_TEST_FERRETDB names no server");
        return;
    };
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    let app = Lab::workload("python/mongodb_app.py");
    let ports = [front.to_string(), database.to_string()];
    let plan = Plan::default()
        .service(database, &server)
        .service(front, &[&Lab::python("python"), &app, &ports[0], &ports[1]])
        .rested()
        .load(front, "/front", REQUESTS, CONCURRENCY)
        .load(front, "/fail", 3, 1);
    let out = Clew::run(&lab).args(&["--db-values"]).traced(&plan.argv(&lab, DRIVE));
    let check = |call: &Span, name: &str, want: &[(&str, &str)]| {
        out.check_eq(call.name.as_str(), name, "name of a call");
        let ends = below(&out, call);
        out.check_eq(ends.len(), 1, "server spans of a call");
        for end in [&[call][..], &ends].concat() {
            out.check_span(
                end,
                &[
                    ("db.system.name", "mongodb"),
                    ("db.namespace", "shop"),
                    ("db.collection.name", "items"),
                ],
            );
            out.check_span(end, want);
        }
    };
    for number in 1..=REQUESTS {
        let front = request(&out, "/front", number);
        // A connection of the pool may be opened for it.
        let calls: Vec<&Span> = below(&out, &front)
            .into_iter()
            .filter(|span| span.name.ends_with(" items"))
            .collect();
        let filter = format!("find {{\"filter\": {{\"name\": \"item {number}\"}}}}");
        let want: [(&str, &[(&str, &str)]); 3] = [
            (
                "insert items",
                &[("clew.db.response.affected_rows", "1"), ("error.type", "")],
            ),
            (
                "find items",
                &[("db.response.returned_rows", "1"), ("db.query.text", &filter)],
            ),
            ("update items", &[("clew.db.response.affected_rows", "1")]),
        ];
        out.check_eq(calls.len(), want.len(), &format!("calls of request {number}"));
        for (call, (name, want)) in calls.iter().zip(want) {
            check(call, name, want);
        }
    }
    for number in 1..=3 {
        let calls = request(&out, "/fail", number);
        let calls = below(&out, &calls);
        out.check_eq(calls.len(), 1, "calls of a request that fails");
        for call in calls {
            check(
                call,
                "insert items",
                &[("db.response.status_code", "11000"), ("error.type", "11000")],
            );
            out.check_eq(call.status, 2, "status");
        }
    }
}

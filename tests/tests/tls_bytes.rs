//! Plaintext is what was said, byte for byte: one program asks PostgreSQL and Redis the same in plain and over TLS, and what is told of
//! both ends of both is equal.
use clew_tests::{Certificate, Lab, Passed, Postgresql, Proc, free_port, passed, postgresql_tls, redis_tls, until};

/// Rounds of questions that are compared.
const ROUNDS: u64 = 30;

/// Servers that speak both, and a program that asks them.
struct Twins {
    lab: Lab,
    client: Proc,
    servers: [Proc; 2],
    /// Of PostgreSQL; of Redis in plain and over TLS.
    ports: [u16; 3],
}

impl Twins {
    /// The program asks PostgreSQL by `driver`; the folder of `packages` is looked at first. It begins when it is told to.
    fn new(test: &str, driver: &str, packages: &str) -> Option<Self> {
        let lab = Lab::new(test)?;
        let certificate = Certificate::new(&lab);
        let ports @ [database, cache, cache_tls] = [free_port(), free_port(), free_port()];
        let Postgresql { argv, dsn } = postgresql_tls(&lab, database, &certificate);
        let mut servers = [
            lab.start("postgresql", &argv),
            lab.start("redis", &redis_tls(&lab, cache, cache_tls, &certificate)),
        ];
        servers[0].until_listening(database);
        for port in [cache, cache_tls] {
            servers[1].until_listening(port);
        }
        let plain = dsn.replace("sslmode=require", "sslmode=disable");
        let path = format!("PYTHONPATH={packages}");
        let python = Lab::python("python");
        let words = ["/usr/bin/env", &path, &python, "-c", ASKS, driver, &plain, &dsn];
        let mut argv = words.map(str::to_owned).to_vec();
        argv.extend([cache, cache_tls].map(|port| port.to_string()));
        let client = lab.start("asks", &argv);
        let twins = Self {
            lab,
            client,
            servers,
            ports,
        };
        until("the program is ready", || twins.asked().map(|_| ()));
        Some(twins)
    }

    /// How many rounds were answered.
    fn asked(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.lab.dir().join("asked")).ok()?;
        text.parse().ok()
    }

    /// All of its processes.
    fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.client.pid()];
        for server in &self.servers {
            let pid = server.pid();
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
            pids.push(pid);
            pids.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
        pids
    }

    /// The four ends of the connection in plain and of the one over TLS: the client's in plain, the server's, and both over TLS.
    fn ends<'a>(&self, all: &'a [Passed], plain: u16, secured: u16) -> [&'a Passed; 4] {
        let one = |port: u16, is_secured: bool, is_client: bool| {
            let of = |passed: &&Passed| {
                let ports = if is_client { passed.ports.1 } else { passed.ports.0 };
                let asks = (passed.pid == self.client.pid()) == is_client;
                asks && ports == port && passed.is_secured == is_secured && !passed.sent.is_empty()
            };
            let found: Vec<&Passed> = all.iter().filter(of).collect();
            assert_eq!(
                found.len(),
                1,
                "port {port}, secured {is_secured}, client {is_client}: {found:?}"
            );
            found[0]
        };
        [
            one(plain, false, true),
            one(plain, false, false),
            one(secured, true, true),
            one(secured, true, false),
        ]
    }

    fn over(&self) {
        self.lab.file("over", "");
    }
}

/// From the first byte of four connections to the last.
fn from_the_first_byte(test: &str, driver: &str, packages: &str) {
    let Some(mut twins) = Twins::new(test, driver, packages) else {
        return;
    };
    let pids = twins.pids();
    let all = passed(&pids, || {
        twins.lab.file("begin", "");
        if twins.asked() >= Some(ROUNDS) {
            twins.over();
        }
        twins.client.ended().is_some()
    });
    let all = all.expect("what passed");
    let [database, cache, cache_tls] = twins.ports;
    let postgresql = twins.ends(&all, database, database);
    let redis = twins.ends(&all, cache, cache_tls);
    for (name, ends) in [("PostgreSQL", postgresql), ("Redis", redis)] {
        let told = ends.map(|passed| (passed.sent.clone(), passed.received.clone()));
        let [(asked, answered), server, asked_tls, server_tls] = told;
        let [answered, answered_tls] = [answered, asked_tls.1].map(without_key);
        let [served, served_tls] = [server.0, server_tls.0].map(without_key);
        assert!(asked.len() > 1000 && answered.len() > 100_000, "{name} said little");
        for (what, other, want) in [
            ("asked over TLS", &asked_tls.0, &asked),
            ("asked, as the server took it", &server.1, &asked),
            ("asked over TLS, as the server took it", &server_tls.1, &asked),
            ("answered over TLS", &answered_tls, &answered),
            ("answered, as the server gave it", &served, &answered),
            ("answered over TLS, as the server gave it", &served_tls, &answered),
        ] {
            same(other, want, &format!("what was {what} by {name}"));
        }
        println!(
            "{name}: {} bytes asked, {} answered, each the same four times",
            asked.len(),
            answered.len()
        );
    }
}

/// Connections that are older than whoever looks: what passes from then on.
fn of_open_connections(test: &str, driver: &str, packages: &str) {
    let Some(mut twins) = Twins::new(test, driver, packages) else {
        return;
    };
    twins.lab.file("begin", "");
    until("the connections are in use", || {
        twins.asked().filter(|asked| *asked > 2)
    });
    let pids = twins.pids();
    let mut first = None;
    let all = passed(&pids, || {
        let now = twins.asked();
        // What is asked now may have begun before all was watched.
        let first = first.get_or_insert_with(|| now.expect("a number") + 2);
        if now > Some(*first + ROUNDS) {
            twins.over();
        }
        twins.client.ended().is_some()
    });
    let all = all.expect("what passed");
    let first = first.expect("it was asked whether it is over");
    let [database, cache, cache_tls] = twins.ports;
    let postgresql = twins.ends(&all, database, database);
    let redis = twins.ends(&all, cache, cache_tls);
    for (name, ends) in [("PostgreSQL", postgresql), ("Redis", redis)] {
        let [client, server, client_tls, server_tls] = ends;
        let [asked, answered] = [&client.sent, &client.received].map(|bytes| rounds(bytes, first));
        assert!(asked.len() > 1000 && answered.len() > 100_000, "{name} said little");
        for (what, other, want) in [
            ("asked over TLS", &client_tls.sent, &asked),
            ("asked, as the server took it", &server.received, &asked),
            ("asked over TLS, as the server took it", &server_tls.received, &asked),
            ("answered over TLS", &client_tls.received, &answered),
            ("answered, as the server gave it", &server.sent, &answered),
            ("answered over TLS, as the server gave it", &server_tls.sent, &answered),
        ] {
            same(&rounds(other, first), want, &format!("what was {what} by {name}"));
        }
        println!(
            "{name}: {} bytes asked, {} answered, each the same four times",
            asked.len(),
            answered.len()
        );
    }
}

/// From where a round is named first to where the one behind the last is.
fn rounds(bytes: &[u8], first: u64) -> Vec<u8> {
    let place = |number: u64| {
        let mark = format!("item:{number}:");
        let found = bytes.windows(mark.len()).position(|window| window == mark.as_bytes());
        found.unwrap_or_else(|| panic!("no {mark} in {} bytes", bytes.len()))
    };
    bytes[place(first)..place(first + ROUNDS)].to_vec()
}

/// What PostgreSQL answers, without the number of the process and the key by which a client can break off its own question: each
/// connection has another (PostgreSQL's documentation, "Message Formats", `BackendKeyData`). Other bytes stay.
///
/// ```text
/// | 'K' | length 4 | process 4 | key |
/// ```
fn without_key(mut bytes: Vec<u8>) -> Vec<u8> {
    const HEAD: usize = 5;
    let mut at = 0;
    while let Some(&[kind, a, b, c, d]) = bytes.get(at..at + HEAD) {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        // The first message says that there is nothing to prove.
        if at == 0 && (kind, length) != (b'R', 8) {
            break;
        }
        let end = at + 1 + length;
        if kind == b'K' {
            bytes[at + HEAD..end].fill(0);
            break;
        }
        at = end;
    }
    bytes
}

#[track_caller]
fn same(got: &[u8], want: &[u8], what: &str) {
    let apart = got.iter().zip(want).position(|(one, other)| one != other);
    let at = apart.unwrap_or(got.len().min(want.len()));
    let around = |bytes: &[u8]| {
        let part = bytes.get(at.saturating_sub(60)..(at + 60).min(bytes.len()));
        String::from_utf8_lossy(part.unwrap_or_default()).into_owned()
    };
    assert!(
        got == want,
        "{what}: {} bytes, not {}; apart from {at} on: {:?}, not {:?}",
        got.len(),
        want.len(),
        around(got),
        around(want)
    );
}

/// The OpenSSL that a package of psycopg brings under a name of its own, and the system's for Redis.
#[test]
fn postgresql_and_redis() {
    from_the_first_byte("tls_bytes", "psycopg", "");
}

#[test]
fn postgresql_and_redis_on_open_connections() {
    of_open_connections("tls_bytes_open", "psycopg", "");
}

/// The same by an OpenSSL 1.1.1.
#[test]
fn by_an_older_library() {
    let Some(older) = Lab::older_openssl() else {
        if let Some(lab) = Lab::new("tls_bytes_older") {
            lab.skip("there is no psycopg2 with OpenSSL 1.1.1 for this machine's Python");
        }
        return;
    };
    from_the_first_byte("tls_bytes_older", "psycopg2", &older);
    of_open_connections("tls_bytes_older_open", "psycopg2", &older);
}

/// Round after round, each of another size: many are of several records.
const ASKS: &str = "import importlib, os, pathlib, redis, ssl, sys, time
name, plain, secured, port, port_tls = sys.argv[1:]
driver = importlib.import_module(name)
def asked(number):
    pathlib.Path('asked.new').write_text(str(number))
    os.rename('asked.new', 'asked')
asked(0)
while not pathlib.Path('begin').exists(): time.sleep(0.01)
databases = [driver.connect(dsn) for dsn in (plain, secured)]
for database in databases: database.autocommit = True
tls = dict(ssl=True, ssl_cert_reqs='none', ssl_check_hostname=False)
# Version 3 would begin by telling the connection's number, of which each has another.
caches = [redis.Redis(port=int(port), protocol=2), redis.Redis(port=int(port_tls), protocol=2, **tls)]
number = 0
while not pathlib.Path('over').exists():
    for database, cache in zip(databases, caches):
        key = f'item:{number}:'
        cursor = database.cursor()
        cursor.execute(f\"SELECT '{key}', repeat('y', {number * 9973 % 60000})\")
        assert cursor.fetchall()[0][0] == key
        cursor.close()
        value = key + 'x' * (number * 9967 % 60000)
        cache.set(key, value)
        assert cache.get(key) == value.encode()
    number += 1
    asked(number)
    time.sleep(0.02)
for one in databases + caches: one.close()
";

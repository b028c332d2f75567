//! Programs that share pools of connections to a database and a cache: requests mix on every connection. The truth is the
//! number that each statement, key and value has in it.
use clew_tests::{Lab, free_port, nginx, php_fpm, postgresql, redis};

use super::workload::{Expect, Made, Workload, leaf, made};

/// What the programs do for a request, where `$service` is the program under test; the rest is in the words of its clients.
macro_rules! calls {
    ($service:literal) => {
        calls!($service, "INCR", "BEGIN", "COMMIT")
    };
    ($service:literal, $increments:literal, $begins:literal, $commits:literal) => {
        &[
            "client clew-drive /front",
            concat!(" server ", $service, " /front"),
            concat!("  client ", $service, " GET"),
            "   server redis-server GET",
            concat!("  client ", $service, " ", $begins),
            concat!("   server postgres ", $begins),
            concat!("  client ", $service, " INSERT items"),
            "   server postgres INSERT items",
            concat!("  client ", $service, " SELECT items"),
            "   server postgres SELECT items",
            concat!("  client ", $service, " UPDATE items"),
            "   server postgres UPDATE items",
            concat!("  client ", $service, " ", $commits),
            concat!("   server postgres ", $commits),
            concat!("  client ", $service, " SELECT orders"),
            "   server postgres SELECT orders",
            concat!("  client ", $service, " SELECT parts"),
            "   server postgres SELECT parts",
            concat!("  client ", $service, " ", $increments),
            concat!("   server redis-server ", $increments),
            concat!("  client ", $service, " SET"),
            "   server redis-server SET",
            concat!("  client ", $service, " EXPIRE"),
            "   server redis-server EXPIRE",
            concat!("  client ", $service, " DELETE items"),
            "   server postgres DELETE items",
        ]
    };
}
pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "asyncpg-redis-pools",
        runtime: "Python, aiohttp, pools of asyncpg and redis-py",
        expect: Expect::Exact,
        make: |lab| {
            python(
                lab,
                "python/stores_asyncio.py",
                calls!("stores_asyncio", "INCRBY", "BEGIN", "COMMIT"),
            )
        },
    },
    Workload {
        name: "psycopg-redis-pools",
        runtime: "Python, a thread a connection, pools of psycopg and redis-py",
        expect: Expect::Exact,
        make: |lab| {
            python(
                lab,
                "python/stores_threads.py",
                calls!("stores_threads", "INCRBY", "BEGIN", "COMMIT"),
            )
        },
    },
    Workload {
        name: "go-pgx-pools",
        runtime: "Go, pools of pgx, database/sql and go-redis",
        expect: Expect::Exact,
        make: |lab| {
            // As pgx writes them.
            let chain = calls!("stores", "INCR", "begin", "commit");
            with_stores(lab, &[&Lab::go_module("stores", true)], NAMED, chain)
        },
    },
    Workload {
        name: "java-jdbc-pools",
        runtime: "Java 17, a pool of threads, pools of HikariCP and Jedis",
        expect: Expect::Exact,
        make: |lab| {
            let argv = Lab::java("java", "Stores");
            let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
            with_stores(lab, &argv, NAMED, calls!("stores"))
        },
    },
    Workload {
        name: "node-pg-ioredis",
        runtime: "Node.js, a pool of pg and a connection of ioredis",
        expect: Expect::NeverWrong,
        make: node,
    },
    Workload {
        name: "node-pg-ioredis+assist",
        runtime: "Node.js, a pool of pg and a connection of ioredis",
        expect: Expect::Exact,
        make: node,
    },
    Workload {
        name: "rust-sqlx-pool",
        runtime: "Rust, axum, a pool of sqlx",
        expect: Expect::Exact,
        make: sqlx,
    },
    Workload {
        name: "php-fpm-nginx",
        runtime: "PHP-FPM behind nginx, a process a request",
        expect: Expect::Exact,
        make: fpm,
    },
];

/// The service, whatever its program is called.
const NAMED: &[(&str, &str)] = &[("OTEL_SERVICE_NAME", "stores")];

fn node(lab: &Lab) -> Made {
    let modules = Lab::node_modules();
    let argv = ["node", &Lab::workload("node/stores.js")];
    with_stores(lab, &argv, &[("NODE_PATH", &modules)], calls!("stores"))
}

fn python(lab: &Lab, script: &str, chain: &'static [&'static str]) -> Made {
    with_stores(lab, &[&Lab::python("python"), &Lab::workload(script)], &[], chain)
}

/// A program that gets its port, the name of a database and the port of a cache.
fn with_stores(lab: &Lab, argv: &[&str], env: &[(&str, &str)], chain: &'static [&'static str]) -> Made {
    let (database, cache, front) = (free_port(), free_port(), free_port());
    let postgresql = postgresql(lab, database);
    let redis = redis(lab, cache);
    let ports = [front.to_string(), cache.to_string()];
    let argv = [argv, &[&ports[0], &postgresql.dsn, &ports[1]]].concat();
    let (plan, leaf) = leaf();
    let server: Vec<&str> = postgresql.argv.iter().map(String::as_str).collect();
    let store: Vec<&str> = redis.iter().map(String::as_str).collect();
    let plan = plan
        .service(database, &server)
        .service(cache, &store)
        .service(front, &argv);
    made(plan, leaf, front, env, chain)
}

fn sqlx(lab: &Lab) -> Made {
    let (database, front) = (free_port(), free_port());
    let postgresql = postgresql(lab, database);
    let (plan, leaf) = leaf();
    let server: Vec<&str> = postgresql.argv.iter().map(String::as_str).collect();
    let argv = [&Lab::rust_sqlx(), &front.to_string(), &postgresql.dsn];
    let plan = plan
        .service(database, &server)
        .service(front, &argv.map(String::as_str));
    made(plan, leaf, front, &[], SQLX)
}

/// As sqlx has them, without what its pool asks on its own account.
const SQLX: &[&str] = &[
    "client clew-drive /front",
    " server sqlx-server /front",
    "  client sqlx-server BEGIN",
    "   server postgres BEGIN",
    "  client sqlx-server INSERT items",
    "   server postgres INSERT items",
    "  client sqlx-server SELECT items",
    "   server postgres SELECT items",
    "  client sqlx-server UPDATE items",
    "   server postgres UPDATE items",
    "  client sqlx-server COMMIT",
    "   server postgres COMMIT",
    "  client sqlx-server SELECT orders",
    "   server postgres SELECT orders",
    "  client sqlx-server SELECT parts",
    "   server postgres SELECT parts",
    "  client sqlx-server DELETE items",
    "   server postgres DELETE items",
];

fn fpm(lab: &Lab) -> Made {
    let (plan, leaf) = leaf();
    let (php, front) = (free_port(), free_port());
    let fpm = php_fpm(lab, php, "php/front.php", 16);
    let location = format!("location / {{ {} }}", fpm.location(&format!("127.0.0.1:{php}")));
    let proxy = nginx(lab, front, &location, "");
    let argv: Vec<&str> = fpm.argv.iter().map(String::as_str).collect();
    let proxy: Vec<&str> = proxy.iter().map(String::as_str).collect();
    let plan = plan
        .service(php, &argv)
        .env("NEXT", &format!("{leaf}/leaf"))
        .env("OTEL_SERVICE_NAME", "php")
        .service(front, &proxy);
    Made {
        plan,
        port: front,
        path: "/front",
        chain: &[
            "client clew-drive /front",
            " server nginx /front",
            "  client nginx /front",
            "   server php /front",
            "    client php /leaf",
            "     server go-server /leaf",
            "    client php /again",
            "     server go-server /again",
        ],
        closing: false,
        traced: false,
        client: None,
    }
}

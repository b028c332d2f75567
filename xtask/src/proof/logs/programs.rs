//! The programs: each writes lines for a request, around waits, most of them from several threads, tasks or goroutines.
use clew_tests::{Lab, Plan, free_port, nginx, php_fpm};

/// A program.
pub(super) struct Program {
    pub(super) name: &'static str,
    /// What Clew calls it.
    pub(super) service: &'static str,
    /// What stands before the request's number in each line.
    pub(super) before: &'static str,
    /// Lines that a request makes.
    pub(super) each: u64,
    pub(super) expect: Expect,
    /// It is handed the hook of its runtime.
    pub(super) hook: bool,
    pub(super) make: fn(&Lab) -> Made,
}

/// What is asked of Clew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Every line on its span.
    Exact,
    /// No line on another; those whose request cannot be told are on none.
    NeverWrong,
}

/// A program ready to start.
pub(super) struct Made {
    pub(super) plan: Plan,
    pub(super) port: u16,
}

const USUAL: Program = Program {
    name: "",
    service: "logs",
    before: "rid=",
    each: 3,
    expect: Expect::Exact,
    hook: false,
    make: |_| unreachable!("each program has its own"),
};

/// What a request causes in Java, as `Calls.java` reads it: the second line is another thread's.
const HANDED: &str = "begin=log,fine=log-pool,end=log";
/// The same in the thread that serves it alone.
const HERE: &str = "begin=log,fine=log,end=log";

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "go",
        make: |_| served(&[&Lab::go("logs")], &[]),
        ..USUAL
    },
    Program {
        name: "node",
        hook: true,
        make: |_| served(&["node", &Lab::workload("node/logs.js")], &[]),
        ..USUAL
    },
    // Without its hook nothing tells what Node.js works for.
    Program {
        name: "node-unhooked",
        expect: Expect::NeverWrong,
        make: |_| served(&["node", &Lab::workload("node/logs.js")], &[]),
        ..USUAL
    },
    Program {
        name: "python-threads",
        make: |_| served(&[&Lab::python("python"), &Lab::workload("python/logs_app.py")], &[]),
        ..USUAL
    },
    Program {
        name: "python-asyncio",
        make: |_| uvicorn("asyncio"),
        ..USUAL
    },
    Program {
        name: "python-uvloop",
        make: |_| uvicorn("uvloop"),
        ..USUAL
    },
    Program {
        name: "rust-tokio",
        make: |_| served(&[&Lab::rust("axum-server")], &[]),
        ..USUAL
    },
    Program {
        name: "rust-tokio-current",
        make: |_| served(&[&Lab::rust("axum-server")], &[("RUNTIME", "current")]),
        ..USUAL
    },
    Program {
        name: "java-17-threads",
        hook: true,
        make: |_| java(17, "Front", "pool", HANDED),
        ..USUAL
    },
    Program {
        name: "java-17-unhooked",
        make: |_| java(17, "Front", "pool", HERE),
        ..USUAL
    },
    Program {
        name: "java-17-netty",
        hook: true,
        make: |_| java(17, "NettyFront", "", HANDED),
        ..USUAL
    },
    Program {
        name: "java-21-virtual",
        make: |_| java(21, "Front", "virtual", HERE),
        ..USUAL
    },
    Program {
        name: "java-21-virtual-hook",
        hook: true,
        make: |_| java(21, "Front", "virtual", HANDED),
        ..USUAL
    },
    Program {
        name: "ruby-puma",
        make: puma,
        ..USUAL
    },
    Program {
        name: "php-fpm",
        make: php,
        ..USUAL
    },
    // One thread serves many requests at once: which of them a line is for cannot be told.
    Program {
        name: "c-epoll",
        expect: Expect::NeverWrong,
        make: |_| served(&[&Lab::c("loop")], &[("POOL", "4"), ("LOGS", "1")]),
        ..USUAL
    },
    Program {
        name: "c-threads",
        make: |_| served(&[&Lab::c("threads")], &[("LOGS", "1")]),
        ..USUAL
    },
    Program {
        name: "nginx",
        service: "nginx",
        before: "GET /logs?id=",
        each: 1,
        make: access_log,
        ..USUAL
    },
];

/// A program that listens on the port it is told, and one behind it that answers.
fn served(argv: &[&str], env: &[(&str, &str)]) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    let port_text = port.to_string();
    let mut words = argv.to_vec();
    words.push(&port_text);
    let mut plan = plan
        .service(port, &words)
        .env("OTEL_SERVICE_NAME", "logs")
        .env("NEXT", &format!("{leaf}/leaf"));
    for (name, value) in env {
        plan = plan.env(name, value);
    }
    Made { plan, port }
}

fn leaf() -> (Plan, u16) {
    let port = free_port();
    let plan = Plan::default().service(port, &[&Lab::go("server"), &port.to_string()]);
    (plan, port)
}

fn uvicorn(event_loop: &str) -> Made {
    let folder = Lab::workload("python");
    let argv = [
        &Lab::python("uvicorn"),
        "--app-dir",
        &folder,
        "--log-level",
        "warning",
        "--loop",
        event_loop,
        "logs_app:app",
        "--port",
    ];
    served(&argv, &[])
}

fn java(release: u32, main: &str, server: &str, steps: &str) -> Made {
    let java = Lab::jdk(release).unwrap_or_else(|| "java".to_owned());
    let argv = Lab::java(&java, main);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    served(&argv, &[("SERVER", server), ("STEPS", steps)])
}

fn puma(_: &Lab) -> Made {
    let port = free_port();
    let (bind, app) = (format!("tcp://127.0.0.1:{port}"), Lab::workload("ruby/logs.ru"));
    let argv = ["puma", "--quiet", "--bind", &bind, "-t", "16:16", &app];
    let plan = Plan::default().service(port, &argv).env("OTEL_SERVICE_NAME", "logs");
    Made { plan, port }
}

fn php(lab: &Lab) -> Made {
    let (php, port) = (free_port(), free_port());
    let fpm = php_fpm(lab, php, "php/front.php", 16);
    let location = format!("location / {{ {} }}", fpm.location(&format!("127.0.0.1:{php}")));
    let proxy = nginx(lab, port, &location, "");
    let argv: Vec<&str> = fpm.argv.iter().map(String::as_str).collect();
    let proxy: Vec<&str> = proxy.iter().map(String::as_str).collect();
    let plan = Plan::default()
        .service(php, &argv)
        .env("LOG", &lab.dir().join("php.log").display().to_string())
        .env("OTEL_SERVICE_NAME", "logs")
        .service(port, &proxy);
    Made { plan, port }
}

fn access_log(lab: &Lab) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    let log = lab.dir().join("access.log").display().to_string();
    let locations = format!("access_log {log}; location / {{ proxy_pass http://127.0.0.1:{leaf}; }}");
    let argv = nginx(lab, port, &locations, "");
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    Made {
        plan: plan.service(port, &argv),
        port,
    }
}

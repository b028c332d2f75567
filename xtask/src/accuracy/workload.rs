//! The workloads: real programs in a line, each asking the next.
use clew_tests::{Lab, Plan, free_port, nginx};

/// The truth where the program under test asks a leaf.
macro_rules! chain {
    ($service:literal) => {
        &[
            "client clew-drive /front",
            concat!("server ", $service, " /front"),
            concat!("client ", $service, " /leaf"),
            "server go-server /leaf",
        ]
    };
}

pub(super) use chain;

/// A workload.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(super) runtime: &'static str,
    pub(super) expect: Expect,
    pub(crate) make: fn(&Lab) -> Made,
}

/// What is asked of Clew.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// Every trace whole, every parent right.
    Exact,
    /// Every span there; links inside the program under test may be missing, none may be wrong.
    NeverWrong,
}

/// A workload ready to start.
pub(crate) struct Made {
    pub(crate) plan: Plan,
    /// Where the load goes.
    pub(crate) port: u16,
    pub(crate) path: &'static str,
    /// The truth: see [`super::tree::parse`].
    pub(super) chain: &'static [&'static str],
    /// Each request has a connection of its own.
    pub(crate) closing: bool,
    /// Each request carries a trace context of its own.
    pub(super) traced: bool,
    /// Who asks, if it is not the driver itself, which speaks no TLS.
    pub(super) client: Option<Client>,
}

/// A program that asks over TLS, and the file that says whom it trusts.
pub(super) enum Client {
    /// One process, as many connections as there are requests at once.
    Curl(String),
    /// A process for each request that is made at once, on GnuTLS.
    Wget(String),
}

impl Client {
    /// Adds requests, as [`Plan::load`] does.
    pub(super) fn load(&self, plan: Plan, port: u16, path: &str, requests: u64, concurrency: u64) -> Plan {
        let url = format!("https://localhost:{port}{path}?id=");
        match self {
            Self::Curl(authority) => plan.command(&[
                "/usr/bin/curl",
                "-sSf",
                "--http1.1",
                "--cacert",
                authority,
                "--parallel",
                "--parallel-immediate",
                "--parallel-max",
                &concurrency.to_string(),
                "-o",
                "/dev/null",
                &format!("{url}[1-{requests}]"),
            ]),
            Self::Wget(authority) => {
                let authority = format!("--ca-certificate={authority}");
                let wget = ["/usr/bin/wget", "-q", "-O", "/dev/null", authority.as_str()].map(str::to_owned);
                let of = |first| (first..=requests).step_by(usize::try_from(concurrency).unwrap_or(1));
                let urls = |first| of(first).map(|number| format!("{url}{number}"));
                let first = 1..=concurrency.min(requests);
                plan.commands(
                    first
                        .map(|first| wget.iter().cloned().chain(urls(first)).collect())
                        .collect(),
                )
            }
        }
    }
}

impl Made {
    /// For servers that keep no connection.
    pub(super) fn closing(self) -> Self {
        Self { closing: true, ..self }
    }

    /// For programs that pass on the context which comes with a request.
    pub(super) fn traced(self) -> Self {
        Self { traced: true, ..self }
    }
}

pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "python-http.server",
        runtime: "Python, a thread a connection",
        expect: Expect::Exact,
        make: |lab| {
            let chain = chain!("threaded");
            front(
                lab,
                &["/usr/bin/python3", &Lab::workload("python/threaded.py")],
                &[("CLIENT", "plain")],
                chain,
            )
        },
    },
    Workload {
        name: "python-requests",
        runtime: "Python, a thread a connection, kept connections",
        expect: Expect::Exact,
        make: |lab| {
            let chain = chain!("threaded");
            front(
                lab,
                &[&Lab::python("python"), &Lab::workload("python/threaded.py")],
                &[],
                chain,
            )
        },
    },
    Workload {
        name: "java-threads",
        runtime: "Java, a pool of threads",
        expect: Expect::Exact,
        make: |lab| {
            front(
                lab,
                &["java", "-Xshare:auto", &Lab::workload("java/Threads.java")],
                &[],
                chain!("Threads"),
            )
        },
    },
    Workload {
        name: "c-threads",
        runtime: "C, a thread a connection",
        expect: Expect::Exact,
        make: |lab| front(lab, &[&Lab::c("threads")], &[], chain!("threads")),
    },
    Workload {
        name: "nginx-proxy",
        runtime: "nginx, an event loop that forwards",
        expect: Expect::Exact,
        make: proxy,
    },
    Workload {
        name: "go-net-http",
        runtime: "Go, a goroutine a connection",
        expect: Expect::Exact,
        make: |lab| front(lab, &[&Lab::go("server")], &[], chain!("go-server")),
    },
];

/// The program under test, and a leaf in Go that answers out of order.
pub(super) fn front(_: &Lab, argv: &[&str], env: &[(&str, &str)], chain: &'static [&'static str]) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    let port_text = port.to_string();
    let mut words = argv.to_vec();
    words.push(&port_text);
    made(plan.service(port, &words), leaf, port, env, chain)
}

pub(super) fn made(plan: Plan, leaf: u16, port: u16, env: &[(&str, &str)], chain: &'static [&'static str]) -> Made {
    let mut plan = plan.env("NEXT", &format!("{leaf}/leaf")).rested();
    for (name, value) in env {
        plan = plan.env(name, value);
    }
    fronted(plan, port, chain)
}

/// A plan whose front is asked for `/front` by the driver.
pub(super) fn fronted(plan: Plan, port: u16, chain: &'static [&'static str]) -> Made {
    Made {
        plan,
        port,
        path: "/front",
        chain,
        closing: false,
        traced: false,
        client: None,
    }
}

pub(super) fn words(argv: &[String]) -> Vec<&str> {
    argv.iter().map(String::as_str).collect()
}

pub(super) fn leaf() -> (Plan, u16) {
    let port = free_port();
    let plan = Plan::default().service(port, &[&Lab::go("server"), &port.to_string()]);
    (plan, port)
}

fn proxy(lab: &Lab) -> Made {
    let (plan, leaf) = leaf();
    let port = free_port();
    let location = "location / { proxy_pass http://leaf; proxy_http_version 1.1; proxy_set_header Connection ''; }";
    let upstream = format!("upstream leaf {{ server 127.0.0.1:{leaf}; keepalive 64; }}");
    let argv = nginx(lab, port, location, &upstream);
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    Made {
        plan: plan.service(port, &argv),
        port,
        path: "/front",
        chain: &[
            "client clew-drive /front",
            "server nginx /front",
            "client nginx /front",
            "server go-server /front",
        ],
        closing: false,
        traced: false,
        client: None,
    }
}

//! `cargo xtask bench`: the same servers under the same load without and with Clew, in turn within one run, and Clew's own
//! cost.
mod agent;
mod assist;
mod contexts;
mod copy;
mod example;
mod features;
mod load;
mod page;
mod parsers;
mod process;
mod row;
mod store;
mod symbols;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use clew_tests::{Lab, Proc, free_port, nginx};

use self::agent::{Agent, Cost, Statistics};
use self::load::{Pace, Seen, compared, load};
use self::row::{Row, median};
use crate::{build, setup, workspace};

/// What to run.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Only the workloads whose name holds this
    #[arg(long)]
    workload: Option<String>,
    /// One short round each instead of three long ones
    #[arg(long)]
    quick: bool,
    /// Write the results here as well, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

struct Workload {
    name: &'static str,
    pace: Pace,
    path: &'static str,
    argv: fn(&Lab, u16) -> Vec<String>,
    /// With `--quick` too.
    quick: bool,
}

/// Not a load on a server: see [`copy`].
const COPY: &str = "copy";

const FULL: Pace = Pace::Full { connections: 16 };

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "nginx",
        pace: FULL,
        path: "/page",
        argv: one_page,
        quick: false,
    },
    Workload {
        name: "nginx-20000-rps",
        pace: Pace::Steady {
            requests_per_second: 20_000,
        },
        path: "/page",
        argv: one_page,
        quick: true,
    },
    Workload {
        name: "go-net-http",
        pace: FULL,
        path: "/page?id=0",
        argv: |_, port| vec![Lab::go("server"), port.to_string()],
        quick: false,
    },
    Workload {
        name: "node-http",
        pace: FULL,
        path: "/page?id=0",
        argv: |_, port| vec!["node".to_owned(), Lab::workload("node/server.js"), port.to_string()],
        quick: false,
    },
    Workload {
        name: "flask-gunicorn",
        pace: FULL,
        path: "/page?id=0",
        argv: flask,
        quick: false,
    },
];

fn flask(_: &Lab, port: u16) -> Vec<String> {
    let folder = Lab::workload("python/flask_app.py").replace("/flask_app.py", "");
    let (gunicorn, bind) = (Lab::python("gunicorn"), format!("127.0.0.1:{port}"));
    let mut argv = vec![
        gunicorn.as_str(),
        "-k",
        "gthread",
        "-w",
        "1",
        "--threads",
        "16",
        "-b",
        &bind,
    ];
    argv.extend([
        "--chdir",
        &folder,
        "--keep-alive",
        "30",
        "--log-level",
        "warning",
        "flask_app:app",
    ]);
    argv.iter().map(|&word| word.to_owned()).collect()
}

/// An nginx with one page of 600 bytes.
fn one_page(lab: &Lab, port: u16) -> Vec<String> {
    lab.file("page", &"clew ".repeat(120));
    let root = format!("root {};", lab.dir().display());
    nginx(lab, port, &root, "sendfile on; keepalive_requests 1000000000;")
}

/// A window of load, without or with Clew.
struct Window {
    seen: Seen,
    server_cpu: Duration,
    cost: Option<Cost>,
}

/// Measures, and prints what it measured.
///
/// # Errors
/// When something cannot be measured. A bad figure is no error here.
pub(crate) fn run(options: &Options) -> Result<()> {
    let rows = measure(options)?;
    row::print(&rows);
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

/// The short form as a test: what a loaded machine cannot make flaky must hold.
///
/// # Errors
/// When Clew has no spans to show for the load, or takes more memory than it may.
pub(crate) fn check() -> Result<()> {
    let rows = measure(&Options {
        quick: true,
        ..Options::default()
    })?;
    row::print(&rows);
    let value = |metric: &str| {
        let row = rows.iter().find(|row| row.metric == metric);
        row.map(|row| row.traced)
            .with_context(|| format!("no {metric} was measured"))
    };
    ensure!(value("spans_per_request")? > 0.5, "most requests have no span");
    let total = value("agent_total_mib")?;
    ensure!(
        total <= MOST_MEMORY_MIB,
        "{total:.0} MiB are more than {MOST_MEMORY_MIB}"
    );
    Ok(())
}

/// What Clew may take, resident and in BPF maps, on a machine where it must wait for a CPU and its queues fill. What it takes
/// where it need not is a figure of the full benchmark.
const MOST_MEMORY_MIB: f64 = 192.0;

fn measure(options: &Options) -> Result<Vec<Row>> {
    ensure!(workspace::is_root(), "tracing needs root");
    setup::quiet()?;
    let clew = build::release()?;
    let (rounds, time) = if options.quick { (1, 3) } else { (3, 8) };
    let time = Duration::from_secs(time);
    let chosen = |workload: &&Workload| {
        let only = options.workload.as_ref();
        (workload.quick || !options.quick) && only.is_none_or(|only| workload.name.contains(only.as_str()))
    };
    let mut rows = Vec::new();
    for workload in WORKLOADS.iter().filter(chosen) {
        println!(
            "bench: {}, {rounds} rounds of {} s without and with Clew",
            workload.name,
            time.as_secs()
        );
        rows.extend(one(workload, &clew, rounds, time).with_context(|| workload.name.to_owned())?);
    }
    let asked = options.workload.as_ref();
    if !options.quick && asked.is_none_or(|only| COPY.contains(only.as_str())) {
        println!("bench: {COPY}, {rounds} rounds with Clew, copying and not");
        rows.extend(copy::measure(&clew, rounds, time / 2).context(COPY)?);
    }
    if !options.quick && asked.is_none_or(|only| page::NAME.contains(only.as_str())) {
        println!("bench: {}, in a browser", page::NAME);
        rows.extend(page::measure()?);
    }
    if !options.quick && asked.is_none_or(|only| store::NAME.contains(only.as_str())) {
        println!("bench: {}, 1 000 000 spans while questions are asked", store::NAME);
        rows.extend(store::measure()?);
    }
    if !options.quick && asked.is_none_or(|only| parsers::NAME.contains(only.as_str())) {
        println!("bench: {}, each on its recordings", parsers::NAME);
        rows.extend(parsers::measure()?);
    }
    if !options.quick && asked.is_none_or(|only| symbols::NAME.contains(only.as_str())) {
        println!("bench: {}, of a program of 500 MB", symbols::NAME);
        rows.extend(symbols::measure()?);
    }
    if !options.quick {
        rows.extend(assist::measure(&clew, asked.map(String::as_str), rounds, time)?);
        rows.extend(contexts::measure(&clew, asked.map(String::as_str), rounds, time / 2)?);
        rows.extend(tls::measure(&clew, asked.map(String::as_str), rounds, time / 2)?);
        rows.extend(features::measure(&clew, asked.map(String::as_str), rounds, time / 2)?);
    }
    ensure!(!rows.is_empty(), "no workload has that name");
    Ok(rows)
}

fn one(workload: &Workload, clew: &Path, rounds: usize, time: Duration) -> Result<Vec<Row>> {
    let lab = Lab::new(workload.name).context("tracing needs root")?;
    let port = free_port();
    let argv = (workload.argv)(&lab, port);
    let (program, args) = argv.split_first().context("a service has a program")?;
    let mut command = std::process::Command::new(program);
    command.args(args).current_dir(lab.dir());
    let mut service = Proc::start(lab.dir(), "service", command);
    service.until_listening(port);
    // Caches, JIT compilers and allocators settle.
    load(port, workload.path, workload.pace, Duration::from_secs(1))?;

    let window = |agent: Option<Agent>| -> Result<Window> {
        let before = process::cpu(service.pid());
        let seen = load(port, workload.path, workload.pace, time)?;
        let server_cpu = process::cpu(service.pid()).saturating_sub(before);
        let cost = agent.map(Agent::stop).transpose()?;
        Ok(Window { seen, server_cpu, cost })
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(window(None)?);
        with.push(window(Some(Agent::attach(&lab, clew, service.pid())))?);
    }
    let mut rows = compare(workload.name, &without, &with);
    let statistics = Statistics::on()?;
    let last = window(Some(Agent::attach(&lab, clew, service.pid())))?;
    drop(statistics);
    rows.extend(process::per_event(
        workload.name,
        &last.cost.unwrap_or_default().programs,
    ));
    Ok(rows)
}

fn compare(name: &str, without: &[Window], with: &[Window]) -> Vec<Row> {
    let of = |windows: &[Window], figure: fn(&Window) -> f64| median(windows.iter().map(figure).collect());
    let both =
        |metric: &str, figure: fn(&Window) -> f64| Row::both(name, metric, of(without, figure), of(with, figure));
    let agent = |metric: &str, figure: fn(&Window) -> f64| Row::agent(name, metric, of(with, figure));
    fn cost(window: &Window) -> Cost {
        window.cost.clone().unwrap_or_default()
    }
    const MIB: f64 = 1024.0 * 1024.0;
    let seen = |windows: &[Window]| windows.iter().map(|window| window.seen).collect::<Vec<_>>();
    let mut rows = compared(name, &seen(without), &seen(with));
    rows.extend([
        both("cpu_us_per_request", |window| {
            window.server_cpu.as_secs_f64() * 1e6 / row::float(window.seen.requests)
        }),
        agent("agent_cpu_us_per_exchange", |window| {
            cost(window).cpu.as_secs_f64() * 1e6 / row::float(window.seen.requests)
        }),
        agent("agent_rss_mib", |window| row::float(cost(window).rss_bytes) / MIB),
        agent("agent_map_mib", |window| row::float(cost(window).map_bytes) / MIB),
        agent("agent_total_mib", |window| {
            row::float(cost(window).rss_bytes + cost(window).map_bytes) / MIB
        }),
        agent("spans_per_request", |window| {
            row::float(cost(window).spans) / row::float(window.seen.requests)
        }),
    ]);
    // Not the median: one round that loses is one too many.
    let lost: u64 = with.iter().flat_map(|window| cost(window).lost).map(|(_, n)| n).sum();
    rows.push(Row::agent(name, "lost_events", row::float(lost)));
    for (counter, n) in with.iter().flat_map(|window| cost(window).lost) {
        println!("bench: {name}: {counter} {n}");
    }
    rows
}

//! Requests whose task spends known times in known ways.
//!
//! A server of axum's answers its client, one request after the other: the task that serves it burns CPU time, waits for one of the
//! runtime's threads that others burn, sleeps, has its thread sleep, waits for a mutex, for a channel, for another task and for another
//! server's answer. The answer says how long that took, how much of it was CPU time, and how much time of CPUs interrupts and other machines
//! took meanwhile, in nanoseconds. `/many` does all but burning in
//! one request of many at once, and says how long each took; `/outside` waits while the thread of its runtime is kept by what is no task.
//!
//! times-server [ROUNDS [KIND ...]]: so many requests come first, then all kinds or those that are named. RUNTIME says what runs the
//! tasks: several threads, or one (`current`), or a `LocalSet` on one (`local`), where `/outside` is not asked.
use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper_util::rt::TokioIo;
use tokio::sync::{Mutex, oneshot};
use tokio::task::{LocalSet, spawn_local};

const SPENT: Duration = Duration::from_millis(200);
/// How often what is asked alone is asked.
const TIMES: usize = 3;

/// What runs the tasks.
#[derive(Clone, Copy, PartialEq)]
enum Runner {
    /// Several threads.
    Threads,
    /// One thread.
    One,
    /// A `LocalSet` on one thread.
    Local,
    /// One thread, which is also kept by what is no task.
    Kept,
}

impl Runner {
    fn of_environment() -> Self {
        match std::env::var("RUNTIME").as_deref() {
            Ok("current") => Self::One,
            Ok("local") => Self::Local,
            _ => Self::Threads,
        }
    }

    const fn n_threads(self) -> usize {
        if matches!(self, Self::Threads) { 2 } else { 1 }
    }

    fn runtime(self) -> tokio::runtime::Runtime {
        let mut builder = match self {
            Self::Threads => tokio::runtime::Builder::new_multi_thread(),
            _ => tokio::runtime::Builder::new_current_thread(),
        };
        if self == Self::Threads {
            builder.worker_threads(self.n_threads());
        }
        builder.enable_all().build().expect("a runtime")
    }
}

/// The CPU time of the current thread.
fn thread_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is one for a time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn burn(much: Duration) -> Duration {
    let begun = thread_time();
    while thread_time() - begun < much {}
    thread_time() - begun
}

/// Is woken when others have all the runtime's threads.
async fn contend(n_threads: usize) {
    let busy = Arc::new(AtomicUsize::new(0));
    let (tell, told) = oneshot::channel();
    for _ in 0..n_threads {
        let busy = Arc::clone(&busy);
        tokio::spawn(async move {
            busy.fetch_add(1, Ordering::SeqCst);
            burn(SPENT);
        });
    }
    std::thread::spawn(move || {
        while busy.load(Ordering::SeqCst) < n_threads {}
        let _gone = tell.send(());
    });
    let _told = told.await;
}

async fn mutex() {
    let held = Arc::new(Mutex::new(()));
    let (tell, told) = oneshot::channel();
    let other = Arc::clone(&held);
    tokio::spawn(async move {
        let _guard = other.lock().await;
        let _gone = tell.send(());
        tokio::time::sleep(2 * SPENT).await;
    });
    let _told = told.await;
    let _guard = held.lock().await;
}

async fn channel() {
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        tokio::time::sleep(SPENT).await;
        let _gone = tell.send(());
    });
    let _told = told.await;
}

async fn network(slow: SocketAddr) {
    let connection = tokio::net::TcpStream::connect(slow).await.expect("connect");
    connection.writable().await.expect("a connection");
    let asks = b"GET /slow HTTP/1.1\r\nHost: slow.test\r\n\r\n";
    let _size = connection.try_write(asks).expect("ask");
    // What is said to be readable may not be.
    while connection.readable().await.is_ok() && connection.try_read(&mut [0; 4096]).is_err() {}
}

/// How much time of CPUs interrupts and other machines have taken.
fn taken() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/stat").expect("the kernel's statistics");
    // cpu user nice system idle iowait irq softirq steal
    let ticks = stat.split_whitespace().skip(6).take(3);
    ticks.filter_map(|number| number.parse::<u32>().ok()).sum::<u32>() * TICK
}

/// How long something takes, nanoseconds.
async fn took(wait: impl Future<Output = ()>) -> u128 {
    let begun = Instant::now();
    wait.await;
    begun.elapsed().as_nanos()
}

async fn many(slow: SocketAddr) -> String {
    let slept = took(tokio::time::sleep(SPENT / 4)).await;
    let asked = took(network(slow)).await;
    let waited = took(channel()).await;
    format!("{slept} ns and {asked} ns and {waited} ns")
}

async fn serve(kind: &str, slow: SocketAddr, runner: Runner) -> String {
    let before = taken();
    let begun = Instant::now();
    let mut burned = Duration::ZERO;
    match kind {
        "burn" => burned = burn(SPENT),
        "contend" => contend(runner.n_threads()).await,
        "threadsleep" => std::thread::sleep(SPENT),
        "mutex" => mutex().await,
        "channel" => channel().await,
        "join" => tokio::spawn(tokio::time::sleep(SPENT)).await.expect("a task that sleeps"),
        "network" => network(slow).await,
        "many" => return many(slow).await,
        // Clew may still be looking for what the program is when it is asked to warm up.
        _ => tokio::time::sleep(SPENT).await,
    }
    let [took, burned, taken] = [begun.elapsed(), burned, taken() - before].map(|time| time.as_nanos());
    format!("{took} ns and {burned} ns and {taken} ns")
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// Answers each connection's request late.
fn answer_slowly(listener: &TcpListener) {
    for connection in listener.incoming() {
        let mut connection = connection.expect("accept");
        std::thread::spawn(move || {
            let _size = connection.read(&mut [0; 4096]);
            std::thread::sleep(SPENT);
            let _gone = connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        });
    }
}

/// A server of its own.
fn start(listener: TcpListener, slow: SocketAddr, runner: Runner) {
    let runtime = runner.runtime();
    listener.set_nonblocking(true).expect("no waiting");
    let listen = || tokio::net::TcpListener::from_std(listener).expect("listen");
    std::thread::spawn(move || match runner {
        Runner::Local => runtime.block_on(async { LocalSet::new().run_until(serve_locally(listen(), slow)).await }),
        Runner::Threads | Runner::One => runtime.block_on(async {
            let served = tokio::spawn(serve_all(listen(), slow, runner));
            served.await.expect("a server");
        }),
        Runner::Kept => runtime.block_on(async {
            let _served = tokio::spawn(serve_all(listen(), slow, runner));
            loop {
                tokio::time::sleep(SPENT / 10).await;
                burn(SPENT / 5);
            }
        }),
    });
}

async fn serve_all(listener: tokio::net::TcpListener, slow: SocketAddr, runner: Runner) {
    let handler = move |Path(kind): Path<String>, State(slow)| async move { serve(&kind, slow, runner).await };
    let app = Router::new().route("/{kind}", get(handler)).with_state(slow);
    axum::serve(listener, app).await.expect("serve");
}

/// Each connection is served by a task of the `LocalSet`.
async fn serve_locally(listener: tokio::net::TcpListener, slow: SocketAddr) {
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| async move {
            let kind = request.uri().path().trim_start_matches('/').to_owned();
            let said = serve(&kind, slow, Runner::Local).await;
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(said)))
        });
        spawn_local(async move {
            let _gone = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn ask(server: SocketAddr, kind: &str, id: usize) {
    let mut connection = TcpStream::connect(server).expect("connect");
    let asks = format!("GET /{kind}?id={id} HTTP/1.1\r\nHost: times.test\r\nConnection: close\r\n\r\n");
    connection.write_all(asks.as_bytes()).expect("ask");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().map_or(10, |rounds| rounds.parse().expect("a number"));
    let chosen: Vec<String> = arguments.collect();
    let ((slow, at), (own, server), (single, kept)) = (listen(), listen(), listen());
    std::thread::spawn(move || answer_slowly(&slow));
    let runner = Runner::of_environment();
    start(own, at, runner);
    // Clew may still be looking for what the program is.
    for id in 0..rounds {
        ask(server, "warm", id);
    }
    let kinds = [
        "burn", "contend", "sleep", "threadsleep", "mutex", "channel", "join", "network",
    ];
    let is_chosen = |kind: &str| chosen.is_empty() || chosen.iter().any(|one| one == kind);
    for id in 0..TIMES {
        for kind in kinds.iter().filter(|kind| is_chosen(kind)) {
            ask(server, kind, id);
        }
    }
    if is_chosen("many") {
        let many = (0..64).map(|id| std::thread::spawn(move || ask(server, "many", id)));
        for asked in many.collect::<Vec<_>>() {
            asked.join().expect("an answer");
        }
    }
    if is_chosen("outside") && runner != Runner::Local {
        start(single, at, Runner::Kept);
        ask(kept, "warm", 0);
        for id in 0..TIMES {
            ask(kept, "outside", id);
        }
    }
}

//! Requests whose task spends known times in known ways.
//!
//! A server of axum's answers its client, one request after the other: the task that serves it burns CPU time, waits for one of the
//! runtime's threads that others burn, sleeps, has its thread sleep, waits for a mutex, for a channel, for another task and for another
//! server's answer. The answer says how long that took, and how much of it was CPU time, in nanoseconds. `/many` does all but burning in
//! one request of many at once, and `/outside` waits while the thread of its runtime is kept by what is no task.
//!
//! times-server [ROUNDS [KIND ...]]: so many requests come first, then all kinds or those that are named.
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use tokio::sync::{Mutex, oneshot};

const SPENT: Duration = Duration::from_millis(200);
/// How often what is asked alone is asked.
const TIMES: usize = 3;
/// Threads of the runtime.
const WORKERS: usize = 2;

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
async fn contend() {
    let busy = Arc::new(AtomicUsize::new(0));
    let (tell, told) = oneshot::channel();
    for _ in 0..WORKERS {
        let busy = Arc::clone(&busy);
        tokio::spawn(async move {
            busy.fetch_add(1, Ordering::SeqCst);
            burn(SPENT);
        });
    }
    std::thread::spawn(move || {
        while busy.load(Ordering::SeqCst) < WORKERS {}
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

async fn serve(Path(kind): Path<String>, State(slow): State<SocketAddr>) -> String {
    let begun = Instant::now();
    let mut burned = Duration::ZERO;
    match kind.as_str() {
        "burn" => burned = burn(SPENT),
        "contend" => contend().await,
        "threadsleep" => std::thread::sleep(SPENT),
        "mutex" => mutex().await,
        "channel" => channel().await,
        "join" => tokio::spawn(tokio::time::sleep(SPENT)).await.expect("a task that sleeps"),
        "network" => network(slow).await,
        "many" => {
            tokio::time::sleep(SPENT / 4).await;
            network(slow).await;
            channel().await;
        }
        // Clew may still be looking for what the program is when it is asked to warm up.
        _ => tokio::time::sleep(SPENT).await,
    }
    format!("{} ns and {} ns", begun.elapsed().as_nanos(), burned.as_nanos())
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

/// A server of its own on a runtime of `workers` threads, or on this thread alone, which `main` keeps.
fn start(listener: TcpListener, slow: SocketAddr, workers: usize) {
    let mut builder = match workers {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if workers > 0 {
        builder.worker_threads(workers);
    }
    let runtime = builder.enable_all().build().expect("a runtime");
    std::thread::spawn(move || {
        runtime.block_on(async move {
            listener.set_nonblocking(true).expect("no waiting");
            let listener = tokio::net::TcpListener::from_std(listener).expect("listen");
            let app = Router::new().route("/{kind}", get(serve)).with_state(slow);
            let served = tokio::spawn(async { axum::serve(listener, app).await.expect("serve") });
            if workers > 0 {
                return served.await.expect("a server");
            }
            loop {
                tokio::time::sleep(SPENT / 10).await;
                burn(SPENT / 5);
            }
        })
    });
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
    start(own, at, WORKERS);
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
    if is_chosen("outside") {
        start(single, at, 0);
        ask(kept, "warm", 0);
        for id in 0..TIMES {
            ask(kept, "outside", id);
        }
    }
}

//! axum and reqwest: one request makes calls at once, one after the other, given up, refused, in tasks and sets of tasks, from
//! the pool for blocking work, through a worker that serves all requests, and one that outlives the request. Every call goes
//! to the leaf (NEXT: PORT/path) and repeats the request's number.
//!
//! Arguments: the port. RUNTIME=current runs everything on one thread.
mod common;
mod runtime;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use common::{leaf, short};
use reqwest::Client;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// A request's number.
#[derive(serde::Deserialize)]
struct Number {
    id: u64,
}

/// What the worker is asked to call, and where the answer goes.
type Job = (u64, oneshot::Sender<u16>);

/// The worker, started by the first request that needs it.
static WORKER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();

async fn call(client: Client, path: &'static str, number: u64) -> u16 {
    let answer = client
        .get(format!("http://127.0.0.1:{}/{path}?id={number}", leaf()))
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let status = answer.status().as_u16();
            answer.bytes().await.map_or(500, |_| status)
        }
        Err(_) => 500,
    }
}

async fn refused(client: Client, port: u16) -> u16 {
    match client.get(format!("http://127.0.0.1:{port}/")).send().await {
        Ok(_) => 500,
        Err(_) => 200,
    }
}

async fn given_up(client: Client, number: u64) -> u16 {
    let _given_up = tokio::time::timeout(short(6000), call(client, "cancelled", number)).await;
    200
}

/// Asks the worker, and starts it if nobody has.
async fn worked(client: Client, number: u64) -> u16 {
    let worker = WORKER.get_or_init(|| {
        let (jobs, mut todo) = mpsc::channel::<Job>(64);
        tokio::spawn(async move {
            while let Some((number, done)) = todo.recv().await {
                let _gone = done.send(call(client.clone(), "worker", number).await);
            }
        });
        jobs
    });
    let (done, answer) = oneshot::channel();
    if worker.send((number, done)).await.is_err() {
        return 500;
    }
    answer.await.unwrap_or(500)
}

/// A port on which nobody listens.
fn refusing_port() -> u16 {
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    free.local_addr().expect("its address").port()
}

/// A call without tokio, on a connection of its own.
fn blocking_get(path: &str, number: u64) -> u16 {
    let answer = (|| {
        let mut stream = TcpStream::connect(("127.0.0.1", leaf()))?;
        let request = format!("GET /{path}?id={number} HTTP/1.1\r\nHost: leaf\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    })();
    let status = answer.ok().and_then(|answer| answer.split(' ').nth(1)?.parse().ok());
    status.unwrap_or(500)
}

async fn front(
    State((client, closed)): State<(Client, u16)>,
    Query(Number { id }): Query<Number>,
) -> Result<String, axum::http::StatusCode> {
    tokio::time::sleep(short(5000)).await;
    let spawned = tokio::spawn(call(client.clone(), "spawned", id));
    let mut set = JoinSet::new();
    for path in ["set1", "set2"] {
        set.spawn(call(client.clone(), path, id));
    }
    let pooled = tokio::task::spawn_blocking(move || blocking_get("blocking", id));
    let (a, b, c, d) = tokio::join!(
        call(client.clone(), "a", id),
        call(client.clone(), "b", id),
        refused(client.clone(), closed),
        given_up(client.clone(), id),
    );
    let mut codes = vec![a, b, c, d];
    codes.extend(set.join_all().await);
    codes.push(spawned.await.unwrap_or(500));
    codes.push(pooled.await.unwrap_or(500));
    tokio::time::sleep(short(2000)).await;
    if std::env::var_os("WORKER").is_some() {
        codes.push(worked(client.clone(), id).await);
    }
    codes.push(call(client.clone(), "last", id).await);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(10) + short(10_000)).await;
        call(client, "later", id).await
    });
    let worst = codes.iter().max().copied().unwrap_or(500);
    axum::http::StatusCode::from_u16(worst)
        .ok()
        .filter(|status| status.is_success())
        .map(|_| "ok\n".to_owned())
        .ok_or(axum::http::StatusCode::BAD_GATEWAY)
}

/// Three lines to the standard error around a wait, the second by another task, a call of write(2) for each of their parts.
async fn logs(Query(Number { id }): Query<Number>) -> &'static str {
    eprintln!("INFO begin rid={id} of request");
    let other = tokio::spawn(async move {
        tokio::time::sleep(short(4000)).await;
        eprintln!("WARN fine rid={id} of request");
    });
    let _done = other.await;
    eprintln!("INFO end rid={id} of request");
    "ok\n"
}

/// Waits for another task, and does nothing else.
async fn waits() -> &'static str {
    let _done = tokio::spawn(async {}).await;
    "ok\n"
}

async fn failing() {
    panic!("no stock");
}

async fn serve(port: u16) {
    let client = Client::new();
    let app = Router::new()
        .route("/front", get(front))
        .route("/logs", get(logs))
        .route("/waits", get(waits))
        .route("/panic", get(failing))
        .with_state((client, refusing_port()));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("listen");
    axum::serve(listener, app).await.expect("serve");
}

fn main() {
    runtime::run(serve);
}

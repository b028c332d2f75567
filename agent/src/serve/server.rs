//! Listens, and serves on a thread of its own.
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use super::answer::{Body, Problem};
use super::api;
use super::connections::{Connections, Patient, Place};
use super::guard::Access;
use crate::store::sqlite::SqliteReader;
use crate::store::{Reader, StoreError};

/// Where questions are answered unless told otherwise.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9911);
/// Connections served at once; whoever is not being answered makes way for more.
const CONNECTIONS: usize = 128;
/// How long a request's head may take.
pub(super) const HEAD: Duration = Duration::from_secs(10);
/// The largest head, which has the query in it: 4096 characters of any kind, each of them up to 12 bytes.
pub(super) const HEAD_BYTES: usize = 64 << 10;
/// Questions answered at once.
const READERS: usize = 4;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not this machine's.
    #[error("failed to listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// There is no thread or runtime.
    #[error("failed to start a thread that answers")]
    Thread(#[source] io::Error),
}

/// A port that is held, and not yet served.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    access: Access,
}

/// Takes an address.
///
/// # Errors
/// It cannot be had.
pub fn bind(address: SocketAddr) -> Result<Listening, ServeError> {
    let failed = |error| ServeError::Listen(address, error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let access = Access::new(listener.local_addr().map_err(failed)?);
    Ok(Listening { listener, access })
}

/// Takes an address, or the next port of it that is free.
///
/// # Errors
/// None of them can be had.
pub fn bind_near(address: SocketAddr) -> Result<Listening, ServeError> {
    /// Others that run beside this one, as a rule.
    const PORTS: u16 = 50;
    let mut next = address;
    loop {
        match bind(next) {
            Err(ServeError::Listen(_, error))
                if error.kind() == io::ErrorKind::AddrInUse && next.port() - address.port() < PORTS =>
            {
                next.set_port(next.port().saturating_add(1));
            }
            other => return other,
        }
    }
}

/// What a port is served by, and to whom.
pub(super) fn listener(listening: Listening) -> Option<(tokio::net::TcpListener, Access)> {
    let listener = tokio::net::TcpListener::from_std(listening.listener).ok()?;
    Some((listener, listening.access))
}

impl Listening {
    /// Where programs send to, and the token they need.
    pub fn endpoint(&self) -> (SocketAddr, Option<&str>) {
        (self.access.address(), self.access.token())
    }

    /// Where a browser finds it.
    pub fn url(&self) -> String {
        self.access.url()
    }
}

/// Answers until it is dropped.
#[derive(Debug)]
pub struct Server {
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Serves a store on a thread. `prepare` is called on each thread that reads it, before it does.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(
        listening: Listening,
        folder: PathBuf,
        prepare: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(READERS)
            .thread_keep_alive(Duration::from_secs(5))
            .thread_name("clew-read")
            .on_thread_start(prepare)
            .build()
            .map_err(ServeError::Thread)?;
        let stop = beside("clew-serve", runtime, accept(listening, folder))?;
        Ok(Self { _stop: stop })
    }
}

/// Runs `accepts` on a thread of its own until what is given back is dropped.
///
/// # Errors
/// There is no thread.
pub(super) fn beside(
    name: &str,
    runtime: tokio::runtime::Runtime,
    accepts: impl Future<Output = ()> + Send + 'static,
) -> Result<oneshot::Sender<()>, ServeError> {
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    let started = thread.spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = accepts => {}
                // Also where it is dropped.
                _ = stopped => {}
            }
        });
        runtime.shutdown_background();
    });
    started.map_err(ServeError::Thread)?;
    Ok(stop)
}

async fn accept(listening: Listening, folder: PathBuf) {
    let Some((listener, access)) = listener(listening) else {
        return;
    };
    let service = Arc::new(Service {
        access,
        readers: Arc::new(Readers {
            folder,
            idle: Mutex::new(Vec::new()),
        }),
        followers: Arc::new(Semaphore::new(super::follow::MOST_FOLLOWERS)),
        imports: Semaphore::new(1),
    });
    let connections = Connections::new(CONNECTIONS);
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            // No descriptors are left, as a rule: others have to end first.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = Arc::clone(&service);
        let place = Arc::new(connections.enter().await);
        let number = place.number();
        let served = tokio::spawn(async move {
            let asked = service_fn(move |request| {
                let (service, place) = (Arc::clone(&service), Arc::clone(&place));
                async move { Ok::<_, Infallible>(service.serve(request, &place).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(Patient::new(connection)), asked);
            // A client that is gone is no trouble of ours.
            let _gone = served.await;
        });
        connections.served_by(number, served.abort_handle());
    }
}

/// What each connection needs.
pub(super) struct Service {
    access: Access,
    pub(super) readers: Arc<Readers>,
    pub(super) followers: Arc<Semaphore>,
    /// Who adds traces: one at a time, since each may bring much.
    pub(super) imports: Semaphore,
}

impl Service {
    async fn serve(&self, request: Request<Incoming>, place: &Place) -> Response<Body> {
        let answering = place.answering();
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let public = !path.starts_with("/api/") && path != api::MCP;
        let answer = match self
            .access
            .check(&parts.method, &parts.headers, public, api::takes(path))
        {
            Ok(()) if parts.method == Method::POST => api::take(self, path, body).await,
            // A body is not read: it ends the connection.
            Ok(()) => api::answer(self, &parts.uri).await,
            Err(refused) => Err(refused.into()),
        };
        let mut response = answer.unwrap_or_else(|problem: Problem| problem.response());
        response.body_mut().hold(answering);
        response
    }
}

/// Readers that wait to be asked.
pub(super) struct Readers {
    folder: PathBuf,
    idle: Mutex<Vec<SqliteReader>>,
}

impl Readers {
    /// Asks the store on a thread that may wait for the disk.
    pub(super) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let readers = Arc::clone(self);
        let asked = self.aside(move || {
            let idle = readers.lock().pop();
            let reader = match idle {
                Some(reader) => reader,
                None => SqliteReader::open(&readers.folder)?,
            };
            let answer = question(&reader)?;
            let mut idle = readers.lock();
            if idle.len() < READERS {
                idle.push(reader);
            }
            Ok::<T, StoreError>(answer)
        });
        Ok(asked.await??)
    }

    /// Does something on such a thread.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        what: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let ended = |_| {
            Problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the question was given up".to_owned(),
            )
        };
        tokio::task::spawn_blocking(what).await.map_err(ended)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<SqliteReader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

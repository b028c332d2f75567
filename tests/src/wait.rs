//! Waiting for conditions, never for time.
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a condition may take on a loaded machine before the test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How long a program may take to its end that starts servers and does all that a test is about.
pub(crate) const WHOLE: Duration = Duration::from_secs(240);

/// Asks until there is an answer, and panics with `what` when there is none within [`DEADLINE`].
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, what, condition)
}

/// The same within a time.
pub(crate) fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A TCP port that is free on both loopback addresses, outside the range the kernel gives to clients, and that no other test or
/// measurement takes while this process lives.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let seed = u16::try_from(std::process::id() % 9000).unwrap_or(0);
    loop {
        let port = 20_000 + (seed + NEXT.fetch_add(1, Ordering::Relaxed)) % 9000;
        let is_free = || TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("::1", port)).is_ok();
        if is_mine(port) && is_free() {
            return port;
        }
    }
}

/// Takes a port's name, an abstract socket, which goes with the process: between asking for a port and listening on it
/// another process would get the same.
fn is_mine(port: u16) -> bool {
    static NAMES: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let Ok(name) = SocketAddr::from_abstract_name(format!("clew-test-port-{port}")) else {
        return false;
    };
    let taken = UnixDatagram::bind_addr(&name);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    taken.map(|socket| names.push(socket)).is_ok()
}

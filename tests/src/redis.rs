//! Redis as the tests use it.
use crate::lab::Lab;

/// The command line of a server on `port` that keeps nothing.
pub fn redis(lab: &Lab, port: u16) -> Vec<String> {
    let (port, folder) = (port.to_string(), lab.dir().display().to_string());
    let words = [
        "redis-server",
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        &folder,
        "--loglevel",
        "warning",
    ];
    words.map(str::to_owned).to_vec()
}

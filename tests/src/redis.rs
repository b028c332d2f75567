//! Redis as the tests use it.
use crate::certificate::Certificate;
use crate::lab::Lab;

/// As [`redis`], with another port that speaks TLS.
pub fn redis_tls(lab: &Lab, port: u16, secured: u16, certificate: &Certificate) -> Vec<String> {
    let secured = secured.to_string();
    let more = [
        "--tls-port",
        &secured,
        "--tls-cert-file",
        certificate.file(),
        "--tls-key-file",
        certificate.key(),
        "--tls-ca-cert-file",
        certificate.file(),
        "--tls-auth-clients",
        "no",
    ];
    let mut argv = redis(lab, port);
    argv.extend(more.map(str::to_owned));
    argv
}

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

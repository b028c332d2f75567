//! gRPC by tonic.
//!
//! ```text
//! tonic-server                     starts a server process and makes calls of every kind, each way to end
//! tonic-server many N              starts one and makes N calls, 256 at a time on one connection
//! tonic-server serve PORT          the server of both; it ends with its standard input
//! tonic-server front PORT NEXT     serves HTTP/1.1 and calls NEXT, twice side by side
//! tonic-server middle PORT NEXT    serves gRPC and calls NEXT: one call after the other, some side by side, a stream, some given
//!                                  up, one behind the answer
//! tonic-server mixed PORT NEXT     serves gRPC and calls NEXT over HTTP/1.1, without the stream
//! tonic-server within N            is mixed, and what it calls, and makes N calls to itself
//! tonic-server within N all        the same where it calls over gRPC
//! tonic-server leaf PORT           serves gRPC
//! tonic-server axum ROLE PORT ...  the same three over HTTP/2 by axum and reqwest, without the stream
//! ```
//!
//! With CERTIFICATE and KEY (files) gRPC is over TLS, else without. RUNTIME=current runs everything on one thread.
mod calls;
mod chain;
mod raw;

use chain::Next;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

/// Streams that a server lets a connection have at once.
const STREAMS: u32 = 256;

fn pem(variable: &str) -> Option<Vec<u8>> {
    std::fs::read(std::env::var_os(variable)?).ok()
}

/// A server, and how it is reached on `port`.
fn server() -> Server {
    // Calls that are given up, as some are in each request, may all be so at once; h2 takes more than 20 for an attack.
    let server = Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_max_pending_accept_reset_streams(Some(STREAMS as usize));
    match (pem("CERTIFICATE"), pem("KEY")) {
        (Some(certificate), Some(key)) => {
            let identity = Identity::from_pem(certificate, key);
            let tls = ServerTlsConfig::new().identity(identity);
            server.tls_config(tls).expect("a certificate and its key")
        }
        _ => server,
    }
}

/// One connection to `port`, which is opened by the first call.
fn channel(port: u16) -> Channel {
    let Some(certificate) = pem("CERTIFICATE") else {
        let url = format!("http://127.0.0.1:{port}");
        return Endpoint::from_shared(url).expect("an address").connect_lazy();
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(certificate))
        .domain_name("localhost");
    Endpoint::from_shared(format!("https://127.0.0.1:{port}"))
        .and_then(|endpoint| endpoint.tls_config(tls))
        .expect("an address")
        .connect_lazy()
}

async fn run(words: &[&str]) {
    let port = |word: &str| word.parse().expect("a port");
    match words {
        [] => calls::with_server(calls::every_kind).await,
        ["many", count] => {
            let count = count.parse().expect("a number");
            calls::with_server(|channel| calls::many(channel, count)).await;
        }
        ["serve", own] => calls::serve(port(own)).await,
        ["front", own, next] => chain::front(port(own), Next::Grpc(channel(port(next)))).await,
        ["middle", own, next] => chain::serve(port(own), Some(Next::Grpc(channel(port(next))))).await,
        ["mixed", own, next] => chain::serve(port(own), Some(Next::http(port(next)))).await,
        ["within", count] => chain::within(count.parse().expect("a number"), false).await,
        ["within", count, "all"] => chain::within(count.parse().expect("a number"), true).await,
        ["leaf", own] => chain::serve(port(own), None).await,
        ["axum", "front", own, next] => chain::front(port(own), Next::http2(port(next))).await,
        ["axum", "middle", own, next] => chain::serve_http(port(own), Some(Next::http2(port(next)))).await,
        ["axum", "leaf", own] => chain::serve_http(port(own), None).await,
        _ => panic!("what to do is said in main.rs"),
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut builder = if std::env::var("RUNTIME").is_ok_and(|runtime| runtime == "current") {
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(4);
        builder
    };
    builder.enable_all().build().expect("a runtime").block_on(run(&words));
}

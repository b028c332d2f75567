//! openssl-server: what `secured.rs` says, over tokio-openssl and native-tls.
use std::pin::Pin;

use openssl::ssl::{Ssl, SslAcceptor, SslFiletype, SslMethod};
use tokio_openssl::SslStream;

#[path = "../../secured.rs"]
mod secured;

#[tokio::main(worker_threads = 4)]
async fn main() {
    secured::run(|certificate, key| {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("a server");
        builder
            .set_certificate_chain_file(certificate)
            .expect("the certificate");
        builder.set_private_key_file(key, SslFiletype::PEM).expect("the key");
        let acceptor = builder.build();
        move |stream| {
            let session = Ssl::new(acceptor.context()).expect("a session");
            async {
                let mut stream = SslStream::new(session, stream).expect("a stream");
                Pin::new(&mut stream).accept().await.is_ok().then_some(stream)
            }
        }
    })
    .await;
}

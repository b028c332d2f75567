//! rustls-server: what `secured.rs` says, over tokio-rustls.
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

#[path = "../../secured.rs"]
mod secured;

#[tokio::main(worker_threads = 4)]
async fn main() {
    secured::run(|certificate, key| {
        let certificates = CertificateDer::pem_file_iter(certificate)
            .expect("read the certificate")
            .collect::<Result<_, _>>()
            .expect("certificates");
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKeyDer::from_pem_file(key).expect("read the key"))
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        move |stream| {
            let accepted = acceptor.accept(stream);
            async { accepted.await.ok() }
        }
    })
    .await;
}

//! rustls-0-21-server: what `secured.rs` says, over tokio-rustls, where rustls has its own types for certificates.
use std::sync::Arc;

use rustls::{Certificate, PrivateKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

#[path = "../../secured.rs"]
mod secured;

#[tokio::main(worker_threads = 4)]
async fn main() {
    secured::run(|certificate, key| {
        let certificates = CertificateDer::pem_file_iter(certificate)
            .expect("read the certificate")
            .map(|certificate| Certificate(certificate.expect("a certificate").to_vec()))
            .collect();
        let key = PrivateKeyDer::from_pem_file(key).expect("read the key");
        let config = rustls::ServerConfig::builder()
            .with_safe_defaults()
            .with_no_client_auth()
            .with_single_cert(certificates, PrivateKey(key.secret_der().to_vec()))
            .expect("a configuration");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        move |stream| {
            let accepted = acceptor.accept(stream);
            async { accepted.await.ok() }
        }
    })
    .await;
}

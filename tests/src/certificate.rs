//! A certificate for `localhost`, made for one test.
use std::process::Command;

use crate::lab::Lab;

/// A certificate that is its own authority, and its key, in the lab's folder.
#[derive(Clone, Debug)]
pub struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    /// Makes one, with the command of OpenSSL.
    pub fn new(lab: &Lab) -> Self {
        let at = |name: &str| lab.dir().join(name).display().to_string();
        let (certificate, key) = (at("certificate.pem"), at("key.pem"));
        // The machine's own configuration may say anything, or be absent.
        let config = lab.file("openssl.cnf", "[req]\ndistinguished_name = name\n[name]\n");
        let made = Command::new("openssl")
            .args([
                "req",
                "-config",
                &config.display().to_string(),
                "-x509",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-keyout", &key, "-out", &certificate])
            .output()
            .expect("start openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { certificate, key }
    }

    /// The certificate's file.
    pub fn file(&self) -> &str {
        &self.certificate
    }

    /// The key's file.
    pub fn key(&self) -> &str {
        &self.key
    }
}

//! MariaDB as the tests use it.
use std::process::Command;

use crate::certificate::Certificate;
use crate::lab::Lab;

/// The user the server runs as.
const USER: &str = "mysql";

/// The command line of a server on `port` that begins with nothing, lets everyone in, and has TLS if it has a certificate.
pub fn mariadb(lab: &Lab, port: u16, certificate: Option<&Certificate>) -> Vec<String> {
    let folder = lab.dir().join("mariadb");
    std::fs::create_dir_all(&folder).expect("create the server's folder");
    let folder = folder.display().to_string();
    let owned = Command::new("chown")
        .args([USER, &folder])
        .status()
        .expect("start chown");
    assert!(owned.success(), "{folder}");
    let mut argv = vec![
        "mariadbd".to_owned(),
        "--no-defaults".to_owned(),
        format!("--user={USER}"),
        format!("--datadir={folder}"),
        format!("--socket={folder}/socket"),
        format!("--port={port}"),
    ];
    argv.extend(
        [
            "--bind-address=127.0.0.1",
            "--skip-grant-tables",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=8M",
            "--innodb-log-file-size=4M",
            "--innodb-flush-log-at-trx-commit=0",
        ]
        .map(str::to_owned),
    );
    if let Some(certificate) = certificate {
        // The server gives up being root before it reads the key.
        let key = lab.dir().join("mariadb-key.pem");
        std::fs::copy(certificate.key(), &key).expect("copy the key");
        let key = key.display().to_string();
        let owned = Command::new("chown").args([USER, &key]).status().expect("start chown");
        assert!(owned.success(), "{key}");
        argv.extend([format!("--ssl-cert={}", certificate.file()), format!("--ssl-key={key}")]);
    }
    argv
}

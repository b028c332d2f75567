//! PostgreSQL as the tests use it.
use std::process::Command;

use crate::certificate::Certificate;
use crate::lab::Lab;
use crate::process::command;

/// The user the server runs as: it refuses to be root.
const USER: &str = "postgres";

/// A cluster in the lab's folder, with a database `shop` that has a table `items`.
#[derive(Debug)]
pub struct Postgresql {
    /// Its command line: the server in the foreground.
    pub argv: Vec<String>,
    /// How clients name its database.
    pub dsn: String,
}

/// Makes a cluster that listens on `port`.
pub fn postgresql(lab: &Lab, port: u16) -> Postgresql {
    cluster(lab, port, None)
}

/// As [`postgresql`], speaking TLS.
pub fn postgresql_tls(lab: &Lab, port: u16, certificate: &Certificate) -> Postgresql {
    cluster(lab, port, Some(certificate))
}

fn cluster(lab: &Lab, port: u16, certificate: Option<&Certificate>) -> Postgresql {
    let bin = bin();
    let folder = lab.dir().join("postgresql");
    std::fs::create_dir_all(&folder).expect("create the cluster's folder");
    let folder = folder.display().to_string();
    let data = format!("{folder}/data");
    run(Command::new("chown").args([USER, &folder]));
    let initdb = format!("{bin}/initdb");
    run(&mut as_user(&[
        &initdb,
        "-D",
        &data,
        "-A",
        "trust",
        "-N",
        "-E",
        "UTF8",
        "--locale=C",
    ]));
    // Without the network, before anything is traced.
    let mut single = as_user(&[&format!("{bin}/postgres"), "--single", "-D", &data, "-F", "postgres"]);
    feed(&mut single, "CREATE DATABASE shop;\n");
    let mut single = as_user(&[&format!("{bin}/postgres"), "--single", "-D", &data, "-F", "shop"]);
    feed(&mut single, "CREATE TABLE items (id serial, name text);\n");
    let postgres = format!("{bin}/postgres");
    let (port_text, settings) = (
        port.to_string(),
        ["fsync=off", "listen_addresses=127.0.0.1", "max_connections=50"],
    );
    let mut argv = user_argv(&[&postgres, "-D", &data, "-p", &port_text, "-k", &folder]);
    for setting in settings {
        argv.extend(["-c".to_owned(), setting.to_owned()]);
    }
    if let Some(certificate) = certificate {
        // Its key has to be its own, and closed to others.
        let key = format!("{folder}/key.pem");
        run(Command::new("cp").args([certificate.key(), &key]));
        run(Command::new("chown").args([USER, &key]));
        run(Command::new("chmod").args(["600", &key]));
        let cert = certificate.file();
        for setting in [
            "ssl=on".to_owned(),
            format!("ssl_cert_file={cert}"),
            format!("ssl_key_file={key}"),
        ] {
            argv.extend(["-c".to_owned(), setting]);
        }
    }
    let how = if certificate.is_some() { "require" } else { "disable" };
    Postgresql {
        argv,
        dsn: format!("host=127.0.0.1 port={port} user={USER} dbname=shop sslmode={how} gssencmode=disable"),
    }
}

/// The folder of the newest release.
fn bin() -> String {
    let releases = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = releases
        .filter_map(|release| release.file_name().to_string_lossy().parse::<u32>().ok())
        .max()
        .expect("PostgreSQL is missing: run `cargo xtask setup`");
    format!("/usr/lib/postgresql/{newest}/bin")
}

fn user_argv(argv: &[&str]) -> Vec<String> {
    let user = format!("--reuid={USER}");
    let group = format!("--regid={USER}");
    let mut words = vec!["setpriv".to_owned(), user, group, "--clear-groups".to_owned()];
    words.extend(argv.iter().map(|&word| word.to_owned()));
    words
}

fn as_user(argv: &[&str]) -> Command {
    command(&user_argv(argv))
}

fn run(command: &mut Command) {
    let output = command.output().expect("start a program");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn feed(command: &mut Command, text: &str) {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start a program");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("it ends").success(), "{command:?}");
}

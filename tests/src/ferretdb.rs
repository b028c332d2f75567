//! FerretDB, which speaks MongoDB's protocol, as the tests use it.
use crate::lab::Lab;

/// The command line of a server on `port`, where this machine has one: `CLEW_TEST_FERRETDB` names the program, since no
/// package brings it and to build it takes longer than all tests of databases together (tests/fixtures/record_mongodb.py).
pub fn ferretdb(lab: &Lab, port: u16) -> Option<Vec<String>> {
    let program = std::env::var("CLEW_TEST_FERRETDB").ok()?;
    let folder = lab.dir().display().to_string();
    let words = [
        program,
        "--handler=sqlite".to_owned(),
        format!("--sqlite-url=file:{folder}/"),
        format!("--state-dir={folder}"),
        format!("--listen-addr=127.0.0.1:{port}"),
        "--telemetry=disable".to_owned(),
        "--debug-addr=-".to_owned(),
        "--log-level=error".to_owned(),
    ];
    Some(words.to_vec())
}

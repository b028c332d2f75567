//! OpenSearch as the tests use it: one node.
use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, target};
use crate::plan::Plan;
use crate::wait::free_port;

/// The release of Java that it runs on.
const RELEASE: u32 = 17;
/// Memory the server needs, with room, KiB.
const NEEDED_KIB: u64 = 2 << 20;
/// What keeps the server small and its start short.
const JAVA: [&str; 4] = [
    "-Xmx320m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dlog4j2.disable.jmx=true",
];

/// Where OpenSearch can be started: the command without its arguments.
pub struct OpenSearch(Vec<String>);

impl Lab {
    /// OpenSearch; none where it is not here or has no room, and the test is skipped, which is then said.
    pub fn opensearch(&self) -> Option<OpenSearch> {
        let Some(libraries) = Self::fetched("opensearch") else {
            self.skip("OpenSearch's libraries could not be had: `cargo xtask setup` says why");
            return None;
        };
        let Some(java) = Self::jdk(RELEASE) else {
            self.skip("OpenSearch wants Java 17");
            return None;
        };
        if !self.has_room(NEEDED_KIB) {
            return None;
        }
        let classes = target().join("workloads/opensearch");
        let source = Self::workload("java/opensearch/Search.java");
        let mut javac = Command::new("javac");
        javac.args(["-nowarn", "--release", "17", "-cp", &libraries, "-d"]);
        let output = javac.arg(&classes).arg(Path::new(&source)).output();
        let output = output.expect("start the compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let classes = classes.canonicalize().expect("it was made");
        let mut words = vec![java];
        words.extend(JAVA.map(str::to_owned));
        words.extend([
            "-cp".to_owned(),
            format!("{}:{libraries}", classes.display()),
            "Search".to_owned(),
        ]);
        Some(OpenSearch(words))
    }
}

impl Plan {
    /// Adds a server of OpenSearch on `port`.
    #[must_use]
    pub fn opensearch(self, lab: &Lab, server: &OpenSearch, port: u16) -> Self {
        let folder = lab.dir().join("opensearch").display().to_string();
        let (port_text, transport) = (port.to_string(), free_port().to_string());
        let words = server.0.iter().map(String::as_str);
        let words: Vec<&str> = words.chain([&*folder, &*port_text, &*transport]).collect();
        self.service(port, &words)
    }
}

//! OpenSearch as the tests use it: one node.
use crate::lab::Lab;
use crate::plan::Plan;
use crate::wait::free_port;

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
        let (java, class_path) = self.java_with("opensearch", &["Search"], NEEDED_KIB)?;
        let mut words = vec![java];
        words.extend(JAVA.map(str::to_owned));
        words.extend(["-cp", &class_path, "Search"].map(str::to_owned));
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

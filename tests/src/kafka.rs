//! Apache Kafka as the tests use it: one node that is broker and controller.
use std::process::Command;

use crate::lab::Lab;
use crate::plan::Plan;
use crate::wait::free_port;

/// Memory the broker needs, with room, KiB.
const NEEDED_KIB: u64 = 1 << 20;
/// What keeps the broker small and its start short.
const JAVA: [&str; 6] = [
    "java",
    "-Xmx192m",
    "-Xms64m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-cp",
];

impl Lab {
    /// The class path of Kafka; none where it is not here or has no room, and the test is skipped, which is then said.
    pub fn kafka(&self) -> Option<String> {
        self.libraries("kafka", NEEDED_KIB)
    }
}

impl Plan {
    /// Adds a broker of Kafka on `port`.
    #[must_use]
    pub fn kafka(self, lab: &Lab, libraries: &str, port: u16) -> Self {
        let controller = free_port();
        let data = lab.dir().join("kafka");
        let config = lab.file(
            "server.properties",
            &format!(
                "process.roles=broker,controller\n\
                 node.id=1\n\
                 controller.quorum.voters=1@127.0.0.1:{controller}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
                 controller.listener.names=CONTROLLER\n\
                 log.dirs={}\n\
                 log.cleaner.dedupe.buffer.size=2097152\n\
                 offsets.topic.replication.factor=1\n\
                 offsets.topic.num.partitions=1\n\
                 group.initial.rebalance.delay.ms=0\n",
                data.display()
            ),
        );
        let config = config.display().to_string();
        let java = |words: &[&str]| -> Vec<String> {
            let words = JAVA.iter().chain([&libraries]).chain(words);
            words.map(|&word| word.to_owned()).collect()
        };
        let format = [
            "kafka.tools.StorageTool",
            "format",
            "-t",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "-c",
            &config,
        ];
        let format = java(&format);
        let (program, arguments) = format.split_first().expect("words");
        let output = Command::new(program).args(arguments).output().expect("start java");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let broker = java(&["kafka.Kafka", &config]);
        let broker: Vec<&str> = broker.iter().map(String::as_str).collect();
        self.service(port, &broker)
    }
}

//! Apache Cassandra as the tests use it: one node.
use crate::lab::Lab;
use crate::plan::Plan;
use crate::wait::free_port;

/// The release of Java that it runs on.
const RELEASE: u32 = 17;
/// Memory the server needs, with room, KiB.
const NEEDED_KIB: u64 = 3 << 20;
/// What keeps the server small and its start short.
const JAVA: [&str; 8] = [
    "-Xmx256m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.security.manager=allow",
    "-Dcassandra-foreground=yes",
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=1",
];
/// What of Java's own it uses.
const EXPORTS: [&str; 11] = [
    "java.base/java.lang.ref",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.unsupported/sun.misc",
];
const OPENS: [&str; 9] = [
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
];

/// Where Cassandra can be started.
pub struct Cassandra {
    java: String,
    libraries: String,
}

impl Lab {
    /// Cassandra; none where it is not here or has no room, and the test is skipped, which is then said.
    pub fn cassandra(&self) -> Option<Cassandra> {
        let libraries = self.libraries("cassandra", NEEDED_KIB)?;
        let java = self.java_for("cassandra", RELEASE)?;
        Some(Cassandra { java, libraries })
    }
}

impl Plan {
    /// Adds a server of Cassandra on `port`.
    #[must_use]
    pub fn cassandra(self, lab: &Lab, cassandra: &Cassandra, port: u16) -> Self {
        let (storage, folder) = (free_port(), lab.dir().join("cassandra"));
        let folder = folder.display();
        let config = lab.file(
            "cassandra.yaml",
            &format!(
                "cluster_name: clew\n\
                 num_tokens: 1\n\
                 partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
                 commitlog_sync: periodic\n\
                 commitlog_sync_period: 10000ms\n\
                 commitlog_segment_size: 4MiB\n\
                 data_file_directories: ['{folder}/data']\n\
                 commitlog_directory: '{folder}/commitlog'\n\
                 saved_caches_directory: '{folder}/saved'\n\
                 hints_directory: '{folder}/hints'\n\
                 seed_provider:\n  \
                 - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n    \
                 parameters:\n      \
                 - seeds: '127.0.0.1:{storage}'\n\
                 listen_address: 127.0.0.1\n\
                 rpc_address: 127.0.0.1\n\
                 storage_port: {storage}\n\
                 native_transport_port: {port}\n\
                 start_native_transport: true\n\
                 endpoint_snitch: SimpleSnitch\n"
            ),
        );
        let mut words = vec![cassandra.java.clone()];
        words.extend(JAVA.map(str::to_owned));
        words.extend(EXPORTS.map(|package| format!("--add-exports={package}=ALL-UNNAMED")));
        words.extend(OPENS.map(|package| format!("--add-opens={package}=ALL-UNNAMED")));
        words.extend([
            format!("-Dcassandra.config=file://{}", config.display()),
            format!("-Dcassandra.storagedir={folder}"),
            "-cp".to_owned(),
            cassandra.libraries.clone(),
            "org.apache.cassandra.service.CassandraDaemon".to_owned(),
        ]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.service(port, &words)
    }
}

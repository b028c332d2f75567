//! Java programs of which two run, a server and a client, over libraries of their own.
use std::process::Command;

use crate::lab::{Lab, target};

/// The release of Java that they run on.
const RELEASE: u32 = 17;
/// Memory both need, with room, KiB.
pub(crate) const NEEDED_KIB: u64 = 1 << 20;
/// What keeps them small and their start short.
pub(crate) const JAVA: [&str; 3] = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

impl Lab {
    /// The command that begins either side of the calls over grpc-java; none where that is not here or has no room, and the test is
    /// skipped, which is then said.
    pub fn grpc_java(&self) -> Option<Vec<String>> {
        let (java, class_path) = self.java_with("grpc", &["Calls"], NEEDED_KIB)?;
        let mut words = vec![java];
        words.extend(JAVA.map(str::to_owned));
        words.extend(["-cp", &class_path, "Calls"].map(str::to_owned));
        Some(words)
    }

    /// The `java` and the class path of what stands in a folder under `workloads/java/`, compiled with the libraries that were put into
    /// the folder of that name.
    pub(crate) fn java_with(&self, name: &str, sources: &[&str], needed_kib: u64) -> Option<(String, String)> {
        let libraries = self.libraries(name, needed_kib)?;
        let java = self.java_for(name, RELEASE)?;
        let classes = target().join("workloads").join(name);
        let mut javac = Command::new("javac");
        javac
            .args(["-nowarn", "--release", &RELEASE.to_string(), "-cp", &libraries, "-d"])
            .arg(&classes);
        javac.args(
            sources
                .iter()
                .map(|source| Self::workload(&format!("java/{name}/{source}.java"))),
        );
        let output = javac.output().expect("start the compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let classes = classes.canonicalize().expect("it was made");
        Some((java, format!("{}:{libraries}", classes.display())))
    }
}

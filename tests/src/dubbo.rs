//! Apache Dubbo as the tests use it: a server and a client of `workloads/java/dubbo/`.
use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, target};

/// The release of Java that it runs on.
const RELEASE: u32 = 17;
/// Memory its server and its client need, with room, KiB.
const NEEDED_KIB: u64 = 1 << 20;
/// What keeps them small and their start short.
const JAVA: [&str; 3] = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
/// What of Java's own it looks into.
const OPENS: [&str; 3] = ["java.base/java.lang", "java.base/java.math", "java.base/java.util"];

impl Lab {
    /// The command that begins either side; none where Dubbo is not here or has no room, and the test is skipped, which is then
    /// said.
    pub fn dubbo(&self) -> Option<Vec<String>> {
        let Some(libraries) = Self::fetched("dubbo") else {
            self.skip("Dubbo's libraries could not be had: `cargo xtask setup` says why");
            return None;
        };
        let Some(java) = Self::jdk(RELEASE) else {
            self.skip("Dubbo's test wants Java 17");
            return None;
        };
        if !self.has_room(NEEDED_KIB) {
            return None;
        }
        let classes = target().join("workloads/dubbo");
        let folder = Self::workload("java/dubbo/shop/Dubbo.java");
        let folder = Path::new(&folder).parent().expect("a folder");
        let mut javac = Command::new("javac");
        javac
            .args(["-nowarn", "--release", "17", "-cp", &libraries, "-d"])
            .arg(&classes);
        javac.args(["Dubbo", "Orders"].map(|name| folder.join(name).with_extension("java")));
        let output = javac.output().expect("start the compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let classes = classes.canonicalize().expect("it was made");
        let mut words = vec![java];
        words.extend(JAVA.map(str::to_owned));
        words.extend(OPENS.map(|package| format!("--add-opens={package}=ALL-UNNAMED")));
        words.extend([
            "-cp".to_owned(),
            format!("{}:{libraries}", classes.display()),
            "shop.Dubbo".to_owned(),
        ]);
        Some(words)
    }
}

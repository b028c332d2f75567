//! Apache Dubbo as the tests use it: a server and a client of `workloads/java/dubbo/`.
use crate::lab::Lab;
use crate::pair::{JAVA, NEEDED_KIB};

/// What of Java's own it looks into.
const OPENS: [&str; 3] = ["java.base/java.lang", "java.base/java.math", "java.base/java.util"];

impl Lab {
    /// The command that begins either side; none where Dubbo is not here or has no room, and the test is skipped, which is then
    /// said.
    pub fn dubbo(&self) -> Option<Vec<String>> {
        let (java, class_path) = self.java_with("dubbo", &["shop/Dubbo", "shop/Orders"], NEEDED_KIB)?;
        let mut words = vec![java];
        words.extend(JAVA.map(str::to_owned));
        words.extend(OPENS.map(|package| format!("--add-opens={package}=ALL-UNNAMED")));
        words.extend(["-cp", &class_path, "shop.Dubbo"].map(str::to_owned));
        Some(words)
    }
}

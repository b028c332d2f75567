//! Debian packages.
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Step;
use crate::{shell, workspace};

/// A program or file the tests need, and the package that has it where nothing else brought it.
struct Package {
    name: &'static str,
    /// A program in PATH, or an absolute path as [`is_there`] takes it.
    brings: &'static str,
    why: &'static str,
}

const fn package(name: &'static str, brings: &'static str, why: &'static str) -> Package {
    Package { name, brings, why }
}

const PACKAGES: &[Package] = &[
    package("gcc", "cc", "C programs of the tests, and Rust's linker"),
    package("g++", "c++", "the fuzzer's runtime"),
    package("libc6-dev", "/usr/include/stdio.h", "headers for C programs"),
    package("make", "make", "native parts of Rust and Python packages"),
    package("git", "git", "cargo and go ask it for versions"),
    package("ca-certificates", "/etc/ssl/certs/ca-certificates.crt", "downloads"),
    package("nginx-light", "nginx", "server and reverse proxy under test"),
    package("wrk", "wrk", "load for the benchmark"),
    package("curl", "curl", "client under test"),
    package("wget", "wget", "a client under test that uses GnuTLS"),
    package(
        "lighttpd-mod-mbedtls",
        "/usr/lib/lighttpd/mod_mbedtls.so",
        "a server under test that uses mbedTLS",
    ),
    package(
        "libmbedtls-dev",
        "/usr/include/mbedtls/ssl.h",
        "a client under test that uses mbedTLS",
    ),
    package(
        "libssl-dev",
        "/usr/include/openssl/ssl.h",
        "a server and a client under test that have OpenSSL within",
    ),
    package(
        "libgnutls28-dev",
        "/usr/include/gnutls/gnutls.h",
        "a server under test that uses GnuTLS",
    ),
    package("iproute2", "ip", "network namespaces"),
    package("util-linux", "setpriv", "running Clew as another user"),
    package("qemu-system-x86", "qemu-system-x86_64", "other kernels"),
    package(
        "busybox-static",
        "busybox",
        "a client and a server under test, and all of a system in virtual machines",
    ),
    package("binutils", "strip", "smaller programs in virtual machines"),
    package(
        "gcc-aarch64-linux-gnu",
        "aarch64-linux-gnu-gcc",
        "checking Clew for AArch64",
    ),
    package(
        "libc6-dev-arm64-cross",
        "/usr/aarch64-linux-gnu/include/stdio.h",
        "checking Clew for AArch64",
    ),
    package("python3", "/usr/bin/python3", "servers and clients under test"),
    package(
        "python3-venv",
        "/usr/lib/python3*/ensurepip/__init__.py",
        "the Python environment",
    ),
    package("postgresql", "/usr/lib/postgresql/*/bin/postgres", "server under test"),
    package("redis-server", "redis-server", "server under test"),
    package("mariadb-server", "mariadbd", "server under test"),
    package("mosquitto", "mosquitto", "server under test"),
    package("nats-server", "nats-server", "server under test"),
    package("php-fpm", "/usr/sbin/php-fpm*", "server under test"),
    package("php-curl", "/usr/lib/php/20*/curl.so", "calls of what PHP-FPM runs"),
    package("rabbitmq-server", "rabbitmq-server", "server under test"),
    package("memcached", "memcached", "server under test"),
    package("nodejs", "node", "servers under test, and what builds the page"),
    package("chromium", "chromium", "the browser that the page is tested in"),
    package("ruby", "ruby", "servers under test"),
    package("puma", "puma", "server under test"),
    package("golang-go", "go", "servers under test, and the collector"),
    package("default-jdk-headless", "javac", "servers under test"),
    package("maven", "mvn", "libraries of the Java servers"),
];

pub(super) fn provide() -> Result<Step> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|package| !is_there(package.brings)).collect();
    if missing.is_empty() {
        return Ok(Step::Ready(format!("{} packages", PACKAGES.len())));
    }
    for package in &missing {
        println!("  packages: installing {} ({})", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let _quiet = NoServices::begin();
    // The lists of a fresh machine may be missing or too old for what the mirror still has.
    if install(&names).is_err() {
        shell::retried(|| {
            apt(&["update"])?;
            install(&names)
        })?;
    }
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|package| !is_there(package.brings))
        .map(|package| package.name)
        .collect();
    if !missing.is_empty() {
        bail!("installed, but without what they should bring: {}", missing.join(" "));
    }
    Ok(Step::Done(names.join(" ")))
}

/// Whether a program or path is there; a star stands for the rest of a folder's name.
fn is_there(what: &str) -> bool {
    match what.split_once('*') {
        Some((before, after)) => matches(before, after),
        None if what.starts_with('/') => Path::new(what).exists(),
        None => workspace::program(what).is_some(),
    }
}

fn matches(before: &str, after: &str) -> bool {
    let (folder, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    paths.any(|entry| PathBuf::from(format!("{}{after}", entry.path().display())).exists())
}

fn install(names: &[&str]) -> Result<()> {
    let mut args = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    args.extend(names);
    apt(&args)
}

fn apt(args: &[&str]) -> Result<()> {
    let mut words = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get"];
    words.extend(args);
    let command = shell::command_as_root("env", &words)?;
    shell::quiet(command, Duration::from_secs(900)).map(drop)
}

/// While it lives, installed packages start no services: the tests start what they need, on ports of their own.
struct NoServices(bool);

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn begin() -> Self {
        // One that is there already belongs to the machine and decides.
        if Path::new(POLICY).exists() {
            return Self(false);
        }
        let script = "printf '#!/bin/sh\\nexit 101\\n' >\"$0\" && chmod 755 \"$0\"";
        Self(as_root(&["-c", script, POLICY]).is_ok())
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = as_root(&["-c", "rm -f \"$0\"", POLICY])
        {
            println!("  packages: {POLICY} is left behind: {error:#}");
        }
    }
}

fn as_root(args: &[&str]) -> Result<()> {
    let command = shell::command_as_root("sh", args)?;
    shell::quiet(command, Duration::from_secs(30))
        .map(drop)
        .with_context(|| format!("failed to change {POLICY}"))
}

//! PHP-FPM as the tests use it.
use crate::lab::Lab;

/// A PHP-FPM that serves one script whatever is asked.
#[derive(Debug)]
pub struct PhpFpm {
    /// Its command line: the master in the foreground.
    pub argv: Vec<String>,
    /// Its Unix socket; it listens on the port as well.
    pub socket: String,
    script: String,
}

/// A PHP-FPM with `children` processes for each of its two sockets, which runs `script`, a file under `workloads/`.
pub fn php_fpm(lab: &Lab, port: u16, script: &str, children: u32) -> PhpFpm {
    let dir = lab.dir().display().to_string();
    let socket = format!("{dir}/php-{port}.sock");
    let pool = |name: &str, listen: &str| {
        format!(
            "[{name}]\nuser = root\ngroup = root\nlisten = {listen}\nlisten.mode = 0666\nlisten.backlog = 511\n\
             pm = static\npm.max_children = {children}\nclear_env = no\n"
        )
    };
    let conf = format!(
        "[global]\nerror_log = {dir}/php-{port}.log\ndaemonize = no\n{}{}",
        pool("tcp", &format!("127.0.0.1:{port}")),
        pool("unix", &socket)
    );
    let conf = lab.file(&format!("php-{port}.conf"), &conf).display().to_string();
    let argv = [program(), "-R".to_owned(), "-y".to_owned(), conf].to_vec();
    PhpFpm {
        argv,
        socket,
        script: Lab::workload(script),
    }
}

impl PhpFpm {
    /// What a location of nginx says to have it answer; `to` is an upstream or an address.
    pub fn location(&self, to: &str) -> String {
        format!(
            "fastcgi_pass {to}; include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME {};",
            self.script
        )
    }
}

/// The newest release.
fn program() -> String {
    let programs = std::fs::read_dir("/usr/sbin").into_iter().flatten().flatten();
    let newest = programs
        .map(|program| program.path().display().to_string())
        .filter(|path| path.contains("/php-fpm"))
        .max();
    newest.expect("PHP-FPM is missing: run `cargo xtask setup`")
}

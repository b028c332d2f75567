//! nginx as the tests use it.
use crate::certificate::Certificate;
use crate::lab::Lab;

/// The command line of an nginx in the foreground with one worker, listening on `port`; `locations` goes into the server
/// block, `extra` beside it.
pub fn nginx(lab: &Lab, port: u16, locations: &str, extra: &str) -> Vec<String> {
    listening(lab, port, "", locations, extra)
}

/// As [`nginx`], speaking TLS.
pub fn nginx_tls(lab: &Lab, port: u16, certificate: &Certificate, locations: &str, extra: &str) -> Vec<String> {
    let locations = format!(
        "ssl_certificate {}; ssl_certificate_key {}; {locations}",
        certificate.file(),
        certificate.key()
    );
    listening(lab, port, " ssl", &locations, extra)
}

fn listening(lab: &Lab, port: u16, how: &str, locations: &str, extra: &str) -> Vec<String> {
    let dir = lab.dir().display().to_string();
    let conf = format!(
        "daemon off;
pid {dir}/nginx-{port}.pid;
worker_processes 1;
error_log {dir}/nginx-{port}.log;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    {extra}
    server {{
        listen 127.0.0.1:{port}{how};
        {locations}
    }}
}}
"
    );
    let file = lab.file(&format!("nginx-{port}.conf"), &conf);
    let (file, log) = (file.display().to_string(), format!("{dir}/nginx-{port}.log"));
    // The worker's user must reach the files: everything stays root's here.
    ["/usr/sbin/nginx", "-c", &file, "-e", &log, "-g", "user root;"]
        .map(str::to_owned)
        .to_vec()
}

//! Envoy as the tests use it.
use crate::lab::Lab;

/// The command line of an Envoy with two worker threads that listens on `port` and forwards everything to `upstream` over
/// kept connections, at most `connections` a thread.
pub fn envoy(lab: &Lab, port: u16, upstream: u16, connections: u32) -> Vec<String> {
    let text = std::fs::read_to_string(Lab::workload("envoy/proxy.yaml")).expect("read Envoy's configuration");
    let text = text
        .replace("LISTEN_PORT", &port.to_string())
        .replace("UPSTREAM_PORT", &upstream.to_string())
        .replace("MAX_CONNECTIONS", &connections.to_string());
    let file = lab.file(&format!("envoy-{port}.yaml"), &text);
    // The program itself: the script beside it is Python.
    let envoy = Lab::python_file("envoy/_bin/envoy");
    let base = port.to_string();
    [
        &envoy,
        "-c",
        &file.display().to_string(),
        "--concurrency",
        "2",
        "--log-level",
        "error",
        "--use-dynamic-base-id",
        "--drain-time-s",
        "1",
        "--service-node",
        &base,
    ]
    .map(str::to_owned)
    .to_vec()
}

//! Envoy as the tests use it.
use crate::certificate::Certificate;
use crate::lab::Lab;

/// The command line of an Envoy with two worker threads that listens on `port` and forwards everything to `upstream` over
/// kept connections, at most `connections` a thread.
pub fn envoy(lab: &Lab, port: u16, upstream: u16, connections: u32) -> Vec<String> {
    proxy(lab, port, upstream, connections, &[])
}

/// As [`envoy`], speaking TLS with whom it forwards to, and with clients too if it `terminates`.
pub fn envoy_tls(lab: &Lab, port: u16, upstream: u16, certificate: &Certificate, terminates: bool) -> Vec<String> {
    const KIND: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
    let socket = |context: &str, inside: &str| {
        format!(
            "transport_socket: {{ name: envoy.transport_sockets.tls, typed_config: {{ '@type': {KIND}.{context}, {inside} }} }}"
        )
    };
    let (file, key) = (certificate.file(), certificate.key());
    let own = format!(
        "common_tls_context: {{ tls_certificates: [{{ certificate_chain: {{ filename: {file} }}, private_key: {{ filename: \
         {key} }} }}] }}"
    );
    let trusts = format!(
        "sni: localhost, common_tls_context: {{ validation_context: {{ trusted_ca: {{ filename: {file} }} }} }}"
    );
    let mut changes = vec![("# UPSTREAM_TLS", socket("UpstreamTlsContext", &trusts))];
    if terminates {
        changes.push(("# LISTENER_TLS", socket("DownstreamTlsContext", &own)));
    }
    proxy(lab, port, upstream, 1024, &changes)
}

fn proxy(lab: &Lab, port: u16, upstream: u16, connections: u32, changes: &[(&str, String)]) -> Vec<String> {
    let text = std::fs::read_to_string(Lab::workload("envoy/proxy.yaml")).expect("read Envoy's configuration");
    let text = changes
        .iter()
        .fold(text, |text, (mark, change)| text.replace(mark, change));
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

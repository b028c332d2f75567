//! Where spans go and how, from `--otlp` and the OpenTelemetry variables.
//!
//! Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter" and "Environment Variable Specification":
//! variables for traces come before those for all signals, and an empty variable is an unset one.
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::percent;

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC.
    Grpc,
    /// Protobuf in HTTP/1.1 POSTs.
    Http,
}

/// Where spans go and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The collector, as messages name it.
    pub shown: String,
    /// How requests travel.
    pub protocol: Protocol,
    /// Where they go: with a path for HTTP, without one for gRPC.
    pub uri: Uri,
    /// Where records of logs go; none where that is not known.
    pub logs_uri: Option<Uri>,
    /// Headers (gRPC: metadata) of each request. Values can be secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The longest a request may take.
    pub timeout: Duration,
    /// Requests are compressed with gzip.
    pub gzip: bool,
    /// Certificates the collector's is checked against, PEM; none for those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Certificate chain and key to show to the collector, PEM.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Its value is wrong.
    #[error("invalid {name} {value:?}: {reason}")]
    Invalid {
        /// The option or variable.
        name: String,
        /// What it was.
        value: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The file it names cannot be read.
    #[error("failed to read {path}, which {name} names")]
    File {
        /// The variable.
        name: String,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Settings {
    /// What `--otlp` says, else the variables. None where neither names a collector.
    ///
    /// `variable` looks up an environment variable.
    ///
    /// # Errors
    /// [`SettingsError`] names the option or variable that cannot be used. Values of headers are not repeated in it.
    pub fn resolve(
        otlp: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let variables = Variables { lookup: &variable };
        let Some((target, protocol)) = target(otlp, &variables)? else {
            return Ok(None);
        };
        let logs = logs_target(&target, protocol, &variables);
        let uri = uri(&target, protocol)?;
        let logs_uri = logs.map(|target| self::uri(&target, protocol)).transpose()?;
        let timeout = match variables.find("TIMEOUT") {
            None => DEFAULT_TIMEOUT,
            Some(found) => match found.value.parse::<u64>() {
                // "Zero means no limit", and a request that never ends would block all others.
                Ok(0) => LONGEST_TIMEOUT,
                Ok(ms) => Duration::from_millis(ms).min(LONGEST_TIMEOUT),
                Err(_) => return Err(found.invalid("give milliseconds, such as 10000")),
            },
        };
        let gzip = match variables.find("COMPRESSION") {
            // Within the host compression costs time and saves nothing.
            None => !is_loopback(&uri),
            Some(found) => match found.value.as_str() {
                "gzip" => true,
                "none" => false,
                _ => return Err(found.invalid("give gzip or none")),
            },
        };
        let chain = variables.file("CLIENT_CERTIFICATE")?;
        let key = variables.file("CLIENT_KEY")?;
        Ok(Some(Self {
            shown: target.value,
            protocol,
            uri,
            logs_uri,
            headers: variables.find("HEADERS").map_or_else(|| Ok(Vec::new()), headers)?,
            timeout,
            gzip,
            ca_pem: variables.file("CERTIFICATE")?,
            identity_pem: chain.zip(key),
        }))
    }
}

/// Where no variable sets it, as the specification has it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// More than this would only hold up the spans behind.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Where a collector takes traces over HTTP.
const TRACES_PATH: &str = "v1/traces";
/// The same for logs.
const LOGS_PATH: &str = "v1/logs";

/// A value and the option or variable it came from.
struct Found {
    name: String,
    value: String,
}

impl Found {
    fn invalid(self, reason: &str) -> SettingsError {
        SettingsError::Invalid {
            name: self.name,
            value: self.value,
            reason: reason.to_owned(),
        }
    }
}

struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Variables<'_> {
    /// `OTEL_EXPORTER_OTLP_TRACES_x`, else `OTEL_EXPORTER_OTLP_x`.
    fn find(&self, suffix: &str) -> Option<Found> {
        self.exact(&format!("TRACES_{suffix}")).or_else(|| self.exact(suffix))
    }

    fn exact(&self, suffix: &str) -> Option<Found> {
        let name = format!("OTEL_EXPORTER_OTLP_{suffix}");
        let value = (self.lookup)(&name)?.trim().to_owned();
        (!value.is_empty()).then_some(Found { name, value })
    }

    fn file(&self, suffix: &str) -> Result<Option<Vec<u8>>, SettingsError> {
        let Some(found) = self.find(suffix) else {
            return Ok(None);
        };
        match std::fs::read(&found.value) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) => Err(SettingsError::File {
                name: found.name,
                path: found.value,
                source,
            }),
        }
    }
}

/// The URL, complete with its path, and the protocol.
fn target(otlp: Option<&str>, variables: &Variables<'_>) -> Result<Option<(Found, Protocol)>, SettingsError> {
    if let Some(url) = otlp {
        let mut found = Found {
            name: "--otlp".to_owned(),
            value: url.trim().to_owned(),
        };
        let scheme = found
            .value
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        let protocol = match scheme.as_deref() {
            Some("grpc" | "grpcs") => Protocol::Grpc,
            Some("http" | "https") => Protocol::Http,
            _ => return Err(found.invalid("give a URL such as grpc://localhost:4317 or http://localhost:4318")),
        };
        if protocol == Protocol::Http && has_no_path(&found.value) {
            found.value = with_traces_path(&found.value);
        }
        return Ok(Some((found, protocol)));
    }

    let specific = variables.exact("TRACES_ENDPOINT");
    let is_base = specific.is_none();
    let Some(mut found) = specific.or_else(|| variables.exact("ENDPOINT")) else {
        return Ok(None);
    };
    let protocol = match variables.find("PROTOCOL") {
        _ if found.value.starts_with("grpc://") || found.value.starts_with("grpcs://") => Protocol::Grpc,
        None => Protocol::Http,
        Some(protocol) => match protocol.value.as_str() {
            "grpc" => Protocol::Grpc,
            "http/protobuf" => Protocol::Http,
            _ => return Err(protocol.invalid("Clew speaks grpc and http/protobuf")),
        },
    };
    if protocol == Protocol::Grpc && !found.value.contains("://") {
        let insecure = match variables.find("INSECURE") {
            None => false,
            Some(insecure) => match insecure.value.to_ascii_lowercase().as_str() {
                "true" => true,
                "false" => false,
                _ => return Err(insecure.invalid("give true or false")),
            },
        };
        found.value = format!("{}://{}", if insecure { "http" } else { "https" }, found.value);
    }
    if protocol == Protocol::Http && is_base {
        found.value = with_traces_path(&found.value);
    }
    Ok(Some((found, protocol)))
}

/// Where records of logs go: where a variable says, else beside traces.
fn logs_target(traces: &Found, protocol: Protocol, variables: &Variables<'_>) -> Option<Found> {
    if let Some(specific) = variables.exact("LOGS_ENDPOINT") {
        return Some(specific);
    }
    let value = match protocol {
        Protocol::Grpc => traces.value.clone(),
        Protocol::Http => format!("{}{LOGS_PATH}", traces.value.strip_suffix(TRACES_PATH)?),
    };
    Some(Found {
        name: traces.name.clone(),
        value,
    })
}

fn has_no_path(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once('/').is_none_or(|(_, path)| path.is_empty())
}

fn with_traces_path(url: &str) -> String {
    format!("{}/{TRACES_PATH}", url.trim_end_matches('/'))
}

fn uri(target: &Found, protocol: Protocol) -> Result<Uri, SettingsError> {
    let invalid = |reason: &str| SettingsError::Invalid {
        name: target.name.clone(),
        value: target.value.clone(),
        reason: reason.to_owned(),
    };
    let url = match target.value.split_once("://") {
        Some(("grpc", rest)) => format!("http://{rest}"),
        Some(("grpcs", rest)) => format!("https://{rest}"),
        _ => target.value.clone(),
    };
    let uri: Uri = url.parse().map_err(|_| invalid("this is no URL"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(invalid("the URL must begin with http:// or https://"));
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(SettingsError::Invalid {
            name: target.name.clone(),
            // A message must not repeat a password.
            value: "(with credentials)".to_owned(),
            reason: "credentials belong in OTEL_EXPORTER_OTLP_HEADERS".to_owned(),
        });
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(invalid("the URL names no host"));
    }
    match protocol {
        Protocol::Http => Ok(uri),
        Protocol::Grpc => {
            let scheme = uri.scheme_str().unwrap_or("http");
            format!("{scheme}://{authority}")
                .parse()
                .map_err(|_| invalid("this is no URL"))
        }
    }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// `key=value,key=value`, values percent-encoded (W3C Baggage without properties).
fn headers(found: Found) -> Result<Vec<(HeaderName, HeaderValue)>, SettingsError> {
    let invalid = |reason: &str| SettingsError::Invalid {
        name: found.name.clone(),
        value: "(not shown)".to_owned(),
        reason: reason.to_owned(),
    };
    let pairs = found.value.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| invalid("give key=value, several with commas between them"))?;
            let name = name
                .trim()
                .parse()
                .map_err(|_| invalid("a key is not a valid header name"))?;
            let bytes = percent::decoded(value.trim()).ok_or_else(|| invalid("a % is not followed by two digits"))?;
            let mut value =
                HeaderValue::from_bytes(&bytes).map_err(|_| invalid("a value holds what a header cannot"))?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(otlp: &str, variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
        Settings::resolve((!otlp.is_empty()).then_some(otlp), |name| {
            let found = variables
                .iter()
                .find(|(suffix, _)| name.strip_prefix("OTEL_EXPORTER_OTLP_") == Some(suffix));
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    /// `expected` is "protocol uri", or "" for no collector.
    fn check(otlp: &str, variables: &[(&str, &str)], expected: &str) {
        let settings = resolve(otlp, variables).expect("valid settings");
        let got = settings.map_or_else(String::new, |settings| {
            let protocol = match settings.protocol {
                Protocol::Grpc => "grpc",
                Protocol::Http => "http",
            };
            format!("{protocol} {}", settings.uri)
        });
        assert_eq!(got.trim_end_matches('/'), expected, "{otlp} {variables:?}");
    }

    #[test]
    fn endpoints() {
        check("", &[], "");
        check("", &[("ENDPOINT", "  ")], "");
        check("", &[("PROTOCOL", "grpc")], "");
        check("http://c:4318", &[], "http http://c:4318/v1/traces");
        check("http://c:4318/", &[], "http http://c:4318/v1/traces");
        check("https://c/other", &[], "http https://c/other");
        check("grpc://c:4317", &[], "grpc http://c:4317");
        check(
            "grpcs://c:4317/",
            &[("PROTOCOL", "http/protobuf")],
            "grpc https://c:4317",
        );
        check("http://a", &[("ENDPOINT", "http://b")], "http http://a/v1/traces");
        check("", &[("ENDPOINT", "http://c:4318")], "http http://c:4318/v1/traces");
        check(
            "",
            &[("ENDPOINT", "http://c:4318/base/")],
            "http http://c:4318/base/v1/traces",
        );
        check(
            "",
            &[("TRACES_ENDPOINT", "http://c/as/is"), ("ENDPOINT", "http://d")],
            "http http://c/as/is",
        );
        check("", &[("TRACES_ENDPOINT", "http://c")], "http http://c");
        check(
            "",
            &[("ENDPOINT", "http://c:4317"), ("PROTOCOL", "grpc")],
            "grpc http://c:4317",
        );
        check(
            "",
            &[
                ("ENDPOINT", "http://c"),
                ("PROTOCOL", "grpc"),
                ("TRACES_PROTOCOL", "http/protobuf"),
            ],
            "http http://c/v1/traces",
        );
        check("", &[("ENDPOINT", "grpc://c:4317")], "grpc http://c:4317");
        check(
            "",
            &[("ENDPOINT", "c:4317"), ("PROTOCOL", "grpc")],
            "grpc https://c:4317",
        );
        check(
            "",
            &[("ENDPOINT", "c:4317"), ("PROTOCOL", "grpc"), ("INSECURE", "true")],
            "grpc http://c:4317",
        );
    }

    #[test]
    fn other_variables() {
        let settings = resolve(
            "http://c",
            &[
                ("TIMEOUT", "2500"),
                ("COMPRESSION", "none"),
                ("HEADERS", "a=b, Authorization=Basic%20xyz=,"),
            ],
        )
        .expect("valid")
        .expect("an endpoint");
        assert_eq!(settings.timeout, Duration::from_millis(2500));
        let logs = |otlp: &str, variables: &[(&str, &str)]| {
            let settings = resolve(otlp, variables).expect("valid").expect("an endpoint");
            settings.logs_uri.map(|uri| uri.to_string())
        };
        assert_eq!(logs("http://c", &[]).as_deref(), Some("http://c/v1/logs"));
        assert_eq!(logs("grpc://c:4317", &[]).as_deref(), Some("http://c:4317/"));
        assert_eq!(logs("http://c/as/is", &[]), None);
        assert_eq!(
            logs("http://c/x", &[("LOGS_ENDPOINT", "http://d/y")]).as_deref(),
            Some("http://d/y")
        );
        assert!(!settings.gzip);
        let headers: Vec<_> = settings
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .collect();
        assert_eq!(headers, [("a", "b"), ("authorization", "Basic xyz=")]);
    }

    #[test]
    fn defaults() {
        for (url, gzip) in [
            ("http://c", true),
            ("grpc://127.0.0.1:1", false),
            ("http://[::1]:1", false),
        ] {
            let settings = resolve(url, &[]).expect("valid").expect("an endpoint");
            assert_eq!((settings.gzip, settings.timeout), (gzip, DEFAULT_TIMEOUT), "{url}");
        }
        let endless = resolve("http://c", &[("TIMEOUT", "0")])
            .expect("valid")
            .expect("an endpoint");
        assert_eq!(endless.timeout, LONGEST_TIMEOUT);
    }

    #[test]
    fn bad_values_name_their_source() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let cases: &[Case<'_>] = &[
            ("localhost:4317", &[], "invalid --otlp \"localhost:4317\": give a URL"),
            ("ftp://c", &[], "invalid --otlp \"ftp://c\": give a URL"),
            ("http://", &[], "invalid --otlp"),
            (
                "http://u:secret@c",
                &[],
                "invalid --otlp \"(with credentials)\": credentials belong",
            ),
            ("", &[("ENDPOINT", "no url")], "invalid OTEL_EXPORTER_OTLP_ENDPOINT"),
            (
                "",
                &[("TRACES_ENDPOINT", "c:4318")],
                "invalid OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            ),
            (
                "",
                &[("ENDPOINT", "http://c"), ("PROTOCOL", "http/json")],
                "invalid OTEL_EXPORTER_OTLP_PROTOCOL \"http/json\": Clew speaks",
            ),
            (
                "http://c",
                &[("TIMEOUT", "soon")],
                "invalid OTEL_EXPORTER_OTLP_TIMEOUT \"soon\": give milliseconds",
            ),
            (
                "http://c",
                &[("TRACES_COMPRESSION", "zip")],
                "invalid OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
            ),
            (
                "http://c",
                &[("HEADERS", "secret")],
                "invalid OTEL_EXPORTER_OTLP_HEADERS \"(not shown)\": give key=",
            ),
            (
                "http://c",
                &[("HEADERS", "a=%zz")],
                "invalid OTEL_EXPORTER_OTLP_HEADERS \"(not shown)\": a %",
            ),
            (
                "http://c",
                &[("HEADERS", "a=%0a")],
                "invalid OTEL_EXPORTER_OTLP_HEADERS \"(not shown)\": a value",
            ),
            (
                "http://c",
                &[("HEADERS", "a b=c")],
                "invalid OTEL_EXPORTER_OTLP_HEADERS \"(not shown)\": a key",
            ),
            (
                "http://c",
                &[("CERTIFICATE", "/does/not/exist")],
                "failed to read /does/not/exist, which OTEL_",
            ),
        ];
        for (otlp, variables, message) in cases {
            let error = resolve(otlp, variables).expect_err(message).to_string();
            assert!(error.starts_with(message), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

//! OTLP over HTTP: POSTs of protobuf, OTLP specification "OTLP/HTTP".
use std::io::Write as _;
use std::marker::PhantomData;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;
use tokio::sync::oneshot;
use ureq::Agent;
use ureq::http::header::RETRY_AFTER;
use ureq::http::{HeaderName, HeaderValue, Response, Uri};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig};

use super::grpc::RpcStatus;
use super::reply::{Reply, Transport, broke_connection};
use super::settings::{Settings, SettingsError};
use super::signal::{Signal, Spans};

/// The longest response that is read.
const RESPONSE_BYTES: u64 = 64 << 10;

/// A collector behind HTTP.
pub(super) struct Http<S = Spans> {
    agent: Agent,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    gzip: bool,
    signal: PhantomData<S>,
}

/// A body, and its content coding.
#[derive(Clone)]
pub(super) struct Body {
    bytes: bytes::Bytes,
    gzip: bool,
}

impl<S: Signal> Http<S> {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirected POST would become a GET.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("clew/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls(settings)?)
            .build();
        Ok(Self {
            agent: config.into(),
            uri: settings.uri.clone(),
            headers: settings.headers.clone(),
            gzip: settings.gzip,
            signal: PhantomData,
        })
    }
}

impl<S: Signal> Transport<S> for Http<S> {
    type Prepared = Body;

    fn prepare(&self, request: S::Request) -> Body {
        let plain = request.encode_to_vec();
        if self.gzip {
            let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
            // Writing to memory does not fail; should it, the plain bytes do as well.
            if let Ok(packed) = encoder.write_all(&plain).and_then(|()| encoder.finish()) {
                return Body {
                    bytes: packed.into(),
                    gzip: true,
                };
            }
        }
        Body {
            bytes: plain.into(),
            gzip: false,
        }
    }

    async fn send(&mut self, body: &Body, timeout: Duration) -> Reply {
        let (agent, uri, headers, body) = (self.agent.clone(), self.uri.clone(), self.headers.clone(), body.clone());
        let (answer, answered) = oneshot::channel();
        // A thread of its own, not one of the runtime's: the runtime waits for those when it ends, however long a
        // collector takes to answer.
        let thread = std::thread::Builder::new().name("clew-otlp".to_owned());
        let started = thread.spawn(move || {
            let _nobody_waits = answer.send(post::<S>(&agent, &uri, &headers, &body, timeout));
        });
        if let Err(error) = started {
            return Reply::Later {
                why: format!("failed to start a thread: {error}"),
                after: None,
            };
        }
        answered.await.unwrap_or_else(|_| Reply::Later {
            why: "the request ended without an answer".to_owned(),
            after: None,
        })
    }
}

fn post<S: Signal>(
    agent: &Agent,
    uri: &Uri,
    headers: &[(HeaderName, HeaderValue)],
    body: &Body,
    timeout: Duration,
) -> Reply {
    let mut request = agent
        .post(uri)
        .config()
        .timeout_global(Some(timeout))
        .build()
        .header("content-type", "application/x-protobuf");
    if body.gzip {
        request = request.header("content-encoding", "gzip");
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    match request.send(&*body.bytes) {
        Ok(response) => answer::<S>(response),
        Err(error) => failure(&error),
    }
}

/// OTLP specification, "OTLP/HTTP Response".
fn answer<S: Signal>(mut response: Response<ureq::Body>) -> Reply {
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(retry_after);
    let body = response.body_mut().with_config().limit(RESPONSE_BYTES).read_to_vec();
    if status.is_success() {
        // The spans have been taken, whatever the rest of the answer holds.
        let body = body.unwrap_or_default();
        return Reply::accepted::<S>(S::Response::decode(&*body).unwrap_or_default());
    }
    let said = body.map(|body| explanation(&body)).unwrap_or_default();
    let why = format!("HTTP status {status}{}{said}", if said.is_empty() { "" } else { ", " });
    match status.as_u16() {
        429 | 502 | 503 | 504 => Reply::Later { why, after },
        _ => Reply::Refused(why),
    }
}

/// RFC 9110 section 10.2.3, seconds. The other form, a date, is left to the usual backoff.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// The message of a body: a `google.rpc.Status`, else text.
fn explanation(body: &[u8]) -> String {
    let status = RpcStatus::decode(body).ok().map(|status| status.message);
    let message = status.filter(|message| !message.is_empty());
    message
        .or_else(|| std::str::from_utf8(body).ok().map(|text| text.trim().to_owned()))
        .unwrap_or_default()
}

fn failure(error: &ureq::Error) -> Reply {
    let why = error.to_string();
    match error {
        ureq::Error::Io(error) if broke_connection(error) => Reply::Later { why, after: None },
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::Io(_) => Reply::Unreachable(why),
        _ => Reply::Later { why, after: None },
    }
}

fn tls(settings: &Settings) -> Result<TlsConfig, SettingsError> {
    let invalid = |suffix: &str, reason: &str| SettingsError::Invalid {
        name: format!("OTEL_EXPORTER_OTLP_{suffix}"),
        value: "(the file)".to_owned(),
        reason: reason.to_owned(),
    };
    let certificates = |pem: &[u8], suffix: &str| {
        let items: Result<Vec<PemItem<'static>>, _> = ureq::tls::parse_pem(pem).collect();
        let items = items.map_err(|error| invalid(suffix, &format!("it is no PEM: {error}")))?;
        let found: Vec<Certificate<'static>> = items
            .into_iter()
            .filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            })
            .collect();
        if found.is_empty() {
            return Err(invalid(suffix, "it holds no certificate"));
        }
        Ok(found)
    };
    let roots = match &settings.ca_pem {
        None => RootCerts::PlatformVerifier,
        Some(pem) => RootCerts::new_with_certs(&certificates(pem, "CERTIFICATE")?),
    };
    let client = match &settings.identity_pem {
        None => None,
        Some((chain, key)) => {
            let chain = certificates(chain, "CLIENT_CERTIFICATE")?;
            let key = PrivateKey::from_pem(key)
                .map_err(|error| invalid("CLIENT_KEY", &format!("it holds no private key: {error}")))?;
            Some(ClientCert::new_with_certs(&chain, key))
        }
    };
    Ok(TlsConfig::builder().root_certs(roots).client_cert(client).build())
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

//! OTLP over gRPC, OTLP specification "OTLP/gRPC".
use std::error::Error;
use std::marker::PhantomData;
use std::time::Duration;

use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::reply::{Reply, Transport, broke_connection};
use super::settings::{Settings, SettingsError};
use super::signal::{Signal, Spans};

/// A collector behind gRPC.
pub(super) struct Grpc<S = Spans> {
    client: tonic::client::Grpc<Channel>,
    metadata: MetadataMap,
    signal: PhantomData<S>,
}

impl<S: Signal> Grpc<S> {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let invalid = |error: tonic::transport::Error| SettingsError::Invalid {
            name: "the collector's address or certificates".to_owned(),
            value: settings.shown.clone(),
            reason: chain(&error),
        };
        let mut endpoint = Endpoint::from_shared(settings.uri.to_string()).map_err(invalid)?;
        endpoint = endpoint
            .user_agent(concat!("clew/", env!("CARGO_PKG_VERSION")))
            .map_err(invalid)?
            .connect_timeout(settings.timeout);
        if settings.uri.scheme_str() == Some("https") {
            endpoint = endpoint.tls_config(tls(settings)).map_err(invalid)?;
        }
        let mut client = tonic::client::Grpc::new(endpoint.connect_lazy()).accept_compressed(CompressionEncoding::Gzip);
        if settings.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let metadata = MetadataMap::from_headers(settings.headers.iter().cloned().collect());
        Ok(Self {
            client,
            metadata,
            signal: PhantomData,
        })
    }
}

fn tls(settings: &Settings) -> ClientTlsConfig {
    let mut tls = match &settings.ca_pem {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
    };
    if let Some((chain, key)) = &settings.identity_pem {
        tls = tls.identity(Identity::from_pem(chain, key));
    }
    tls
}

impl<S: Signal> Transport<S> for Grpc<S> {
    type Prepared = S::Request;

    fn prepare(&self, request: S::Request) -> S::Request {
        request
    }

    async fn send(&mut self, message: &S::Request, timeout: Duration) -> Reply {
        let call = async {
            let ready = self.client.ready().await;
            ready.map_err(|error| Status::from_error(Box::new(error)))?;
            let mut request = Request::new(message.clone());
            *request.metadata_mut() = self.metadata.clone();
            request.set_timeout(timeout);
            let codec = ProstCodec::<S::Request, S::Response>::default();
            self.client
                .unary(request, PathAndQuery::from_static(S::METHOD), codec)
                .await
        };
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(response)) => Reply::accepted::<S>(response.into_inner()),
            Ok(Err(status)) => failure(&status),
            Err(_elapsed) => Reply::Later {
                why: format!("no answer within {timeout:?}"),
                after: None,
            },
        }
    }
}

/// OTLP specification, "OTLP/gRPC Response" and "OTLP/gRPC Throttling".
fn failure(status: &Status) -> Reply {
    // A status with a cause was made on this side, not sent by the collector.
    if let (Code::Unavailable | Code::Unknown, Some(cause)) = (status.code(), status.source()) {
        let why = chain(cause);
        return if never_connected(cause) {
            Reply::Unreachable(why)
        } else {
            Reply::Later { why, after: None }
        };
    }
    let why = format!("gRPC status {:?}, {}", status.code(), status.message());
    let after = retry_delay(status.details());
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Reply::Later { why, after },
        Code::ResourceExhausted if after.is_some() => Reply::Later { why, after },
        _ => Reply::Refused(why),
    }
}

/// Whether the cause is that no connection came about. One that broke is not told apart by a type, but by what is not
/// below it: an error of a connect, or of TLS, which come as I/O errors.
fn never_connected(cause: &(dyn Error + 'static)) -> bool {
    let mut next = Some(cause);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return !broke_connection(error);
        }
        next = error.source();
    }
    false
}

/// An error and its causes. Several layers repeat the text of the one below.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// `google.rpc.Status`, google/rpc/status.proto: the parts that are read.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<RpcDetail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RpcDetail {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`, google/rpc/error_details.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RpcDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// How long the collector wants to be left alone, from the details of a status.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let detail = status
        .details
        .iter()
        .find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*detail.value).ok()?.retry_delay.unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    Some(Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(delay.nanos).unwrap_or(0)))
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;

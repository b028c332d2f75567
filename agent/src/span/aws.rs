//! Calls to the APIs of Amazon's services, and of what speaks as they do (OpenTelemetry semantic conventions, "AWS SDK", "DynamoDB").
//!
//! A request is one of these if its signature says so: its scope names the service and the region (AWS Signature Version 4,
//! "Credential scope"), whatever the host is called. The operation is what the service's protocol has for it: a field (AWS JSON), a
//! path (Smithy's RPC v2) or a parameter (AWS Query); of S3 it follows from the request as a whole.
use smol_str::{SmolStr, format_smolstr};

use super::build::Exchanged;
use super::json::{member, string};
use super::object;
use super::rpc::decoded;
use super::{Span, SpanKind, Status, Value};
use crate::protocol::http1::{Fields, RequestHead, ResponseHead, field};

/// Longest name of an operation or an error.
const MAX_NAME: usize = 100;
/// What services are called, by the name that requests are signed for; of others that name has to do.
const SERVICES: &[(&str, &str)] = &[
    ("athena", "Athena"),
    ("cognito-idp", "Cognito Identity Provider"),
    ("dynamodb", "DynamoDB"),
    ("ec2", "EC2"),
    ("ecr", "ECR"),
    ("events", "EventBridge"),
    ("firehose", "Firehose"),
    ("glue", "Glue"),
    ("iam", "IAM"),
    ("kinesis", "Kinesis"),
    ("kms", "KMS"),
    ("logs", "CloudWatch Logs"),
    ("monitoring", "CloudWatch"),
    ("secretsmanager", "Secrets Manager"),
    ("sns", "SNS"),
    ("sqs", "SQS"),
    ("ssm", "SSM"),
    ("states", "SFN"),
    ("sts", "STS"),
];

/// What a request is signed for.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    service: String,
    region: String,
}

impl Scope {
    /// The scope that stands in a field, or in the parameters of a URL that was signed beforehand.
    fn of(fields: &Fields, query: &str) -> Option<Self> {
        let scope = match field(fields, "authorization") {
            Some(value) => {
                let text = std::str::from_utf8(value).ok()?.strip_prefix("AWS4-HMAC-SHA256")?;
                let credential = text.split([',', ' ']).find_map(|part| part.strip_prefix("Credential="));
                credential?.to_owned()
            }
            None => parameter(query, "X-Amz-Credential")?,
        };
        let mut parts = scope.rsplit('/');
        let is_whole = parts.next() == Some("aws4_request");
        let service = parts.next().filter(|_| is_whole)?.to_owned();
        Some(Self {
            service,
            region: parts.next().unwrap_or_default().to_owned(),
        })
    }

    fn service_name(&self) -> &str {
        let known = SERVICES.iter().find(|(signed, _)| *signed == self.service);
        known.map_or(&self.service, |(_, name)| name)
    }
}

/// Describes the call that a request is; whether it is one.
pub(super) fn describe(
    span: &mut Span,
    request: &RequestHead,
    response: Option<&ResponseHead>,
    exchanged: &Exchanged<'_>,
) -> bool {
    let (target, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let Some(scope) = Scope::of(&request.fields, query) else {
        return false;
    };
    let asked = exchanged.request_body.captured.as_ref();
    let is_told = if scope.service == "s3" {
        object::describe(span, request)
    } else {
        match operation(&scope, request, target, query, asked) {
            Some((service, operation)) => {
                named(span, &service, &operation, asked);
                true
            }
            None => false,
        }
    };
    if !is_told {
        return false;
    }
    span.attributes.push(("rpc.system.name", Value::fixed("aws-api")));
    if !scope.region.is_empty() {
        span.attributes.push(("cloud.region", Value::Text(scope.region.into())));
    }
    if let Some(response) = response {
        let ids = ["x-amzn-requestid", "x-amz-request-id"];
        let id = ids.iter().find_map(|name| field(&response.fields, name));
        if let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()) {
            span.attributes.push(("aws.request_id", Value::Text(id.into())));
        }
        failed(span, response, exchanged.response_body.captured.as_ref());
    }
    true
}

/// The service and the operation that are called.
fn operation(
    scope: &Scope,
    request: &RequestHead,
    path: &str,
    query: &str,
    asked: &[u8],
) -> Option<(SmolStr, SmolStr)> {
    let text = |name| field(&request.fields, name).and_then(|value| std::str::from_utf8(value).ok());
    let service = SmolStr::new(scope.service_name());
    if let Some((prefix, operation)) = text("x-amz-target").and_then(|target| target.rsplit_once('.')) {
        // Both are signed for alike.
        let streams = prefix.starts_with("DynamoDBStreams");
        let service = if streams {
            SmolStr::new_static("DynamoDB Streams")
        } else {
            service
        };
        return Some((service, name(operation)?));
    }
    if text("smithy-protocol").is_some() {
        let (_, operation) = path.split_once("/operation/")?;
        return Some((service, name(operation)?));
    }
    let form = text("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let form = std::str::from_utf8(asked).ok().filter(|_| form);
    let action = parameter(query, "Action").or_else(|| parameter(form?, "Action"))?;
    Some((service, name(&action)?))
}

/// A name as services have them.
fn name(text: &str) -> Option<SmolStr> {
    let is_name = (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then(|| SmolStr::new(text))
}

/// Names a span by its operation, and tells what it works on where the body was kept.
fn named(span: &mut Span, service: &str, operation: &SmolStr, asked: &[u8]) {
    span.name = format_smolstr!("{service}/{operation}");
    span.attributes.push(("rpc.method", Value::Text(span.name.clone())));
    let said = |name: &str| member(asked, name).and_then(string).map(SmolStr::from);
    let mut add = |key, value: Option<SmolStr>| span.attributes.extend(value.map(|value| (key, Value::Text(value))));
    match service {
        "DynamoDB" => {
            let table = said("TableName");
            add("db.system.name", Some(SmolStr::new_static("aws.dynamodb")));
            add("db.operation.name", Some(operation.clone()));
            add("db.collection.name", table.clone());
            let tables = table.map(|table| ("aws.dynamodb.table_names", Value::Texts(Box::new([table]))));
            span.attributes.extend(tables);
        }
        "SQS" => {
            let queue = said("QueueUrl");
            let destination = queue.as_deref().and_then(|queue| queue.rsplit('/').next());
            add("messaging.system", Some(SmolStr::new_static("aws_sqs")));
            add("messaging.operation.name", Some(operation.clone()));
            add("messaging.operation.type", queueing(operation).map(SmolStr::new_static));
            add("messaging.destination.name", destination.map(SmolStr::new));
            add("aws.sqs.queue.url", queue);
        }
        _ => {}
    }
}

/// What an operation of SQS does with messages (conventions, `messaging.operation.type`); none of those that are about queues.
fn queueing(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "SendMessage" | "SendMessageBatch" => "send",
        "ReceiveMessage" => "receive",
        "DeleteMessage" | "DeleteMessageBatch" => "settle",
        _ => return None,
    })
}

/// What the service says went wrong stands in place of the status code.
fn failed(span: &mut Span, response: &ResponseHead, answered: &[u8]) {
    if response.status < 400 {
        return;
    }
    let told = ["x-amzn-query-error", "x-amzn-errortype"].iter().find_map(|name| {
        let value = std::str::from_utf8(field(&response.fields, name)?).ok()?;
        self::name(value.split([';', ':']).next()?)
    });
    let written = || {
        let kind = string(member(answered, "__type")?)?;
        name(kind.rsplit('#').next()?)
    };
    // S3 and services that are asked by forms answer in XML.
    let marked = || {
        let begin = memchr::memmem::find(answered, b"<Code>")?.checked_add(b"<Code>".len())?;
        let rest = answered.get(begin..)?;
        let code = rest.get(..memchr::memchr(b'<', rest)?)?;
        name(std::str::from_utf8(code).ok()?)
    };
    let Some(error) = told.or_else(written).or_else(marked) else {
        return;
    };
    span.attributes
        .push(("rpc.response.status_code", Value::Text(error.clone())));
    // A client's mistake is no error of the server.
    if span.kind == SpanKind::Client || response.status >= 500 {
        span.attributes.retain(|(key, _)| *key != "error.type");
        span.attributes.push(("error.type", Value::Text(error)));
        span.status = Status::Error(String::new());
    }
}

/// A parameter's value, of a query or a form.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| decoded(value.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::asked::Asked;

    fn signed(service: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        )
    }

    #[test]
    fn scopes() {
        let of = |authorization: Option<&str>, query: &str| {
            let fields: Fields = authorization
                .into_iter()
                .map(|value| ("authorization", value))
                .collect();
            Scope::of(&fields, query).map(|scope| (scope.service, scope.region))
        };
        let told = |service: &str, region: &str| Some((service.to_owned(), region.to_owned()));
        assert_eq!(of(Some(&signed("s3")), ""), told("s3", "eu-west-1"));
        let beforehand = "X-Amz-Credential=AKID%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=0";
        assert_eq!(of(None, beforehand), told("s3", "us-east-1"));
        assert_eq!(of(None, ""), None);
        assert_eq!(of(Some("Bearer x"), beforehand), None);
        assert_eq!(of(Some("AWS4-HMAC-SHA256 Credential=AKID/s3"), ""), None);
    }

    /// What is told of a request, its target and fields, and of what it asks and is answered.
    fn told(
        target: &str,
        fields: &[(&str, &str)],
        body: &str,
        (status, answered, answer): (u16, &[(&str, &str)], &str),
    ) -> Option<Vec<String>> {
        let asked = Asked {
            method: "POST",
            target,
            fields,
            body,
            status,
            answered,
            answer,
        };
        asked.told(("error.type", "400"), describe)
    }

    const DONE: (u16, &[(&str, &str)], &str) = (200, &[("x-amzn-requestid", "id")], "{}");

    #[track_caller]
    fn check(found: Option<Vec<String>>, name: &str, parts: &[&str]) {
        let found = found.unwrap_or_default();
        let named = format!("name={name}");
        let usual = [named.as_str(), "rpc.system.name=aws-api", "cloud.region=eu-west-1"];
        for part in usual.iter().chain(parts) {
            assert!(found.iter().any(|found| found == part), "{part} in {found:?}");
        }
    }

    #[test]
    fn operations() {
        let json = |service: &str, target: &str, asked: &str, answered| {
            let signature = signed(service);
            let fields = [("authorization", signature.as_str()), ("x-amz-target", target)];
            told("/", &fields, asked, answered)
        };
        let get = r#"{"TableName":"orders","Key":{"id":{"S":"1"}}}"#;
        let parts = [
            "rpc.method=DynamoDB/GetItem",
            "db.system.name=aws.dynamodb",
            "db.operation.name=GetItem",
            "db.collection.name=orders",
            "aws.request_id=id",
        ];
        check(
            json("dynamodb", "DynamoDB_20120810.GetItem", get, DONE),
            "DynamoDB/GetItem",
            &parts,
        );
        check(
            json("dynamodb", "DynamoDBStreams_20120810.GetRecords", "", DONE),
            "DynamoDB Streams/GetRecords",
            &[],
        );
        let send = r#"{"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1/jobs","MessageBody":"x"}"#;
        let parts = [
            "messaging.system=aws_sqs",
            "messaging.operation.name=SendMessage",
            "messaging.operation.type=send",
            "messaging.destination.name=jobs",
        ];
        check(
            json("sqs", "AmazonSQS.SendMessage", send, DONE),
            "SQS/SendMessage",
            &parts,
        );
        check(json("kms", "TrentService.Decrypt", "", DONE), "KMS/Decrypt", &[]);
        check(json("newest", "Newest_2027.Do", "", DONE), "newest/Do", &[]);
        assert_eq!(json("kms", "no operation", "", DONE), None);
        assert_eq!(json("kms", "A.<script>", "", DONE), None);
    }

    #[test]
    fn queries_and_paths() {
        let signature = signed("sns");
        let signed_for = ("authorization", signature.as_str());
        check(
            told("/?Action=Publish&Version=1", &[signed_for], "", DONE),
            "SNS/Publish",
            &[],
        );
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        let asked = "Version=1&Action=Publish&Message=x";
        check(told("/", &[signed_for, form], asked, DONE), "SNS/Publish", &[]);
        assert_eq!(told("/", &[signed_for], asked, DONE), None, "that is no form");
        let signature = signed("monitoring");
        let fields = [
            ("authorization", signature.as_str()),
            ("smithy-protocol", "rpc-v2-cbor"),
        ];
        let path = "/service/GraniteServiceVersion20100801/operation/GetMetricData";
        check(told(path, &fields, "", DONE), "CloudWatch/GetMetricData", &[]);
    }

    #[test]
    fn errors() {
        let signature = signed("dynamodb");
        let fields = [
            ("authorization", signature.as_str()),
            ("x-amz-target", "DynamoDB_20120810.PutItem"),
        ];
        let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"no"}"#;
        let parts = [
            "error.type=ResourceNotFoundException",
            "rpc.response.status_code=ResourceNotFoundException",
        ];
        let said: &[(&str, &str)] = &[("x-amzn-errortype", "ResourceNotFoundException:http://x")];
        for answered in [(400, &[][..], body), (400, said, "")] {
            let found = told("/", &fields, "{}", answered);
            let was = |found: &[String]| found.iter().any(|found| found == "error.type=400");
            assert!(!found.as_deref().is_some_and(was), "{found:?}");
            check(found, "DynamoDB/PutItem", &parts);
        }
        let xml = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>no</Message></Error>";
        let signature = signed("s3");
        let fields = [("authorization", signature.as_str()), ("host", "127.0.0.1")];
        let parts = ["error.type=NoSuchBucket", "rpc.response.status_code=NoSuchBucket"];
        check(
            told("/shop/a?uploads", &fields, "", (404, &[], xml)),
            "S3/CreateMultipartUpload",
            &parts,
        );
        // Cut, or no code.
        for xml in ["<Error><Code>NoSuch", "<Error><Code>no such</Code>", "<Error/>"] {
            let found = told("/shop/a?uploads", &fields, "", (404, &[], xml));
            check(found, "S3/CreateMultipartUpload", &["error.type=400"]);
        }
    }
}

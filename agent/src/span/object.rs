//! Calls to object storage that speaks Amazon's S3 (OpenTelemetry semantic conventions, "S3").
//!
//! What a request does follows from its method, where it goes and the names of its parameters, as the Amazon S3 API Reference lists
//! them; what does not fit any operation is left as the HTTP request that it is.
use smol_str::SmolStr;

use super::aws::parameter;
use super::http::address;
use super::rpc::decoded;
use super::{Span, Value};
use crate::protocol::http1::{RequestHead, field};

/// Longer names of objects are cut; S3 itself takes no more.
const KEY_BYTES: usize = 1024;
/// Parameters that say how an operation is done, and not which it is.
const NEUTRAL: &[&str] = &[
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "marker",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "partNumber",
    "prefix",
    "start-after",
    "upload-id-marker",
    "uploadId",
    "version-id-marker",
    "versionId",
    "x-id",
];

/// Where a request goes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Place {
    bucket: String,
    key: String,
}

/// Describes the call that a request signed for S3 is; whether it is one.
pub(super) fn describe(span: &mut Span, request: &RequestHead) -> bool {
    let (target, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    // Of a request in absolute form (RFC 9112 section 3.2.2) the host is in the target.
    let (host, path) = match target.split_once("://") {
        Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
        None => {
            let host = request.authority.as_deref();
            let host = host.or_else(|| std::str::from_utf8(field(&request.fields, "host")?).ok());
            (host.unwrap_or_default(), target.strip_prefix('/').unwrap_or(target))
        }
    };
    let Some(place) = place(host, path) else {
        return false;
    };
    let copies = field(&request.fields, "x-amz-copy-source");
    let Some(operation) = operation(&request.method, &place, query, copies.is_some()) else {
        return false;
    };
    span.name = SmolStr::from(operation);
    let mut add = |key, value: &str| {
        if !value.is_empty() {
            let end = value.floor_char_boundary(KEY_BYTES);
            let value = value.get(..end).unwrap_or_default();
            span.attributes.push((key, Value::Text(value.into())));
        }
    };
    add("rpc.method", operation);
    add("aws.s3.bucket", &place.bucket);
    add("aws.s3.key", &place.key);
    if let Some(source) = copies {
        add("aws.s3.copy_source", &decoded(source));
    }
    add("aws.s3.upload_id", &parameter(query, "uploadId").unwrap_or_default());
    if let Some(part) = parameter(query, "partNumber").and_then(|part| part.parse().ok()) {
        span.attributes.push(("aws.s3.part_number", Value::Int(part)));
    }
    true
}

/// The bucket and the object of a request, which are in the path, or the bucket in the host. None where the host does not tell
/// which: one that a bucket's name may be a part of.
fn place(host: &str, path: &str) -> Option<Place> {
    let (host, _) = address(host)?;
    let path = decoded(path.as_bytes());
    let labels = |label: &str| label == "s3" || label.starts_with("s3-");
    let (first, rest) = host.split_once('.').unwrap_or((host, ""));
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if is_address || rest.is_empty() || labels(first) || first == "minio" {
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        return Some(Place {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        });
    }
    let bucket = host.split_inclusive('.').scan(0, |end, label| {
        let begin = *end;
        *end += label.len();
        Some((begin, label.trim_end_matches('.')))
    });
    let (at, _) = bucket.skip(1).find(|(_, label)| labels(label))?;
    Some(Place {
        bucket: host.get(..at.checked_sub(1)?)?.to_owned(),
        key: path,
    })
}

/// The operation's name.
fn operation(method: &str, place: &Place, query: &str, copies: bool) -> Option<&'static str> {
    let has = |name: &str| parameter(query, name).is_some();
    let mut others = query.split('&').filter_map(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let known = name.is_empty()
            || NEUTRAL.contains(&name)
            || name.to_ascii_lowercase().starts_with("x-amz-")
            || name.starts_with("response-");
        (!known).then_some(name)
    });
    // At most one parameter names a part of what is asked for.
    let part = others.next().unwrap_or_default();
    if others.next().is_some() {
        return None;
    }
    let known = match (method, place.bucket.is_empty(), place.key.is_empty(), part) {
        ("GET", true, _, "") => "S3/ListBuckets",
        (_, true, ..) => return None,
        ("GET", _, true, "") if has("list-type") => "S3/ListObjectsV2",
        ("GET", _, true, "") => "S3/ListObjects",
        ("GET", _, true, "uploads") => "S3/ListMultipartUploads",
        ("GET", _, true, "versions") => "S3/ListObjectVersions",
        ("GET", _, true, "location") => "S3/GetBucketLocation",
        ("HEAD", _, true, "") => "S3/HeadBucket",
        ("PUT", _, true, "") => "S3/CreateBucket",
        ("DELETE", _, true, "") => "S3/DeleteBucket",
        ("POST", _, true, "delete") => "S3/DeleteObjects",
        ("GET", _, false, "") if has("uploadId") => "S3/ListParts",
        ("GET", _, false, "") => "S3/GetObject",
        ("GET", _, false, "attributes") => "S3/GetObjectAttributes",
        ("GET", _, false, "tagging") => "S3/GetObjectTagging",
        ("HEAD", _, false, "") => "S3/HeadObject",
        ("PUT", _, false, "") if has("uploadId") && copies => "S3/UploadPartCopy",
        ("PUT", _, false, "") if has("uploadId") => "S3/UploadPart",
        ("PUT", _, false, "") if copies => "S3/CopyObject",
        ("PUT", _, false, "") => "S3/PutObject",
        ("PUT", _, false, "tagging") => "S3/PutObjectTagging",
        ("DELETE", _, false, "") if has("uploadId") => "S3/AbortMultipartUpload",
        ("DELETE", _, false, "") => "S3/DeleteObject",
        ("DELETE", _, false, "tagging") => "S3/DeleteObjectTagging",
        ("POST", _, false, "uploads") => "S3/CreateMultipartUpload",
        ("POST", _, false, "") if has("uploadId") => "S3/CompleteMultipartUpload",
        _ => return None,
    };
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (host, path, want) in [
            ("127.0.0.1:9000", "shop/a/b%20c.png", Some(("shop", "a/b c.png"))),
            ("minio:9000", "shop", Some(("shop", ""))),
            ("minio.storage.example:9000", "shop/x", Some(("shop", "x"))),
            ("s3.eu-west-1.amazonaws.com", "", Some(("", ""))),
            ("my.shop.s3.eu-west-1.amazonaws.com", "x", Some(("my.shop", "x"))),
            ("shop.s3-eu-west-1.amazonaws.com", "", Some(("shop", ""))),
            // The bucket may be a part of the host or not.
            ("objects.example", "shop/x", None),
        ] {
            let found = place(host, path);
            let found = found.as_ref().map(|place| (place.bucket.as_str(), place.key.as_str()));
            assert_eq!(found, want, "{host} {path}");
        }
    }

    #[test]
    fn operations() {
        for (method, bucket, key, query, want) in [
            ("GET", "", "", "", Some("S3/ListBuckets")),
            ("GET", "b", "", "list-type=2&prefix=x", Some("S3/ListObjectsV2")),
            ("GET", "b", "", "cors", None),
            ("GET", "b", "k", "x-id=GetObject&versionId=1", Some("S3/GetObject")),
            ("GET", "b", "k", "acl&tagging", None),
            ("PUT", "b", "k", "", Some("S3/PutObject")),
            ("PUT", "b", "k", "partNumber=2&uploadId=u", Some("S3/UploadPart")),
            ("POST", "b", "k", "uploads=", Some("S3/CreateMultipartUpload")),
            ("POST", "b", "", "delete", Some("S3/DeleteObjects")),
            ("PATCH", "b", "k", "", None),
        ] {
            let place = Place {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
            };
            assert_eq!(operation(method, &place, query, false), want, "{method} {query}");
        }
        let place = Place {
            bucket: "b".to_owned(),
            key: "k".to_owned(),
        };
        assert_eq!(operation("PUT", &place, "", true), Some("S3/CopyObject"));
    }
}

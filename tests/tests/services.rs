//! Calls to services that are asked over HTTP, below the requests that made them.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Span, free_port};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");
const REQUESTS: u64 = 40;
const CONCURRENCY: u64 = 8;

/// The calls below the server's span of a request with this number, in the order in which they began, each with the span of its server.
#[track_caller]
fn calls<'a>(out: &'a Outcome, path: &str, number: u64) -> Vec<(&'a Span, &'a Span)> {
    let below = |parent: &Span, kind: Kind| -> Vec<&'a Span> {
        let mut found = out
            .spans
            .filter(|span| span.kind == kind && span.parent.as_ref() == Some(&parent.id) && span.trace == parent.trace);
        found.sort_by_key(|span| span.start);
        found
    };
    let fronts = out
        .spans
        .filter(|span| span.kind == Kind::Server && span.path() == path && span.number() == Some(number));
    let [front] = fronts.as_slice() else {
        out.fail(&format!("{} server spans of request {number}", fronts.len()));
    };
    let calls = below(front, Kind::Client).into_iter().map(|call| {
        let ends = below(call, Kind::Server);
        match ends.as_slice() {
            [end] => (call, *end),
            ends => out.fail(&format!(
                "{} server spans of {} of request {number}",
                ends.len(),
                call.name
            )),
        }
    });
    calls.collect()
}

/// A call's name, what it works on, and how it fails.
type Expected<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

/// Amazon's SDK against what serves its APIs in tests: every call has the name of its operation at both ends, and what it works on.
#[test]
fn amazons_apis() {
    let Some(lab) = Lab::new("amazons_apis") else { return };
    let (Some(python), Some(moto)) = (lab.services("python"), lab.services("moto_server")) else {
        return;
    };
    let (services, front) = (free_port(), free_port());
    let ports = [services, front].map(|port| port.to_string());
    let app = Lab::workload("python/cloud_app.py");
    let plan = Plan::default()
        .service(services, &[&moto, "-H", "127.0.0.1", "-p", &ports[0]])
        .service(front, &[&python, &app, &ports[1], &ports[0]])
        .rested()
        .load(front, "/front", REQUESTS, CONCURRENCY);
    let out = Clew::run(&lab)
        .args(&["--bodies", "4096"])
        .traced(&plan.argv(&lab, DRIVE));
    for number in 1..=REQUESTS {
        let (receipt, none) = (format!("receipts/{number}"), format!("none/{number}"));
        let (jobs, table) = (format!("jobs-{number}"), "orders");
        let object = |key| [("aws.s3.bucket", "shop"), ("aws.s3.key", key)];
        let row = [
            ("db.system.name", "aws.dynamodb"),
            ("db.collection.name", table),
            ("aws.dynamodb.table_names", table),
        ];
        let message = [("messaging.system", "aws_sqs"), ("messaging.destination.name", &jobs)];
        let expected: [Expected<'_>; 10] = [
            ("S3/PutObject", &object(&receipt), ""),
            ("S3/GetObject", &object(&receipt), ""),
            ("S3/GetObject", &object(&none), "NoSuchKey"),
            ("DynamoDB/PutItem", &row, ""),
            ("DynamoDB/PutItem", &row, "ConditionalCheckFailedException"),
            ("DynamoDB/GetItem", &row, ""),
            ("SQS/CreateQueue", &[("messaging.system", "aws_sqs")], ""),
            ("SQS/SendMessage", &message, ""),
            ("SQS/ReceiveMessage", &message, ""),
            ("SQS/DeleteMessage", &message, ""),
        ];
        let calls = calls(&out, "/front", number);
        let names: Vec<&str> = calls.iter().map(|(call, _)| call.name.as_str()).collect();
        out.check_eq(names, expected.map(|(name, ..)| name).to_vec(), "calls of a request");
        for ((call, end), (name, told, error)) in calls.into_iter().zip(expected) {
            for span in [call, end] {
                out.check_eq(span.name.as_str(), name, "name of a call");
                out.check_span(
                    span,
                    &[
                        ("rpc.system.name", "aws-api"),
                        ("rpc.method", name),
                        ("cloud.region", "eu-west-1"),
                    ],
                );
                out.check_span(span, told);
            }
            // A client's mistake is no error of the server.
            out.check_span(call, &[("error.type", error)]);
            out.check_span(end, &[("error.type", "")]);
        }
    }
}

/// OpenSearch and its client for Python: every call is named by its endpoint and its index, at both ends.
#[test]
fn opensearch() {
    let Some(lab) = Lab::new("opensearch") else { return };
    let (Some(python), Some(server)) = (lab.services("python"), lab.opensearch()) else {
        return;
    };
    let (search, front) = (free_port(), free_port());
    let ports = [search, front].map(|port| port.to_string());
    let app = Lab::workload("python/search_app.py");
    let plan = Plan::default()
        .opensearch(&lab, &server, search)
        .service(front, &[&python, &app, &ports[1], &ports[0]])
        .rested()
        .load(front, "/front", REQUESTS, CONCURRENCY)
        .load(front, "/fail", 3, 1);
    let out = Clew::run(&lab)
        .args(&["--bodies", "4096"])
        .traced(&plan.argv(&lab, DRIVE));
    let check = |path: &str, number: u64, expected: &[(&str, &str, &str)]| {
        let calls = calls(&out, path, number);
        out.check_eq(calls.len(), expected.len(), "calls of a request");
        for ((call, end), (operation, status, error)) in calls.into_iter().zip(expected) {
            let name = format!("{operation} orders");
            for span in [call, end] {
                out.check_eq(span.name.as_str(), name.as_str(), "name of a call");
                out.check_span(
                    span,
                    &[
                        ("db.system.name", "opensearch"),
                        ("db.operation.name", operation),
                        ("db.collection.name", "orders"),
                        ("http.response.status_code", status),
                    ],
                );
            }
            out.check_span(call, &[("error.type", error)]);
            out.check_span(end, &[("error.type", "")]);
        }
    };
    for number in 1..=REQUESTS {
        check(
            "/front",
            number,
            &[
                ("index", "201", ""),
                ("get", "200", ""),
                ("search", "200", ""),
                ("get", "404", "404"),
            ],
        );
    }
    for number in 1..=3 {
        check("/fail", number, &[("search", "400", "parsing_exception")]);
    }
}

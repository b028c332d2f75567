//! The exporter against a scripted transport, in time that only passes when nothing else can happen.
use std::collections::VecDeque;
use std::sync::Mutex;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::super::queue::LIMIT;
use super::*;
use crate::export::sample::{Sample, service};

/// Answers as told; when the script is over, it accepts.
#[derive(Clone, Default)]
struct Script {
    replies: Arc<Mutex<VecDeque<Option<Reply>>>>,
    /// Seconds since the start, and spans, of each request.
    requests: Arc<Mutex<Vec<(f64, usize)>>>,
    warnings: Arc<Mutex<Vec<String>>>,
    started: Option<Instant>,
}

impl Transport for Script {
    type Prepared = usize;

    fn prepare(&self, request: ExportTraceServiceRequest) -> usize {
        let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
        scopes.map(|scope| scope.spans.len()).sum()
    }

    async fn send(&mut self, spans: &usize, timeout: Duration) -> Reply {
        let at = self.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        self.requests.lock().expect("no panic").push((at, *spans));
        let reply = self.replies.lock().expect("no panic").pop_front();
        match reply {
            None => accepted(0),
            Some(Some(reply)) => reply,
            // A server that never answers.
            Some(None) => {
                tokio::time::sleep(timeout).await;
                later(None)
            }
        }
    }
}

fn accepted(rejected_spans: u64) -> Reply {
    Reply::Accepted {
        rejected_spans,
        message: String::new(),
    }
}

fn later(seconds: Option<u64>) -> Reply {
    Reply::Later {
        why: "busy".to_owned(),
        after: seconds.map(Duration::from_secs),
    }
}

fn unreachable() -> Reply {
    Reply::Unreachable("connection refused".to_owned())
}

fn refused() -> Reply {
    Reply::Refused("HTTP status 400".to_owned())
}

struct Case {
    /// Answers; none is a server that never answers.
    replies: Vec<Option<Reply>>,
    spans: usize,
    /// Seconds until the end is announced.
    run: u64,
    /// How many requests are sent, and spans in all of them.
    requests: (usize, usize),
    /// Non-zero counters.
    counters: &'static [(&'static str, u64)],
    /// Seconds from the announcement to the end, at most.
    end: f64,
    warnings: &'static [&'static str],
}

async fn check(case: Case) {
    let script = Script {
        replies: Arc::new(Mutex::new(case.replies.into())),
        started: Some(Instant::now()),
        ..Script::default()
    };
    let warnings = Arc::clone(&script.warnings);
    let counters = Counters::new();
    let exporter = Exporter::spawn(
        script.clone(),
        Surroundings {
            host: Host::default(),
            clock: Clock::at(0),
            counters: counters.clone(),
            warn: Arc::new(move |line| warnings.lock().expect("no panic").push(line.to_owned())),
            shown: "http://c".to_owned(),
            timeout: Duration::from_secs(10),
        },
    );
    let process = service("a");
    for id in 1..=case.spans as u64 {
        exporter.push(Sample::server(id, &process).done());
    }
    tokio::time::sleep(Duration::from_secs(case.run)).await;
    let announced = Instant::now();
    exporter.shutdown(Duration::from_secs(5), std::future::pending()).await;
    let took = announced.elapsed().as_secs_f64();
    assert!(took <= case.end, "took {took} s");

    let requests = script.requests.lock().expect("no panic");
    let spans: usize = requests.iter().map(|(_, spans)| spans).sum();
    assert_eq!((requests.len(), spans), case.requests, "{requests:?}");
    let expected: Vec<_> = case
        .counters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect();
    assert_eq!(counters.snapshot(), expected);
    let said = script.warnings.lock().expect("no panic");
    assert_eq!(said.len(), case.warnings.len(), "{said:?}");
    for (line, part) in said.iter().zip(case.warnings) {
        assert!(line.contains(part) && line.contains("http://c"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn batches() {
    check(Case {
        replies: vec![],
        spans: 1200,
        run: 2,
        requests: (3, 1200),
        counters: &[("export.spans", 1200)],
        end: 0.01,
        warnings: &[],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_sent_at_the_end() {
    check(Case {
        replies: vec![],
        spans: 3,
        run: 0,
        requests: (1, 3),
        counters: &[("export.spans", 3)],
        end: 0.01,
        warnings: &[],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retries_at_the_end() {
    check(Case {
        replies: vec![Some(later(None)), Some(later(Some(0)))],
        spans: 3,
        run: 0,
        requests: (3, 9),
        counters: &[("export.retries", 2), ("export.spans", 3)],
        end: 0.5,
        warnings: &["cannot take spans now: busy"],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_the_collector_asks_for_is_kept() {
    check(Case {
        replies: vec![Some(later(Some(40)))],
        spans: 1,
        run: 40,
        requests: (2, 2),
        counters: &[("export.retries", 1), ("export.spans", 1)],
        end: 1.01,
        warnings: &["busy"],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_end_is_not_kept_waiting_for() {
    check(Case {
        replies: vec![Some(later(Some(40)))],
        spans: 1,
        run: 10,
        requests: (1, 1),
        counters: &[("export.failed", 1)],
        end: 5.01,
        warnings: &["busy"],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_comes_later() {
    check(Case {
        replies: (0..8).map(|_| Some(unreachable())).collect(),
        spans: 600,
        run: 120,
        requests: (10, 512 * 9 + 88),
        counters: &[("export.retries", 8), ("export.spans", 600)],
        end: 0.01,
        warnings: &["unreachable: connection refused; start it or correct --otlp"],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_collector_at_the_end() {
    check(Case {
        replies: (0..100).map(|_| Some(unreachable())).collect(),
        spans: 600,
        run: 0,
        requests: (1, 512),
        counters: &[("export.failed", 600)],
        end: 0.01,
        warnings: &["unreachable"],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_given_up_in_time() {
    check(Case {
        replies: (0..10_000).map(|_| Some(later(Some(70)))).collect(),
        spans: 2,
        run: 1000,
        requests: (5, 10),
        counters: &[("export.failed", 2), ("export.retries", 4)],
        end: 0.01,
        warnings: &["busy"],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn refusals_are_not_repeated() {
    check(Case {
        replies: vec![Some(refused()), Some(refused())],
        spans: 513,
        run: 3,
        requests: (2, 513),
        counters: &[("export.rejected", 513)],
        end: 0.01,
        warnings: &["does not take Clew's spans: HTTP status 400"],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn partial_success() {
    check(Case {
        replies: vec![Some(accepted(5)), Some(accepted(1000))],
        spans: 522,
        run: 3,
        requests: (2, 522),
        counters: &[("export.partial_success.rejected_spans", 15), ("export.spans", 507)],
        end: 0.01,
        warnings: &["refused 5 spans"],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded() {
    check(Case {
        replies: vec![],
        spans: LIMIT.spans + 7,
        run: 1,
        requests: (32, LIMIT.spans),
        counters: &[("export.queue_full", 7), ("export.spans", 16_384)],
        end: 0.01,
        warnings: &[],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    check(Case {
        replies: (0..100).map(|_| None).collect(),
        spans: 2000,
        run: 2,
        requests: (1, 512),
        counters: &[("export.failed", 2000)],
        end: 5.01,
        warnings: &[],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_without_spans() {
    check(Case {
        replies: vec![],
        spans: 0,
        run: 100,
        requests: (0, 0),
        counters: &[],
        end: 0.01,
        warnings: &[],
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn backoff_doubles_up_to_its_limit() {
    let script = Script {
        replies: Arc::new(Mutex::new((0..20).map(|_| Some(later(None))).collect())),
        started: Some(Instant::now()),
        ..Script::default()
    };
    let counters = Counters::new();
    let exporter = Exporter::spawn(
        script.clone(),
        Surroundings {
            host: Host::default(),
            clock: Clock::at(0),
            counters,
            warn: Arc::new(|_| ()),
            shown: String::new(),
            timeout: Duration::from_secs(10),
        },
    );
    exporter.push(Sample::server(1, &service("a")).done());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let requests = script.requests.lock().expect("no panic").clone();
    let expected = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0];
    for ((pair, wait), number) in requests.windows(2).zip(expected).zip(1..) {
        let waited = pair[1].0 - pair[0].0;
        assert!(
            (wait * 0.79..wait * 1.21).contains(&waited),
            "wait {number}: {waited} s, not {wait} s"
        );
    }
    assert!(requests.len() >= 8);
    exporter.shutdown(Duration::from_secs(5), std::future::pending()).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_in_a_hurry_does_not_wait() {
    let script = Script {
        // A server that never answers.
        replies: Arc::new(Mutex::new(vec![None].into())),
        started: Some(Instant::now()),
        ..Script::default()
    };
    let counters = Counters::new();
    let exporter = Exporter::spawn(
        script,
        Surroundings {
            host: Host::default(),
            clock: Clock::at(0),
            counters: counters.clone(),
            warn: Arc::new(|_| ()),
            shown: String::new(),
            timeout: Duration::from_secs(10),
        },
    );
    for id in 1..=3 {
        exporter.push(Sample::server(id, &service("a")).done());
    }
    let began = Instant::now();
    let hurry = tokio::time::sleep(Duration::from_secs(2));
    assert_eq!(exporter.shutdown(Duration::from_secs(5), hurry).await, 3);
    let took = began.elapsed().as_secs_f64();
    assert!((2.0..2.5).contains(&took), "took {took} s");
    assert_eq!(counters.value("export.failed"), 3);
}

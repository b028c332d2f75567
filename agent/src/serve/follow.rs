//! Tells of traces as they come: as lines of JSON, or as events for a browser.
//!
//! The store is asked how far it has got, and only then for what is new, which serves a store that another process writes as
//! well. A reader that is behind, or more news than anyone reads, is told to ask again instead: nothing piles up.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use tokio::sync::mpsc::{Sender, channel, error::TrySendError};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::answer::{Answer, Body, Problem, response};
use super::api::unix_ns;
use super::server::{Readers, Service};
use crate::store::{Change, InFlight, Query, TraceRow};

/// Readers that are served at once.
pub(super) const MOST_FOLLOWERS: usize = 32;
/// How often the store is asked.
const EVERY: Duration = Duration::from_millis(200);
/// Messages that wait for a reader.
const WAITING: usize = 4;
/// Parts of traces that one message tells of, which makes 5 000 a second. Who is further behind than this many messages is told
/// to ask again.
const MOST_ROWS: usize = 1000;
const MOST_BEHIND: i64 = 10 * MOST_ROWS as i64;
/// How long there may be silence: who listens, and what stands between, shall know that the other end is there.
const SILENCE: Duration = Duration::from_secs(15);

/// Newline-delimited JSON: a line for each trace that is new or has grown, `{"refresh":true}` where some were left out.
pub(super) fn lines(service: &Service, query: Query) -> Answer {
    follow(service, query, "application/x-ndjson", |news| match news {
        News::Traces(rows) => rows.iter().fold(String::new(), |lines, row| lines + &text(row) + "\n"),
        News::Flight(_) => String::new(),
        News::Refresh => "{\"refresh\":true}\n".to_owned(),
        News::Nothing => "\n".to_owned(),
    })
}

/// Server-sent events: `traces` with a list of them, `inflight` with all requests in flight when they have changed, `refresh`
/// where some were left out.
pub(super) fn events(service: &Service, query: Query) -> Answer {
    follow(service, query, "text/event-stream", |news| match news {
        News::Traces(rows) => format!("event: traces\ndata: {}\n\n", text(rows)),
        News::Flight(requests) => format!("event: inflight\ndata: {}\n\n", text(requests)),
        News::Refresh => "event: refresh\ndata: {}\n\n".to_owned(),
        News::Nothing => ": here\n\n".to_owned(),
    })
}

enum News<'a> {
    Traces(&'a [TraceRow]),
    /// Requests in flight.
    Flight(&'a [InFlight]),
    /// There is more than is told.
    Refresh,
    Nothing,
}

fn text(value: &(impl serde::Serialize + ?Sized)) -> String {
    // Nothing in it has keys that are no text.
    serde_json::to_string(value).unwrap_or_default()
}

fn follow(service: &Service, query: Query, kind: &'static str, write: fn(News<'_>) -> String) -> Answer {
    let Ok(permit) = Arc::clone(&service.followers).try_acquire_owned() else {
        let problem = format!("{MOST_FOLLOWERS} others follow already");
        return Err(Problem(StatusCode::SERVICE_UNAVAILABLE, problem));
    };
    let (sender, receiver) = channel(WAITING);
    let readers = Arc::clone(&service.readers);
    tokio::spawn(async move {
        run(&readers, &query, &sender, write).await;
        drop(permit);
    });
    Ok(response(StatusCode::OK, kind, Body::Stream(receiver, None)))
}

/// Until the reader is gone.
async fn run(readers: &Arc<Readers>, query: &Query, sender: &Sender<Bytes>, write: fn(News<'_>) -> String) {
    let query = Arc::new(query.clone());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut behind, mut said) = (None, false, Instant::now());
    let mut flight = Vec::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sender.closed() => return,
        }
        let asked = readers.ask(|reader| Ok((reader.change()?, reader.in_flight(unix_ns())?)));
        let Ok((now, in_flight)) = asked.await else {
            // There is no store yet, or it is busy beyond all patience.
            continue;
        };
        let Some(from) = told else {
            told = Some(now);
            // What comes from here on is told, and whoever listens can know that.
            let _room = sender.try_send(write(News::Nothing).into());
            continue;
        };
        let Change(new) = now;
        let Change(old) = from;
        let until = Change(new.min(old.saturating_add(MOST_ROWS as i64)));
        let message = if behind || new.saturating_sub(old) > MOST_BEHIND {
            told = Some(now);
            Some(write(News::Refresh))
        } else if now == from {
            (said.elapsed() >= SILENCE).then(|| write(News::Nothing))
        } else {
            told = Some(until);
            news(readers, &query, from, until, write).await
        };
        let mut message = message.unwrap_or_default();
        if in_flight != flight {
            message += &write(News::Flight(&in_flight));
            flight = in_flight;
        }
        if message.is_empty() {
            continue;
        }
        match sender.try_send(message.into()) {
            Ok(()) => (behind, said) = (false, Instant::now()),
            Err(TrySendError::Full(_)) => behind = true,
            Err(TrySendError::Closed(_)) => return,
        }
    }
}

async fn news(
    readers: &Arc<Readers>,
    query: &Arc<Query>,
    from: Change,
    now: Change,
    write: fn(News<'_>) -> String,
) -> Option<String> {
    let query = Arc::clone(query);
    let rows = readers
        .ask(move |reader| reader.since(&query, from, now, MOST_ROWS))
        .await;
    match rows {
        Ok(rows) if rows.is_empty() => None,
        Ok(rows) => Some(write(News::Traces(&rows))),
        Err(_) => Some(write(News::Refresh)),
    }
}

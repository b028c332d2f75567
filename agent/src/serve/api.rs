//! The API, version 1: what [`OPENAPI`](super::OPENAPI) describes.
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::{Body as _, Incoming};
use hyper::{StatusCode, Uri, header};

use super::answer::{Answer, Body, Problem, json, response};
use super::server::Service;
use super::{follow, mcp, page, replay};
use crate::store::sqlite::{Bounds, SqliteReader, SqliteStore};
use crate::store::{Order, Page, Query, Reader, Received, perfetto};

/// Traces in a page unless asked for more.
const LIMIT: usize = 100;
/// Points unless asked for more.
const POINTS: usize = 2_000;

/// Where assistants ask.
pub(super) const MCP: &str = "/mcp";
/// Where traces are added.
const IMPORT: &str = "/api/v1/traces";
/// Most of a message to [`MCP`], and of what is added at once.
const MESSAGE_BYTES: usize = 1 << 20;
const IMPORT_BYTES: usize = 64 << 20;
/// How long a body may take.
const BODY: Duration = Duration::from_secs(60);

/// Whether something can be posted to a path.
pub(super) fn takes(path: &str) -> bool {
    matches!(path, MCP | IMPORT) || replayed(path).is_some()
}

/// The trace of a request that can be sent again at a path.
fn replayed(path: &str) -> Option<&str> {
    path.strip_prefix("/api/v1/traces/")?.strip_suffix("/replay")
}

/// Takes what was posted.
pub(super) async fn take(service: &Service, path: &str, body: Incoming) -> Answer {
    let readers = &service.readers;
    let folder = readers.folder().to_owned();
    if path == MCP {
        let message = whole(body, MESSAGE_BYTES).await?;
        let open = move || Ok(Box::new(SqliteReader::open(&folder)?) as Box<dyn Reader>);
        let answer = readers.aside(move || mcp::answer(open, &message, unix_ns())).await?;
        return match answer {
            Some(answer) => json(&answer),
            None => Ok(response(StatusCode::ACCEPTED, "application/json", Body::of(b""))),
        };
    }
    if let Some(id) = replayed(path) {
        let asked = serde_json::from_slice(&whole(body, MESSAGE_BYTES).await?);
        let asked: replay::Asked = asked.map_err(|error| bad(&error.to_string()))?;
        let plan = plan(service, id.to_owned(), asked.span.clone()).await?;
        return replay::send(plan, asked).await;
    }
    let Ok(_alone) = service.imports.try_acquire() else {
        let problem = "others add traces just now".to_owned();
        return Err(Problem(StatusCode::SERVICE_UNAVAILABLE, problem));
    };
    let file = whole(body, IMPORT_BYTES).await?;
    let imported = readers.aside(move || {
        let mut received = Received::read(file.as_slice()).map_err(|error| bad(&error.to_string()))?;
        let mut store = SqliteStore::open(&folder, Bounds::default())?;
        Ok::<_, Problem>(store.import(&mut received, "import", unix_ns())?)
    });
    json(&imported.await??)
}

/// All of a body.
pub(super) async fn whole(mut body: Incoming, most: usize) -> Result<Vec<u8>, Problem> {
    let large = || {
        Problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{most} bytes are the most that is taken"),
        )
    };
    if body.size_hint().lower() > most as u64 {
        return Err(large());
    }
    let all = async {
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let frame = frame.map_err(|_| bad("the body has no end"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(large());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    let late = |_| Problem(StatusCode::REQUEST_TIMEOUT, "the body takes too long".to_owned());
    tokio::time::timeout(BODY, all).await.map_err(late)?
}

/// The beginning of a body, and whether there is more of it.
pub(super) async fn read_some(mut body: Incoming, most: usize) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(data) = frame.into_data() else { continue };
        bytes.extend_from_slice(data.get(..most - bytes.len()).unwrap_or(&data));
        if bytes.len() >= most {
            return (bytes, true);
        }
    }
    (bytes, false)
}

/// Answers a request that may be made.
pub(super) async fn answer(service: &Service, uri: &Uri) -> Answer {
    if uri.path() == MCP {
        return Err(Problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "messages are posted here".to_owned(),
        ));
    }
    let Some(path) = uri.path().strip_prefix("/api/") else {
        return page::file(uri.path());
    };
    let asked = Asked::read(uri.query().unwrap_or_default());
    let readers = &service.readers;
    match path {
        "v1/follow" => follow::lines(service, asked.query()?),
        "v1/traces" => {
            let (query, page) = (asked.query()?, asked.page()?);
            json(&readers.ask(move |reader| reader.traces(&query, &page)).await?)
        }
        "v1/live" => follow::events(service, asked.query()?),
        "v1/services" => json(&readers.ask(|reader| reader.services()).await?),
        "v1/endpoints" => {
            let run = asked.number("run")?;
            json(&readers.ask(move |reader| reader.endpoints(run)).await?)
        }
        "v1/inflight" => json(&readers.ask(|reader| reader.in_flight(unix_ns())).await?),
        "v1/facets" => {
            let query = asked.query()?;
            json(&readers.ask(move |reader| reader.facets(&query, unix_ns())).await?)
        }
        "v1/points" => {
            let (query, most) = (asked.query()?, asked.limit(POINTS, 10_000)?);
            json(
                &readers
                    .ask(move |reader| reader.points(&query, unix_ns(), most))
                    .await?,
            )
        }
        "v1/map" => {
            let query = asked.query()?;
            json(&readers.ask(move |reader| reader.map(&query, unix_ns())).await?)
        }
        "v1/compare" => {
            let (base, run) = (asked.number("base")?, asked.number("run")?);
            let found = readers.ask(move |reader| reader.compare(base, run)).await?;
            json(&found.ok_or_else(|| missing("there are no two such runs"))?)
        }
        "v1/errors" => json(&readers.ask(|reader| reader.errors()).await?),
        "v1/tests" => {
            let run = asked.number("run")?;
            json(&readers.ask(move |reader| reader.tests(run)).await?)
        }
        "v1/runs" => json(&readers.ask(|reader| reader.runs()).await?),
        "v1/openapi.json" => Ok(response(
            StatusCode::OK,
            "application/json",
            Body::of(super::OPENAPI.as_bytes()),
        )),
        path => match path
            .strip_prefix("v1/traces/")
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
        {
            Some((id, "replay")) => {
                let span = asked.text("span").ok_or_else(|| bad("span: the span's id is wanted"))?;
                replay::shown(&plan(service, id.to_owned(), span.to_owned()).await?)
            }
            Some((id, "columns")) => {
                let id = id.to_owned();
                let found = readers.ask(move |reader| reader.packed(&id)).await?;
                json(&found.ok_or_else(|| missing("there is no such trace"))?)
            }
            Some((id, form @ ("" | "otlp" | "perfetto"))) => trace(service, id.to_owned(), form).await,
            _ => Err(missing(
                "there is nothing here: /api/v1/openapi.json says what there is",
            )),
        },
    }
}

/// What would be sent again.
async fn plan(service: &Service, id: String, span: String) -> Result<replay::Plan, Problem> {
    let found = service.readers.ask(move |reader| reader.trace(&id)).await?;
    let spans = found.ok_or_else(|| missing("there is no such trace"))?.span_list;
    let span = spans.iter().find(|one| one.span_id == span);
    Ok(replay::Plan::of(span.ok_or_else(|| missing("there is no such span"))?))
}

/// One trace, as the page has it or as a file for others.
async fn trace(service: &Service, id: String, form: &str) -> Answer {
    let readers = &service.readers;
    let none = || missing("there is no such trace");
    let name = format!(
        "attachment; filename=\"trace-{}.{form}.json\"",
        id.get(..8).unwrap_or("x")
    );
    let mut answer = match form {
        "otlp" => json(&readers.ask(move |reader| reader.otlp(&id)).await?.ok_or_else(none)?)?,
        _ => {
            let found = readers.ask(move |reader| reader.trace(&id)).await?.ok_or_else(none)?;
            match form {
                "perfetto" => json(&perfetto(&found))?,
                _ => return json(&found),
            }
        }
    };
    // What was found has an id of hex digits.
    if let Ok(name) = header::HeaderValue::from_str(&name) {
        answer.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(answer)
}

fn missing(what: &str) -> Problem {
    Problem(StatusCode::NOT_FOUND, what.to_owned())
}

fn bad(what: &str) -> Problem {
    Problem(StatusCode::BAD_REQUEST, what.to_owned())
}

/// What stands behind `?`. Of a name that is given twice the last counts.
struct Asked(HashMap<String, String>);

impl Asked {
    fn read(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    fn query(&self) -> Result<Query, Problem> {
        Ok(Query::parse(self.text("q").unwrap_or_default())?)
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        let number = self.text(name).map(str::parse).transpose();
        number.map_err(|_| bad(&format!("{name}: a whole number is wanted")))
    }

    fn limit(&self, usual: usize, most: usize) -> Result<usize, Problem> {
        let Some(limit) = self.number("limit")? else {
            return Ok(usual);
        };
        let limit = usize::try_from(limit).ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| bad(&format!("limit: 1 to {most} is wanted")))
    }

    fn page(&self) -> Result<Page, Problem> {
        Ok(Page {
            order: Order::of(self.text("sort").unwrap_or("start"))
                .ok_or_else(|| bad("sort: start, duration, spans, errors, service, title or status is wanted"))?,
            ascending: match self.text("order").unwrap_or("desc") {
                "desc" => false,
                "asc" => true,
                _ => return Err(bad("order: desc or asc is wanted")),
            },
            limit: self.limit(LIMIT, 1000)?,
            after: self.text("after").map(str::to_owned),
            now_ns: unix_ns(),
        })
    }
}

pub(super) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

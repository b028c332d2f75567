//! The API, version 1: what [`OPENAPI`](super::OPENAPI) describes.
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::{StatusCode, Uri};

use super::answer::{Answer, Body, Problem, json, response};
use super::server::Service;
use super::{follow, page};
use crate::store::{Order, Page, Query};

/// Traces in a page unless asked for more.
const LIMIT: usize = 100;
/// Points unless asked for more.
const POINTS: usize = 2_000;

/// Answers a request that may be made.
pub(super) async fn answer(service: &Service, uri: &Uri) -> Answer {
    let Some(path) = uri.path().strip_prefix("/api/") else {
        return page::file(uri.path());
    };
    let asked = Asked::read(uri.query().unwrap_or_default());
    let readers = &service.readers;
    match path {
        "v1/traces" if asked.is_set("follow")? => follow::lines(service, asked.query()?),
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
        "v1/runs" => json(&readers.ask(|reader| reader.runs()).await?),
        "v1/openapi.json" => Ok(response(
            StatusCode::OK,
            "application/json",
            Body::of(super::OPENAPI.as_bytes()),
        )),
        path => match path.strip_prefix("v1/traces/") {
            Some(id) if !id.contains('/') => {
                let id = id.to_owned();
                let found = readers.ask(move |reader| reader.trace(&id)).await?;
                json(&found.ok_or_else(|| missing("there is no such trace"))?)
            }
            _ => Err(missing(
                "there is nothing here: /api/v1/openapi.json says what there is",
            )),
        },
    }
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

    fn is_set(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(bad(&format!("{name}: true or false is wanted"))),
        }
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

fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

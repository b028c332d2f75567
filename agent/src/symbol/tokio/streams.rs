//! Where hyper's servers take up a stream of HTTP/2, and hand it to a task that is made for it; and how a request that a client is given
//! comes to the task that opens a stream for it.
use std::collections::HashSet;

use clew_common::context::{TOKIO_CLAIMS, TOKIO_NEXT, TOKIO_OPENS, TOKIO_STREAM, stream, wake, wake_page};

use super::wakes::saved;
use super::{DEPTH, POP, PUSH, Program, TAKERS, Watch, pack};
use crate::symbol::code::starts_cheaply;
use crate::symbol::flow::number::{self, Number};
use crate::symbol::flow::{follows, slots};
use crate::symbol::functions::Function;

/// Makes what refers to a stream, whoever takes one up.
pub(super) const TAKES_UP: &str = "h2::proto::streams::streams::OpaqueStreamRef::new";
/// Functions that make a task, the outermost first: what is small is a part of its callers.
pub(super) const SPAWN: [&str; 3] = [
    "tokio::task::spawn::spawn",
    "tokio::runtime::scheduler::multi_thread::handle::Handle::bind_new_task",
    "tokio::runtime::task::list::OwnedTasks::bind",
];
/// Drive a server's connection.
const SERVERS: [&str; 2] = [
    "hyper::proto::h2::server::Server::poll",
    "hyper::proto::h2::server::Serving::poll_server",
];
/// Opens a stream for a request; for its caller, the other.
pub(super) const OPENS: [&str; 2] = [
    "h2::proto::streams::streams::Streams::send_request",
    "h2::client::SendRequest::send_request",
];
/// Takes requests out of a channel and opens streams for them.
const CLIENT: &str = "hyper::proto::h2::client::ClientTask::";
/// Takes requests out of a channel and gives them to a service (`Buffer`), one after the other.
const WORKER: &str = "tower::buffer::worker::Worker::";
/// A stream that was opened is the next that is written.
pub(super) const WRITES: &str = "h2::proto::streams::store::Queue::push_front";

/// How it is seen which stream a new task serves, and for whom a stream is opened.
pub(super) struct Streams {
    /// Their places in the plan, and the words.
    pub(super) words: Vec<(usize, u64)>,
    pub(super) points: Vec<Watch>,
    pub(super) limits: Vec<String>,
}

impl Program<'_> {
    /// None where the program has neither servers nor clients.
    pub(super) fn streams(&self) -> Option<Result<Streams, &'static str>> {
        let takes_up = self.only(TAKES_UP)?;
        let found = (|| {
            let word = self.stream(takes_up)?;
            let mut streams = Streams {
                words: vec![(TOKIO_STREAM, word)],
                points: vec![("tokio_takes_up", takes_up.address)],
                limits: Vec::new(),
            };
            match self.hands_over() {
                Ok(points) => streams.points.extend(points),
                Err(why) => streams
                    .limits
                    .push(format!("requests that come over HTTP/2 are linked to nothing: {why}")),
            }
            let opens = self.returns(self.sites(takes_up), &[CLIENT]);
            if !opens.is_empty() {
                match self.asked(takes_up, &opens) {
                    Ok(asked) => {
                        streams.words.extend(asked.words);
                        streams.points.extend(asked.points);
                    }
                    Err(why) => streams.limits.push(format!(
                        "requests that are sent over HTTP/2 are linked to nothing: {why}"
                    )),
                }
            }
            Ok(streams)
        })();
        match found {
            Ok(streams) if streams.points.len() > 1 => Some(Ok(streams)),
            Ok(Streams { limits, .. }) if limits.is_empty() => None,
            Ok(_) => Some(Err("neither its servers nor its clients can be watched")),
            Err(why) => Some(Err(why)),
        }
    }

    /// Where it stands which stream is taken up.
    fn stream(&self, takes_up: &Function) -> Result<u64, &'static str> {
        const ELSEWHERE: &str = "a stream's number is not where it should be";
        let code = self.code(takes_up).ok_or(ELSEWHERE)?;
        let Number { argument, offset } = number::compared(&code, takes_up.address).ok_or(ELSEWHERE)?;
        // What names a stream has two words: the place of all, and its number with another.
        let store = if offset < 8 { 8 } else { 0 };
        if !follows(&code, takes_up.address, argument, store) || !starts_cheaply(&code, takes_up.address) {
            return Err("the function that takes up a stream has another shape");
        }
        let register = saved(argument).ok_or(ELSEWHERE)?;
        let short = |offset| u16::try_from(offset).map_err(|_| ELSEWHERE);
        Ok(stream(register, short(offset)?, short(store)?))
    }

    /// Where servers make the tasks that serve streams: each in one place, or what is made there may be something else.
    fn hands_over(&self) -> Result<Vec<Watch>, &'static str> {
        const HIDDEN: &str = "where a task is made for a stream cannot be told";
        let mut points: Vec<(u64, Watch)> = Vec::new();
        for spawn in SPAWN.iter().flat_map(|name| self.all(name)) {
            for site in self.sites(spawn) {
                let around = self.functions.around(site.address);
                self.look(around).ok_or(HIDDEN)?;
                let serves = |name: String| SERVERS.contains(&name.as_str());
                let Some(server) = around.first() else { continue };
                if !around.iter().any(|function| serves(self.functions.name(function))) {
                    continue;
                }
                let is_server = around.iter().all(|function| serves(self.functions.name(function)));
                let code = self.image.code(site.address, 16).ok_or(HIDDEN)?;
                if !is_server || !starts_cheaply(&code, site.address) {
                    return Err(HIDDEN);
                }
                points.push((server.address, ("tokio_hands_stream", site.address)));
            }
        }
        let servers: HashSet<u64> = points.iter().map(|(server, _)| *server).collect();
        if servers.len() == points.len() {
            Ok(points.into_iter().map(|(_, watch)| watch).collect())
        } else {
            Err(HIDDEN)
        }
    }

    /// How a request is followed from who asks to the stream that is opened for it: through channels, in which it has a place. `opens` is
    /// where `takes_up` returns to in clients.
    fn asked(&self, takes_up: &Function, opens: &[u64]) -> Result<Streams, &'static str> {
        const MANY: &str = "they are asked in too many ways";
        let distances: Option<Vec<i32>> = opens
            .iter()
            .map(|back| i32::try_from(back.wrapping_sub(takes_up.address).cast_signed()).ok())
            .collect();
        let distances = distances.filter(|distances| distances.len() <= 2 * TOKIO_OPENS.len());
        let mut words = [0; TOKIO_OPENS.end - TOKIO_OPENS.start];
        pack(&mut words, &distances.ok_or(MANY)?);
        let mut asked = Streams {
            words: TOKIO_OPENS.zip(words).collect(),
            points: Vec::new(),
            limits: Vec::new(),
        };
        let blocks = self.takes(&mut asked)?;
        self.claims(&blocks, &mut asked)?;
        for writes in self.all(WRITES) {
            let code = self.code(writes).filter(|code| starts_cheaply(code, writes.address));
            code.ok_or("where streams are written cannot be watched")?;
            asked.points.push(("tokio_opens", writes.address));
        }
        if asked.points.iter().all(|(program, _)| *program != "tokio_opens") {
            return Err("where streams are written cannot be watched");
        }
        Ok(asked)
    }

    /// Where requests are taken out of channels. Gives what tells those channels from others.
    fn takes(&self, asked: &mut Streams) -> Result<HashSet<u64>, &'static str> {
        const HIDDEN: &str = "where they are taken from channels cannot be watched";
        let roles: Vec<&str> = TAKERS.iter().copied().chain([CLIENT, WORKER]).collect();
        let mut blocks = HashSet::new();
        let mut next = HashSet::new();
        for pop in self.all(POP) {
            let takes = |site| self.backs(site, &roles, DEPTH).is_some_and(|backs| !backs.is_empty());
            if !self.sites(pop).iter().copied().any(takes) {
                continue;
            }
            let code = self.code(pop).ok_or(HIDDEN)?;
            let take = slots::takes(&code, pop.address).ok_or(HIDDEN)?;
            if !starts_cheaply(&code, pop.address) {
                return Err(HIDDEN);
            }
            blocks.insert(take.block);
            next.insert(take.index);
            asked.points.push(("tokio_takes", pop.address));
        }
        let mut found = next.into_iter();
        let (Some(next), None) = (found.next(), found.next()) else {
            return Err(HIDDEN);
        };
        asked.words.push((TOKIO_NEXT, next.into()));
        Ok(blocks)
    }

    /// Where requests are put into those channels.
    fn claims(&self, blocks: &HashSet<u64>, asked: &mut Streams) -> Result<(), &'static str> {
        const HIDDEN: &str = "where they are put into channels cannot be watched";
        let mut words: Vec<u64> = Vec::new();
        for push in self.all(PUSH) {
            let code = self.code(push).ok_or(HIDDEN)?;
            let claim = slots::claims(&code, push.address).ok_or(HIDDEN)?;
            if !blocks.contains(&claim.block) {
                continue;
            }
            let word = wake(claim.branch, saved(claim.index).ok_or(HIDDEN)?, 0);
            let other = words.iter().find(|other| wake_page(**other) == wake_page(word));
            if other.is_some_and(|other| *other != word) {
                return Err("two places where they are put into channels look alike");
            }
            if other.is_none() {
                words.push(word);
            }
            asked.points.push(("tokio_claims", claim.branch));
        }
        if words.is_empty() || words.len() > TOKIO_CLAIMS.len() {
            return Err(HIDDEN);
        }
        asked.words.extend(TOKIO_CLAIMS.zip(words));
        Ok(())
    }
}

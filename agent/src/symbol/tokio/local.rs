//! Where tasks of a `LocalSet` are made: they are made runnable by the function that does it when they are woken, too.
use clew_common::context::{TOKIO_WAKES, wake, wake_page};

use super::wakes::saved;
use super::{Program, TICK, Watch};
use crate::symbol::code::starts_cheaply;
use crate::symbol::flow;
use crate::symbol::functions::Function;

/// Functions that make them.
const MAKERS: &[&str] = &[
    "tokio::task::local::Context::spawn",
    "tokio::task::local::LocalSet::spawn_",
    "tokio::task::local::spawn_local",
    "tokio::task::join_set::JoinSet::spawn_local",
    "tokio::task::builder::Builder::spawn_local",
];

/// How new ones are seen.
pub(super) struct Local {
    pub(super) points: Vec<Watch>,
    /// Where their header is at the only point, as the plan has places that wake; none where it is the second argument.
    pub(super) word: Option<u64>,
}

impl Local {
    /// Whether the plan, which has these places, has room for this one, and a probe can be told from theirs.
    pub(super) fn fits(&self, places: &[u64]) -> bool {
        let is_other = |word: u64| places.iter().all(|place| wake_page(*place) != wake_page(word));
        self.word
            .is_none_or(|word| places.len() < TOKIO_WAKES.len() && is_other(word))
    }
}

impl Program<'_> {
    /// Whether all that the function waits for with `register` are tasks of a `LocalSet`, which it runs then: it does each as often.
    pub(super) fn drives_set(&self, function: &Function, register: &Function) -> bool {
        let end = function.address.saturating_add(function.size);
        let within = |callee: &Function| {
            let sites = self.sites(callee).iter();
            sites
                .filter(|site| (function.address..end).contains(&site.address))
                .count()
        };
        let runs: usize = self.all(TICK).iter().map(within).sum();
        runs != 0 && within(register) <= runs
    }

    /// Finds where new ones are handed to `schedule` as its second argument.
    pub(super) fn local(&self, schedule: &Function) -> Option<Local> {
        let sites = self.sites(schedule);
        let mut makers = Vec::new();
        for site in sites {
            let around = self.functions.around(site.address);
            self.look(around)?;
            let makes = |function: &Function| {
                let name = self.functions.name(function);
                MAKERS.iter().any(|maker| name.starts_with(maker))
            };
            if !around.is_empty() && around.iter().all(makes) {
                makers.push(site.address);
            }
        }
        if makers.is_empty() {
            return None;
        }
        // Where who wakes has the function within, only makers come to it.
        if makers.len() == sites.len() {
            let (place, register) = flow::holds_second(&self.code(schedule)?, schedule.address)?;
            return Some(Local {
                points: vec![("tokio_made", place)],
                word: Some(wake(place, saved(register)?, 0)),
            });
        }
        let points = makers.into_iter().map(|place| {
            let code = self.image.code(place, 16)?;
            (self.is_plain() || starts_cheaply(&code, place)).then_some(("tokio_created", place))
        });
        Some(Local {
            points: points.collect::<Option<_>>()?,
            word: None,
        })
    }
}

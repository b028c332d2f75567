//! Which lines a trace has, and in which order.
use std::collections::{HashMap, HashSet};

use crate::export::Finished;
use crate::span::SpanKind;

/// A line: a call, or one end of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row<'a> {
    /// The end that asks.
    pub(super) client: Option<&'a Finished>,
    /// The end that answers, or a span of neither kind.
    pub(super) server: Option<&'a Finished>,
    /// For each level from the first below the root down to this line: whether more lines follow on that level.
    pub(super) follows: Vec<bool>,
    /// It names a parent that is not in the trace.
    pub(super) lacks_parent: bool,
    /// The service the line above on the tree belongs to.
    pub(super) caller: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// The span that gives the line its times: the caller's wait where it is known.
    pub(super) fn outer(&self) -> Option<&'a Finished> {
        self.client.or(self.server)
    }
}

/// The lines from top to bottom: children below their parent, by start. Every span is in exactly one, whatever the
/// parents say.
pub(super) fn rows(spans: &[Finished]) -> Vec<Row<'_>> {
    let here: HashSet<[u8; 8]> = spans.iter().map(|span| span.span_id).collect();
    let mut children: HashMap<[u8; 8], Vec<&Finished>> = HashMap::new();
    let mut roots = Vec::new();
    for span in spans {
        match span.parent_id.filter(|parent| here.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(span),
            None => roots.push(span),
        }
    }
    let by_start = |spans: &mut Vec<&Finished>| spans.sort_by_key(|placed| (placed.span.start_ns, placed.span_id));
    by_start(&mut roots);
    children.values_mut().for_each(by_start);

    let mut walk = Walk {
        children,
        drawn: HashSet::new(),
        rows: Vec::with_capacity(spans.len()),
    };
    for root in roots {
        walk.below(root);
    }
    // Spans that are each other's ancestors hang from no root.
    for span in spans {
        walk.below(span);
    }
    walk.rows
}

struct Walk<'a> {
    children: HashMap<[u8; 8], Vec<&'a Finished>>,
    /// Spans by address: ids from outside may repeat.
    drawn: HashSet<*const crate::trace::Placed>,
    rows: Vec<Row<'a>>,
}

impl<'a> Walk<'a> {
    /// `root` and all below it. Not recursive: the depth of a trace is decided by others.
    fn below(&mut self, root: &'a Finished) {
        let mut waiting = vec![(root, Vec::new(), None)];
        while let Some((span, follows, caller)) = waiting.pop() {
            if !self.drawn.insert(std::sync::Arc::as_ptr(span)) {
                continue;
            }
            let is_client = matches!(span.span.kind, SpanKind::Client | SpanKind::Producer);
            let answer = if is_client { self.answer(span) } else { None };
            if let Some(answer) = answer {
                self.drawn.insert(std::sync::Arc::as_ptr(answer));
            }
            let inner = answer.unwrap_or(span);
            let mut next: Vec<&Finished> = self.children.get(&inner.span_id).cloned().unwrap_or_default();
            if answer.is_some() {
                // Whatever else hangs from the client's span, such as a second answer.
                next.extend(self.children.get(&span.span_id).into_iter().flatten());
            }
            next.retain(|child| !self.drawn.contains(&std::sync::Arc::as_ptr(child)));
            let below: Option<&str> = Some(&inner.process.service);
            for (place, child) in next.iter().enumerate().rev() {
                let mut follows: Vec<bool> = follows.clone();
                if follows.len() < MOST_LEVELS {
                    follows.push(place + 1 < next.len());
                }
                waiting.push((child, follows, below));
            }
            self.rows.push(Row {
                client: is_client.then_some(span),
                server: if is_client { answer } else { Some(span) },
                lacks_parent: follows.is_empty() && span.parent_id.is_some(),
                follows,
                caller,
            });
        }
    }

    /// The server's span of a client's: the only one of its kind below it, in another process.
    fn answer(&self, client: &Finished) -> Option<&'a Finished> {
        let mut answers = self
            .children
            .get(&client.span_id)?
            .iter()
            .filter(|child| matches!(child.span.kind, SpanKind::Server | SpanKind::Consumer))
            .filter(|child| !self.drawn.contains(&std::sync::Arc::as_ptr(child)));
        let answer = answers.next()?;
        (answer.parent_is_remote && answers.next().is_none()).then_some(answer)
    }
}

/// Levels that are indented; what is deeper stands on the last of them.
const MOST_LEVELS: usize = 24;

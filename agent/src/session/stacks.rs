//! Finds the functions of stacks beside the loop, and puts them on spans.
use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clew_common::event::STACK_ONCE;
use smol_str::{SmolStr, format_smolstr};

use crate::attach::Rows;
use crate::capture::{Language, Pid, Stack};
use crate::discover::Proc;
use crate::span::{Policy, STACK, STACK_TRACE, Span, Value};
use crate::symbol::{Frame, Stacks};

/// Stacks that wait to be looked at.
const MOST_WAITING: usize = 1024;
/// Stacks that are remembered: more than the kernel side knows.
const MOST_KNOWN: usize = 16_384;
/// The same of stacks whose name is theirs alone.
const MOST_ONCE: usize = 4096;
/// How often functions are looked for that programs have made meanwhile.
const CATCH_UP: Duration = Duration::from_millis(250);
/// How long what waits at the end is waited for.
const LAST: Duration = Duration::from_secs(2);

enum Ask {
    Stack(Stack),
    Forget(Pid),
}

/// What is known of stacks, by name; none is one that is being looked at.
#[derive(Default)]
struct Told {
    all: HashMap<u64, Option<Arc<Shown>>>,
    /// Names of one stack each, the oldest first.
    once: VecDeque<u64>,
}

type Known = Arc<Mutex<Told>>;

impl Told {
    /// A stack of this name will be known.
    fn expect(&mut self, hash: u64) {
        if hash & STACK_ONCE != 0 {
            if self.once.len() >= MOST_ONCE
                && let Some(oldest) = self.once.pop_front()
            {
                self.all.remove(&oldest);
            }
            self.once.push_back(hash);
        } else if self.all.len() >= MOST_KNOWN + MOST_ONCE {
            self.all.clear();
            self.once.clear();
        }
        self.all.insert(hash, None);
    }

    fn know(&mut self, hash: u64, shown: Shown) {
        // Unless it fell out meanwhile.
        if let Some(place) = self.all.get_mut(&hash) {
            *place = Some(Arc::new(shown));
        }
    }
}

/// The attributes that say where a stack is.
const FUNCTION: &str = "code.function.name";
const FILE: &str = "code.file.path";
const LINE: &str = "code.line.number";
/// The same of the one where a process ended.
const EXCEPTION_TRACE: &str = "exception.stacktrace";

/// What a span says of a stack, save what may not be shown: many spans say the same.
struct Shown {
    trace: SmolStr,
    function: SmolStr,
    file: SmolStr,
    line: u32,
}

impl Shown {
    fn concealed(mut self, policy: &Policy) -> Self {
        for (key, text) in [
            (FUNCTION, &mut self.function),
            (FILE, &mut self.file),
            (STACK_TRACE, &mut self.trace),
        ] {
            if let Cow::Owned(shown) = policy.attribute(key, text) {
                *text = shown.into();
            }
        }
        self
    }
}

/// Hands stacks to the thread that looks at them.
pub(super) struct Symbolizer {
    asks: SyncSender<Ask>,
    known: Known,
    waiting: Arc<AtomicUsize>,
    policy: Policy,
}

impl Symbolizer {
    /// Starts the thread. `rows` is where the kernel side reads how stacks are walked, `policy` says what may be shown.
    pub(super) fn start(proc: Proc, rows: Option<Rows>, policy: Policy) -> io::Result<Self> {
        let (asks, asked) = sync_channel(MOST_WAITING);
        let (known, waiting) = (Known::default(), Arc::new(AtomicUsize::new(0)));
        let (answers, open, shows) = (Arc::clone(&known), Arc::clone(&waiting), policy.clone());
        std::thread::Builder::new()
            .name("clew-stacks".to_owned())
            .spawn(move || answer(&proc, rows, &shows, &asked, &answers, &open))?;
        Ok(Self {
            asks,
            known,
            waiting,
            policy,
        })
    }

    /// Has a stack looked at that was told whole; the name of a counter where it cannot be.
    pub(super) fn ask(&self, stack: &Stack) -> Option<&'static str> {
        if stack.words.is_empty() && stack.rest.is_none() {
            return None;
        }
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .expect(stack.hash);
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if self.asks.try_send(Ask::Stack(stack.clone())).is_err() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            return Some("stack.many");
        }
        None
    }

    /// A process is over.
    pub(super) fn forget(&self, pid: Pid) {
        // Where no room is left it is forgotten with the others, by their bound.
        let _full = self.asks.try_send(Ask::Forget(pid));
    }

    /// Puts the functions of its stack, and of the one where its process ended, on a span; the name of a counter where they are not known.
    pub(super) fn show(&self, span: &mut Span) -> Option<&'static str> {
        let mut unknown = None;
        for event in &mut span.events {
            match take(&mut event.attributes).map(|hash| self.shown(hash)) {
                None => {}
                Some(Ok(shown)) => {
                    let trace = match self.policy.attribute(EXCEPTION_TRACE, &shown.trace) {
                        Cow::Borrowed(_) => shown.trace.clone(),
                        Cow::Owned(concealed) => concealed.into(),
                    };
                    event.attributes.push((EXCEPTION_TRACE, Value::Text(trace)));
                }
                Some(Err(count)) => unknown = Some(count),
            }
        }
        let Some(hash) = take(&mut span.attributes) else {
            return unknown;
        };
        let shown = match self.shown(hash) {
            Ok(shown) => shown,
            Err(count) => return Some(count),
        };
        let mut push = |name, value| span.attributes.push((name, value));
        if !shown.function.is_empty() {
            push(FUNCTION, Value::Text(shown.function.clone()));
        }
        if !shown.file.is_empty() {
            push(FILE, Value::Text(shown.file.clone()));
        }
        if shown.line > 0 {
            push(LINE, Value::Int(i64::from(shown.line)));
        }
        push(STACK_TRACE, Value::Text(shown.trace.clone()));
        unknown
    }

    /// What is said of a stack; the name of a counter where it is not known.
    fn shown(&self, hash: u64) -> Result<Arc<Shown>, &'static str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = known.all.get(&hash).and_then(Option::as_ref).ok_or("stack.late")?;
        if shown.trace.is_empty() {
            return Err("stack.gone");
        }
        Ok(Arc::clone(shown))
    }

    /// Waits until all that was asked is answered, for a while.
    pub(super) async fn settle(&self) {
        let begun = Instant::now();
        while self.waiting.load(Ordering::Acquire) > 0 && begun.elapsed() < LAST {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Takes the name of a stack out of attributes.
fn take(attributes: &mut Vec<(&'static str, Value)>) -> Option<u64> {
    let place = attributes.iter().position(|(name, _)| *name == STACK)?;
    match attributes.remove(place) {
        (_, Value::Int(hash)) => Some(hash.cast_unsigned()),
        _ => None,
    }
}

/// Answers until nobody asks any more: walks what is asked at once, so that the kernel side need not ask again, and names it when nothing
/// else waits.
fn answer(
    proc: &Proc,
    mut rows: Option<Rows>,
    policy: &Policy,
    asks: &Receiver<Ask>,
    known: &Known,
    waiting: &AtomicUsize,
) {
    let mut stacks = Stacks::default();
    let mut unnamed: VecDeque<Stack> = VecDeque::new();
    let know = |name, frames: &[Frame], language| {
        let shown = shown(frames, language).concealed(policy);
        known.lock().unwrap_or_else(PoisonError::into_inner).know(name, shown);
    };
    let name = |stacks: &mut Stacks, stack: &Stack| {
        know(stack.hash, &stacks.frames(proc, stack), stack.language);
        waiting.fetch_sub(1, Ordering::AcqRel);
    };
    let mut caught_up = Instant::now();
    loop {
        let since = caught_up.elapsed();
        if since >= CATCH_UP {
            let again = stacks.catch_up(proc, &mut |name, language, frames| know(name, frames, language));
            for place in again {
                if let Some(rows) = &mut rows {
                    rows.remove(place);
                }
            }
            caught_up = Instant::now();
        }
        let ask = match unnamed.len() {
            0 => match asks.recv_timeout(CATCH_UP.saturating_sub(since)) {
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(ask) => Some(ask),
            },
            MOST_WAITING.. => None,
            _ => asks.try_recv().ok(),
        };
        match ask {
            Some(Ask::Stack(mut stack)) => {
                stacks.walk(proc, &mut stack, &mut |place, row| {
                    if let Some(rows) = &mut rows {
                        rows.set(place, row);
                    }
                });
                unnamed.push_back(stack);
            }
            Some(Ask::Forget(pid)) => {
                for stack in unnamed.drain(..) {
                    name(&mut stacks, &stack);
                }
                for place in stacks.forget(pid) {
                    if let Some(rows) = &mut rows {
                        rows.remove(place);
                    }
                }
            }
            None => {
                if let Some(stack) = unnamed.pop_front_if(|stack| !stacks.prepare(stack)) {
                    name(&mut stacks, &stack);
                }
            }
        }
    }
}

/// What is said of a stack: its innermost function that is the program's own, and all of them as the language writes them.
fn shown(frames: &[Frame], language: Language) -> Shown {
    let own = match language {
        // One that is not known may be it.
        Language::Compiled { .. } => {
            let mut known = frames.iter().take_while(|frame| !frame.function.is_empty());
            known.find(|frame| frame.is_own)
        }
        Language::Go | Language::Python { .. } => frames.iter().find(|frame| frame.is_own).or(frames.first()),
    };
    let lines: Vec<SmolStr> = match language {
        Language::Python { .. } => {
            let lines = frames.iter().rev();
            lines
                .map(|frame| format_smolstr!("  File \"{}\", line {}, in {}", frame.file, frame.line, frame.function))
                .collect()
        }
        Language::Go => {
            let lines = frames.iter();
            lines
                .map(|frame| format_smolstr!("{}(...)\n\t{}:{}", frame.function, frame.file, frame.line))
                .collect()
        }
        Language::Compiled { .. } => {
            let lines = frames.iter().enumerate();
            lines
                .map(|(depth, frame)| match (&*frame.function, &*frame.file, frame.line) {
                    ("", ..) => format_smolstr!("{depth:4}: [unknown]"),
                    (function, "", _) => format_smolstr!("{depth:4}: {function}"),
                    (function, file, 0) => format_smolstr!("{depth:4}: {function}\n             at {file}"),
                    (function, file, line) => format_smolstr!("{depth:4}: {function}\n             at {file}:{line}"),
                })
                .collect()
        }
    };
    Shown {
        trace: lines.join("\n").into(),
        function: own.map_or_else(SmolStr::default, |own| own.function.clone()),
        file: own.map_or_else(SmolStr::default, |own| own.file.clone()),
        line: own.map_or(0, |own| own.line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, line: u32, is_own: bool) -> Frame {
        Frame {
            function: function.into(),
            file: format_smolstr!("/{function}.x"),
            line,
            is_own,
        }
    }

    #[test]
    fn the_innermost_own_function_is_the_call_s() {
        let frames = [frame("send", 1, false), frame("buy", 2, true), frame("serve", 3, true)];
        let told = shown(&frames, Language::Python { minor: 11 });
        assert_eq!((&*told.function, &*told.file, told.line), ("buy", "/buy.x", 2));
        let text = "  File \"/serve.x\", line 3, in serve\n  File \"/buy.x\", line 2, in buy\n  File \"/send.x\", line 1, in send";
        assert_eq!(told.trace, text);
        let told = shown(&frames[..1], Language::Go);
        assert_eq!((&*told.function, &*told.trace), ("send", "send(...)\n\t/send.x:1"));
        let compiled = Language::Compiled { space: 1 };
        let told = shown(&[frame("send", 0, false), frame("buy", 2, true)], compiled);
        let text = "   0: send\n             at /send.x\n   1: buy\n             at /buy.x:2";
        assert_eq!((&*told.function, &*told.trace), ("buy", text));
        let unknown = Frame {
            file: SmolStr::default(),
            ..frame("", 0, false)
        };
        let told = shown(&[unknown, frame("buy", 2, true)], compiled);
        let text = "   0: [unknown]\n   1: buy\n             at /buy.x:2";
        assert_eq!(
            (&*told.function, &*told.trace),
            ("", text),
            "whose call it is is not known"
        );
        assert_eq!(shown(&[], Language::Go).trace, "");
    }
}

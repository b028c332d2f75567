//! Requests whose answers are known, asked again and again.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clew_tests::{Answer, ask, connect};

/// Threads that ask.
const THREADS: usize = 8;
/// Different requests each of them asks.
const REQUESTS: usize = 8;
/// Within this a request is answered, also on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Errors that are told one by one.
const TOLD: usize = 5;

/// A server and what it answers.
pub(super) struct Target {
    port: u16,
    path: &'static str,
    closing: bool,
    /// To the request of each number, counted from 1.
    answers: Vec<Answer>,
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) requests: u64,
    pub(super) longest: Duration,
    /// How many were not answered as before.
    pub(super) wrong: u64,
    /// The first of those.
    pub(super) errors: Vec<String>,
}

impl Target {
    /// Asks every request twice.
    ///
    /// # Errors
    /// When one fails, or is not answered alike.
    pub(super) fn new(port: u16, path: &'static str, closing: bool) -> Result<Self> {
        let mut target = Self {
            port,
            path,
            closing,
            answers: Vec::new(),
        };
        for number in 1..=THREADS * REQUESTS {
            let (first, second) = (target.once(number)?, target.once(number)?);
            ensure!(first.code == 200, "{number} is answered with {}", first.code);
            ensure!(first == second, "{number} is answered now {first:?}, now {second:?}");
            target.answers.push(first);
        }
        Ok(target)
    }

    fn once(&self, number: usize) -> Result<Answer> {
        let mut stream = connect(self.port, PATIENCE)?;
        let target = format!("{}?id={number}", self.path);
        let answer = ask(&mut stream, &target, "Connection: close\r\n");
        let answer = answer.with_context(|| format!("{target} before anything was attached"))?;
        // Whether the connection is kept is the load's wish.
        Ok(Answer { closes: true, ..answer })
    }

    /// Asks until `stop`.
    pub(super) fn load(&self, stop: &AtomicBool) -> Heard {
        let mut sum = Heard::default();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || self.one(n, stop))).collect();
            for heard in threads.into_iter().filter_map(|thread| thread.join().ok()) {
                sum.requests += heard.requests;
                sum.longest = sum.longest.max(heard.longest);
                sum.wrong += heard.wrong;
                sum.errors.extend(heard.errors);
            }
        });
        sum.errors.truncate(TOLD);
        sum
    }

    fn one(&self, thread: usize, stop: &AtomicBool) -> Heard {
        let mut heard = Heard::default();
        let mut kept = None;
        for place in (0..REQUESTS).cycle() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let number = thread * REQUESTS + place + 1;
            let begun = Instant::now();
            let result = self.exchange(number, &mut kept);
            let took = begun.elapsed();
            heard.requests += 1;
            heard.longest = heard.longest.max(took);
            let late = (took > PATIENCE).then(|| format!("{number} took {took:?}"));
            if let Some(error) = late.or(result.err().map(|error| format!("{error:#}"))) {
                kept = None;
                heard.wrong += 1;
                if heard.errors.len() < TOLD {
                    heard.errors.push(error);
                }
                // A server that is gone is not asked as fast as it refuses.
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        heard
    }

    /// One request, over the connection that was kept if there is one.
    fn exchange(&self, number: usize, kept: &mut Option<std::net::TcpStream>) -> Result<()> {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => connect(self.port, PATIENCE).context("failed to connect")?,
        };
        let headers = if self.closing { "Connection: close\r\n" } else { "" };
        let answer = ask(&mut stream, &format!("{}?id={number}", self.path), headers);
        let answer = answer.with_context(|| format!("{number} was not answered"))?;
        let want = self.answers.get(number - 1).context("every request has an answer")?;
        ensure!(
            (answer.code, &answer.body) == (want.code, &want.body),
            "{number} was answered {} {:?} instead of {} {:?}",
            answer.code,
            String::from_utf8_lossy(&answer.body),
            want.code,
            String::from_utf8_lossy(&want.body)
        );
        if !self.closing && !answer.closes {
            *kept = Some(stream);
        }
        Ok(())
    }
}

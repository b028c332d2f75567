//! Loads on a server on this machine, bounded in rate and time: wrk at full speed, and requests at a steady rate.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::row::{Row, median};
use crate::shell;

/// How hard to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As fast as the answers come, from this many connections.
    Full { connections: u32 },
    /// This many a second.
    Steady { requests_per_second: u32 },
}

/// What the load saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) requests_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// What loads saw in rounds without and with what is measured.
pub(super) fn compared(workload: &str, without: &[Seen], with: &[Seen]) -> Vec<Row> {
    let of = |all: &[Seen], figure: fn(&Seen) -> f64| median(all.iter().map(figure).collect());
    let both =
        |metric: &str, figure: fn(&Seen) -> f64| Row::both(workload, metric, of(without, figure), of(with, figure));
    vec![
        both("throughput", |seen| seen.requests_per_second),
        both("p50_us", |seen| seen.p50_us),
        both("p99_us", |seen| seen.p99_us),
    ]
}

/// Asks `GET path` of a port on 127.0.0.1 for a time.
pub(super) fn load(port: u16, path: &str, pace: Pace, time: Duration) -> Result<Seen> {
    match pace {
        Pace::Full { connections } => wrk(port, path, connections, time),
        Pace::Steady { requests_per_second } => steady(port, path, requests_per_second, time),
    }
}

fn wrk(port: u16, path: &str, connections: u32, time: Duration) -> Result<Seen> {
    let (connections, seconds) = (format!("-c{connections}"), format!("-d{}s", time.as_secs()));
    let url = format!("http://127.0.0.1:{port}{path}");
    let wrk = shell::command("wrk", &["-t1", &connections, &seconds, "--latency", &url]);
    let text = shell::quiet(wrk, time + Duration::from_secs(60))?;
    ensure!(!text.contains("Non-2xx"), "wrong answers: {text}");
    read_wrk(&text).with_context(|| format!("wrk said: {text}"))
}

/// Reads wrk's report.
fn read_wrk(text: &str) -> Option<Seen> {
    let after = |start: &str| {
        let mut lines = text.lines().map(str::trim);
        lines.find_map(|line| line.strip_prefix(start)).map(str::trim)
    };
    let requests = text.lines().find_map(|line| line.split_once(" requests in "))?.0;
    Some(Seen {
        requests: requests.trim().parse().ok()?,
        requests_per_second: after("Requests/sec:")?.parse().ok()?,
        p50_us: microseconds(after("50%")?)?,
        p99_us: microseconds(after("99%")?)?,
    })
}

/// `1.25ms` in microseconds.
fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    let (number, factor) = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    number.parse::<f64>().ok().map(|number| number * factor)
}

/// Connections, each with a thread that asks at its share of the rate.
const CONNECTIONS: u32 = 8;

/// Requests at a steady rate: each is due at its own time, and its latency counts from then, so that a server that stalls
/// is not asked less while it does.
fn steady(port: u16, path: &str, rate: u32, time: Duration) -> Result<Seen> {
    let period = Duration::from_secs(1) * CONNECTIONS / rate.max(1);
    let begun = Instant::now() + Duration::from_millis(50);
    let mut latencies = std::thread::scope(|scope| -> Result<Vec<u64>> {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|n| scope.spawn(move || asker(port, path, begun + period * n / CONNECTIONS, period, time)))
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().expect("an asker panicked")?);
        }
        Ok(all)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    latencies.sort_unstable();
    ensure!(!latencies.is_empty(), "no request was due");
    let requests = latencies.len() as u64;
    Ok(Seen {
        requests,
        requests_per_second: float(requests) / seconds,
        p50_us: float(quantile(&latencies, 50)) / 1e3,
        p99_us: float(quantile(&latencies, 99)) / 1e3,
    })
}

/// Nanoseconds from when each request was due to its answer.
fn asker(port: u16, path: &str, first: Instant, period: Duration, time: Duration) -> Result<Vec<u64>> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let (mut due, end) = (first, first + time);
    let mut latencies = Vec::new();
    while due < end {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        stream.write_all(request.as_bytes())?;
        answer(&mut answers)?;
        latencies.push(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
        due += period;
        // A server that cannot keep up must not make this go on for ever.
        if Instant::now() > end + time {
            break;
        }
    }
    Ok(latencies)
}

/// Reads an answer of 200 with a content length.
fn answer(from: &mut impl BufRead) -> Result<()> {
    let (mut line, mut first, mut length) = (String::new(), true, None);
    loop {
        line.clear();
        ensure!(from.read_line(&mut line)? > 0, "the server closed the connection");
        if first {
            ensure!(line.contains(" 200 "), "the server answered {line}");
            first = false;
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<u64>()?);
        }
    }
    let length = length.context("an answer without content-length")?;
    std::io::copy(&mut from.take(length), &mut std::io::sink())?;
    Ok(())
}

/// The value that this many percent of a sorted list do not exceed.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_wrks_report() {
        let report = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 2 connections\n  Latency Distribution\n     \
                      50%   87.00us\n     75%  100.00us\n     90%  110.00us\n     99%    1.25ms\n  \
                      24810 requests in 1.10s, 20.15MB read\nRequests/sec:  22554.18\nTransfer/sec:  18.32MB\n";
        let seen = Seen {
            requests: 24810,
            requests_per_second: 22554.18,
            p50_us: 87.0,
            p99_us: 1250.0,
        };
        assert_eq!(read_wrk(report), Some(seen));
        assert_eq!(read_wrk("connect failed"), None);
    }

    #[test]
    fn quantiles_of_a_list() {
        let list: Vec<u64> = (1..=200).collect();
        assert_eq!((quantile(&list, 50), quantile(&list, 99)), (100, 198));
        assert_eq!(quantile(&[7], 99), 7);
        assert_eq!(quantile(&[], 50), 0);
    }
}

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{Bounds, FILE, SqliteReader, SqliteStore};
use crate::discover::Process;
use crate::export::otlp::{resource, span};
use crate::export::sample::{Sample, service};
use crate::export::{Clock, Finished, Host};
use crate::span::{Policy, Value};
use crate::store::{Backend, Change, Incoming, Order, Page, Query, Reader, Setup, StoreError, Writer};
use crate::telemetry::Counters;

const SECOND: u64 = 1_000_000_000;
/// The time at which the tests' spans are.
const EPOCH: i64 = 1_700_000_000 * SECOND as i64;

fn incoming(spans: &[Finished]) -> Vec<(Resource, [u8; 16], opentelemetry_proto::tonic::trace::v1::Span)> {
    let clock = Clock::at(EPOCH);
    let one = |placed: &Finished| {
        let mut span = span(placed, &clock);
        span.trace_id = Vec::new();
        (resource(&placed.process, &Host::default()), placed.trace_id, span)
    };
    spans.iter().map(one).collect()
}

fn write(store: &mut SqliteStore, spans: &[Finished]) -> Result<(), StoreError> {
    let spans = incoming(spans);
    let spans: Vec<Incoming<'_>> = spans
        .iter()
        .map(|(resource, trace_id, span)| Incoming {
            resource,
            trace_id: *trace_id,
            span: span.clone(),
        })
        .collect();
    store.write(&spans, 0)
}

fn open(folder: &Path) -> SqliteStore {
    let mut store = SqliteStore::open(folder, Bounds::default()).expect("a store");
    store.begin("npm start", EPOCH as u64).expect("a run");
    store
}

fn page(limit: usize) -> Page {
    Page {
        limit,
        now_ns: EPOCH as u64 + 3600 * SECOND,
        ..Page::default()
    }
}

/// The last eight bytes of the ids of what is found.
fn found(reader: &SqliteReader, query: &str, page: &Page) -> Vec<u64> {
    let list = reader.traces(&Query::parse(query).expect(query), page).expect(query);
    list.traces.iter().map(|row| number(&row.trace_id)).collect()
}

fn number(id: &str) -> u64 {
    u64::from_str_radix(&id[16..], 16).expect("hex")
}

/// A trace: a request to `shop`, and its call to `stock` with a query.
fn shop_trace(id: u64, shop: &Arc<Process>, stock: &Arc<Process>, status: i64) -> Vec<Finished> {
    let at = id * 10;
    let root = Sample::server(id * 10, shop)
        .trace(id)
        .ms(at, at + id)
        .http("GET", &format!("/cart/{id}"), status);
    let root = if status >= 500 { root.error("it broke") } else { root };
    let query = Sample::client(id * 10 + 1, stock)
        .trace(id)
        .parent(id * 10)
        .ms(at, at + 1)
        .with("db.query.text", Value::Text("SELECT apples FROM Shelf".into()))
        .with("db.rows", Value::Int(id as i64))
        .done();
    vec![root.done(), query]
}

fn filled(folder: &Path) -> SqliteReader {
    let mut store = open(folder);
    let (shop, stock) = (service("shop"), service("stock"));
    for id in 1..=6 {
        let status = if id % 3 == 0 { 503 } else { 200 };
        write(&mut store, &shop_trace(id, &shop, &stock, status)).expect("written");
    }
    SqliteReader::open(folder).expect("a reader")
}

#[test]
fn questions() {
    let folder = tempfile::tempdir().expect("a folder");
    let reader = filled(folder.path());
    for (query, want) in [
        ("", &[6, 5, 4, 3, 2, 1][..]),
        ("service:shop", &[6, 5, 4, 3, 2, 1]),
        ("service:sh*", &[6, 5, 4, 3, 2, 1]),
        ("service:nobody", &[]),
        ("-service:stock", &[]),
        ("service:shop status:503", &[6, 3]),
        ("service:stock status:503", &[]),
        // One span has one service: both take part.
        ("service:shop service:stock", &[6, 5, 4, 3, 2, 1]),
        ("service:shop service:nobody", &[]),
        ("service:stock service:shop status:503", &[6, 3]),
        ("service:shop status:503 service:stock", &[6, 3]),
        ("service:shop service:stock status:503", &[]),
        ("kind:server kind:client service:stock", &[6, 5, 4, 3, 2, 1]),
        ("status:>=500 status:<600 service:shop", &[6, 3]),
        ("kind:server span.duration:>=2ms span.duration:<5ms", &[4, 3, 2]),
        ("status:>=500", &[6, 3]),
        ("-status:>=500", &[5, 4, 2, 1]),
        ("error:true", &[6, 3]),
        ("error:false", &[5, 4, 2, 1]),
        ("-error:true", &[5, 4, 2, 1]),
        ("kind:client service:shop", &[]),
        ("duration:>4ms", &[6, 5]),
        ("duration:<=2ms -error:true", &[2, 1]),
        ("duration:4ms", &[4]),
        ("kind:server span.duration:>=5ms", &[6, 5]),
        ("apples", &[6, 5, 4, 3, 2, 1]),
        ("\"apples from shelf\" broke", &[6, 3]),
        ("shel*", &[6, 5, 4, 3, 2, 1]),
        ("pears", &[]),
        ("-broke", &[5, 4, 2, 1]),
        ("path:/cart/2", &[2]),
        ("url.path:/cart/4", &[4]),
        ("url.path:/cart/*", &[6, 5, 4, 3, 2, 1]),
        ("-url.path:/cart/4 db.rows:>3", &[6, 5]),
        ("db.rows:<=2", &[2, 1]),
        ("spans:>2", &[]),
        ("run:1 spans:2", &[6, 5, 4, 3, 2, 1]),
        ("age:<1h", &[6, 5, 4, 3, 2, 1]),
        ("age:>1h", &[]),
        ("trace:0001020304050607000000000000000", &[6, 5, 4, 3, 2, 1]),
        ("trace:00010203040506070000000000000005", &[5]),
        ("name:GE*", &[6, 5, 4, 3, 2, 1]),
        ("\"%\" '; DROP TABLE trace; --", &[]),
    ] {
        assert_eq!(found(&reader, query, &page(100)), want, "{query}");
    }
    let by_duration = Page {
        order: Order::Duration,
        ..page(2)
    };
    assert_eq!(found(&reader, "error:false", &by_duration), [5, 4]);
}

#[test]
fn pages_follow_each_other_while_traces_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let reader = filled(folder.path());
    for query in ["", "db.rows:>0"] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = Page { after, ..page(4) };
            let list = reader
                .traces(&Query::parse(query).expect("a query"), &page)
                .expect("a list");
            all.extend(list.traces.iter().map(|row| number(&row.trace_id)));
            after = list.next;
            if after.is_none() {
                break;
            }
            assert_eq!(list.traces.len(), 4);
        }
        assert_eq!(all, [6, 5, 4, 3, 2, 1], "{query}");
    }
    let before = reader.change().expect("a change");
    let mut store = open(folder.path());
    let (shop, stock) = (service("shop"), service("stock"));
    let late = Sample::client(99, &stock).trace(2).parent(20).ms(20, 25).done();
    write(&mut store, &[late]).expect("written");
    write(&mut store, &shop_trace(7, &shop, &stock, 200)).expect("written");
    let after = reader.change().expect("a change");
    let since = |query: &str, from: Change| {
        let rows = reader.since(&Query::parse(query).expect("a query"), from, after, 100);
        let rows = rows.expect("rows");
        rows.iter()
            .map(|row| (number(&row.trace_id), row.spans))
            .collect::<Vec<_>>()
    };
    assert_eq!(since("", before), [(2, 3), (7, 2)]);
    assert_eq!(since("duration:>5ms", before), [(7, 2)]);
    assert_eq!(since("", after), []);
}

#[test]
fn a_trace_in_parts() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let (shop, stock) = (service("shop"), service("stock"));
    let mut spans = shop_trace(1, &shop, &stock, 503);
    // The child comes first, as it ends first.
    let child = spans.pop().expect("a child");
    write(&mut store, &[child]).expect("written");
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    let row = |reader: &SqliteReader| reader.traces(&Query::default(), &page(1)).expect("a list").traces[0].clone();
    assert_eq!((row(&reader).service, row(&reader).error), ("stock".to_owned(), false));
    write(&mut store, &spans).expect("written");
    let row = row(&reader);
    assert_eq!(
        (row.service.as_str(), row.title.as_str(), row.status.as_str(), row.error),
        ("shop", "GET /cart/1", "503", true)
    );
    assert_eq!((row.spans, row.errors, row.duration_ns), (2, 1, 1_000_000));
    assert_eq!(row.start_unix_ns, EPOCH as u64 + 10_000_000);

    let view = reader.trace(&row.trace_id).expect("an answer").expect("a trace");
    assert_eq!(view.row, row);
    let [root, child] = &view.span_list[..] else {
        panic!("{:?}", view.span_list);
    };
    assert_eq!(
        (root.kind, root.error.as_deref(), root.pid),
        ("server", Some("it broke"), Some(1))
    );
    assert_eq!(child.parent_id.as_ref(), Some(&root.span_id));
    assert_eq!(
        (child.service.as_str(), child.error.as_ref(), child.offset_ns),
        ("stock", None, 0)
    );
    assert_eq!(child.attributes["db.rows"], 1);
    for absent in ["", "0001", "xyz", "ffffffffffffffffffffffffffffffff", &"0".repeat(33)] {
        assert_eq!(reader.trace(absent).expect("an answer"), None, "{absent}");
    }
}

#[test]
fn summaries() {
    let folder = tempfile::tempdir().expect("a folder");
    let reader = filled(folder.path());
    let services = reader.services().expect("services");
    let services: Vec<_> = services
        .iter()
        .map(|it| (it.name.as_str(), it.requests, it.errors, it.spans))
        .collect();
    assert_eq!(services, [("shop", 6, 2, 6), ("stock", 0, 0, 6)]);
    let endpoints = reader.endpoints(None).expect("endpoints");
    assert_eq!(endpoints, reader.endpoints(Some(1)).expect("endpoints"));
    assert_eq!(reader.endpoints(Some(2)).expect("endpoints"), []);
    let shop = &endpoints[0];
    assert_eq!(
        (shop.service.as_str(), shop.kind, shop.name.as_str()),
        ("shop", "server", "GET")
    );
    let figures = &shop.figures;
    assert_eq!((figures.count, figures.errors, figures.sum_ns), (6, 2, 21_000_000));
    assert!((3_000_000..3_400_000).contains(&figures.p50_ns) && (6_000_000..6_800_000).contains(&figures.p99_ns));
    // All of them within less than a second.
    assert_eq!(figures.per_second, 6.0);
    assert_eq!(
        shop.bins.iter().map(|bin| (bin.count, bin.errors)).collect::<Vec<_>>(),
        [(6, 2)]
    );
    let errors = reader.errors().expect("errors");
    assert_eq!(
        (errors.len(), errors[0].count, errors[0].message.as_str()),
        (1, 2, "it broke")
    );
    assert_eq!((errors[0].status.as_str(), number(&errors[0].trace_id)), ("503", 6));
    let runs = reader.runs().expect("runs");
    assert_eq!(
        (runs.len(), runs[0].command.as_str(), runs[0].traces),
        (1, "npm start", 6)
    );
    assert_eq!(runs[0].end_unix_ns, None);
}

#[test]
fn the_oldest_go_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let bounds = Bounds {
        bytes: 3 << 20,
        age: Duration::from_secs(3600),
    };
    let mut store = SqliteStore::open(folder.path(), bounds).expect("a store");
    store.begin("", 0).expect("a run");
    let now_ns = EPOCH as u64 + SECOND;
    let (shop, mut gone, mut id) = (service("shop"), 0, 0_u64);
    while gone < 2_000 {
        let batch: Vec<Finished> = (0..300)
            .map(|_| {
                id += 1;
                // A name of its own each, and a text that does not compress.
                let noise: String = (0..40)
                    .map(|n| format!("{:x}", (id * 31 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
                    .collect();
                Sample::server(id, &shop)
                    .trace(id)
                    .at(id, id + 5)
                    .with("noise", Value::Text(noise.into()))
                    .done()
            })
            .collect();
        write(&mut store, &batch).expect("written");
        gone += store.trim(now_ns).expect("trimmed");
        assert!(id < 100_000, "nothing goes");
    }
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    let left = found(&reader, "", &page(1000));
    assert_eq!(left[0], id);
    let pages = std::fs::metadata(folder.path().join(FILE)).expect("a file").len();
    assert!(pages < 5 << 20, "{pages} bytes");
    // Age: everything is too old an hour later.
    while store.trim(now_ns + 3600 * SECOND).expect("trimmed") > 0 {}
    assert!(found(&reader, "", &page(10)).is_empty());
    assert_eq!(
        (
            reader.endpoints(None).expect("endpoints"),
            reader.services().expect("services")
        ),
        (vec![], vec![])
    );
    intact(folder.path());
}

#[test]
fn names_without_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let transaction =
        "INSERT INTO operation WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000)
        SELECT i, 'x', 2, i, '', 0, 0 FROM n";
    store.connection.execute(transaction, []).expect("many");
    let stock = service("stock");
    let spans = |id| [Sample::server(id, &stock).trace(id).http("PUT", "/", 200).done()];
    write(&mut store, &spans(1)).expect("written");
    write(&mut store, &spans(2)).expect("written");
    assert_eq!((store.unnamed(), store.unnamed()), (2, 0));
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    assert_eq!(
        found(&reader, "service:stock name:\"(other)\" status:200", &page(10)),
        [2, 1]
    );
}

#[test]
fn what_is_no_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let opened = |at: &Path| SqliteStore::open(at, Bounds::default()).map(drop);
    let read = |at: &Path| SqliteReader::open(at).map(drop);
    assert!(matches!(read(at), Err(StoreError::Absent(_))));
    std::fs::write(
        at.join(FILE),
        "no database, but long enough to be looked at: ".repeat(100),
    )
    .expect("a file");
    assert!(matches!(opened(at), Err(StoreError::Damaged(..))));
    assert!(matches!(read(at), Err(StoreError::Damaged(..))));
    std::fs::remove_file(at.join(FILE)).expect("removed");
    opened(at).expect("made anew");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(at.join(FILE)).expect("a file"));
    assert_eq!(mode & 0o777, 0o600);
    let later = SqliteStore::open(at, Bounds::default()).expect("a store");
    later.connection.pragma_update(None, "user_version", 99).expect("set");
    drop(later);
    assert!(matches!(opened(at), Err(StoreError::Newer { found: 99, .. })));
    assert!(matches!(read(at), Err(StoreError::Newer { found: 99, .. })));
    std::fs::remove_file(at.join(FILE)).expect("removed");
    std::os::unix::fs::symlink("/dev/null", at.join(FILE)).expect("a link");
    assert!(opened(at).is_err(), "a link was followed");
    let below = at.join(FILE).join("x");
    assert!(matches!(opened(&below), Err(StoreError::Open { .. })));
}

/// Every page, and that a trace's summary agrees with its spans. Gives its spans.
fn intact(folder: &Path) -> u64 {
    let store = SqliteStore::open(folder, Bounds::default()).expect("a store");
    let check: String = store
        .connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("a check");
    assert_eq!(check, "ok");
    let search = "INSERT INTO text(text) VALUES('integrity-check')";
    store
        .connection
        .execute(search, [])
        .expect("a full text index that is whole");
    let reader = SqliteReader::open(folder).expect("a reader");
    let mut statement = store
        .connection
        .prepare("SELECT hex(trace_id), spans FROM trace")
        .expect("a statement");
    let traces = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
    let mut spans = 0;
    for trace in traces.expect("traces") {
        let (id, count) = trace.expect("a row");
        let view = reader.trace(&id).expect("an answer").expect("a trace");
        assert_eq!(view.span_list.len() as i64, count, "{id}");
        assert!(
            view.span_list.iter().all(|span| span.service == "shop"),
            "a resource is missing"
        );
        spans += count as u64;
    }
    spans
}

/// Writes without end where a parent process asks for it.
#[test]
fn killed_writer() {
    let Ok(folder) = std::env::var("CLEW_TEST_KILLED_STORE") else {
        return;
    };
    let bounds = Bounds {
        bytes: 4 << 20,
        ..Bounds::default()
    };
    let mut store = SqliteStore::open(Path::new(&folder), bounds).expect("a store");
    store.begin("", 0).expect("a run");
    let shop = service("shop");
    let begun = Instant::now();
    let mut id = u64::from(std::process::id()) << 32;
    while begun.elapsed() < Duration::from_secs(60) {
        let spans: Vec<Finished> = (0..200)
            .map(|_| {
                id += 1;
                let span = Sample::server(id, &shop).trace(id / 3).at(id, id + 1);
                span.with(
                    "n",
                    Value::Text(format!("{id:x} {:x}", id.wrapping_mul(0x9e37_79b9)).into()),
                )
                .done()
            })
            .collect();
        write(&mut store, &spans).expect("written");
        store.trim(EPOCH as u64 + SECOND).expect("trimmed");
        println!("wrote");
    }
}

/// The long form: `cargo xtask proof store`.
#[test]
fn survives_being_killed() {
    use std::io::{BufRead as _, BufReader};
    let kills = std::env::var("CLEW_TEST_KILLS").map_or(3, |text| text.parse::<u64>().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut held = 0;
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "store::sqlite::tests::killed_writer", "--nocapture"])
            .env("CLEW_TEST_KILLED_STORE", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // At another moment each time, in the midst of writing, trimming or moving the log.
        for _ in 0..=kill % 7 {
            let wrote = lines.by_ref().any(|line| line.is_ok_and(|line| line == "wrote"));
            assert!(wrote, "the writer ended by itself");
        }
        std::thread::sleep(Duration::from_micros(kill * 7919 % 20_000));
        child.kill().expect("killed");
        child.wait().expect("over");
        held = intact(folder.path());
        assert!(held > 0, "nothing was kept");
    }
    println!("{kills} kills, {held} spans at the end, all whole");
}

#[test]
fn the_writer_brings_home_what_it_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_owned();
    let counters = Counters::new();
    let setup = Setup {
        command: "it".to_owned(),
        host: Host::default(),
        clock: Clock::now(),
        counters: counters.clone(),
        warn: Arc::new(|line| panic!("{line}")),
        policy: Policy::default(),
    };
    let writer = Writer::start(setup, move || SqliteStore::open(&at, Bounds::default())).expect("a writer");
    let shop = service("shop");
    let now_ns = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    let now_ns = now_ns.tv_sec() as u64 * SECOND;
    for id in 1..=5_000 {
        writer.push(Sample::server(id, &shop).trace(id).at(now_ns, now_ns + 1).done());
    }
    close(writer);
    assert_eq!(counters.value("store.spans"), 5_000);
    assert_eq!(intact(folder.path()), 5_000);
    let runs = SqliteReader::open(folder.path())
        .expect("a reader")
        .runs()
        .expect("runs");
    assert_eq!((runs[0].command.as_str(), runs[0].traces), ("it", 5_000));
    assert!(runs[0].end_unix_ns.is_some());
}

fn close(writer: Writer) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    assert_eq!(
        runtime.block_on(writer.close(Duration::from_secs(60), std::future::pending())),
        0
    );
}

/// A small file system in memory that only this thread and those it starts see. None without the right to make one.
fn small_disk(folder: &Path, size: &str) -> Option<()> {
    use nix::mount::{MsFlags, mount};
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).ok()?;
    mount::<str, str, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None).ok()?;
    mount::<str, Path, str, str>(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), Some(size)).ok()
}

#[test]
fn a_full_disk_takes_the_oldest() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_owned();
    let test = std::thread::spawn(move || {
        if small_disk(&at, "size=32m").is_none() {
            println!("skipped: no right to mount a small disk");
            return;
        }
        let counters = Counters::new();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let setup = Setup {
            command: String::new(),
            host: Host::default(),
            clock: Clock::at(EPOCH),
            counters: counters.clone(),
            warn: Arc::new(move |line| heard.lock().expect("no panic").push(line.to_owned())),
            policy: Policy::default(),
        };
        let store = at.join("store");
        let bounds = Bounds {
            bytes: 1 << 30,
            age: Duration::from_secs(u64::from(u32::MAX)),
        };
        let opened = store.clone();
        let writer = Writer::start(setup, move || SqliteStore::open(&opened, bounds)).expect("a writer");
        let shop = service("shop");
        let mut id = 0_u64;
        let mut push = |count: u64| {
            for _ in 0..count {
                id += 1;
                let noise: String = (0..60)
                    .map(|n| format!("{:x}", (id * 61 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
                    .collect();
                while !writer.has_room() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                writer.push(
                    Sample::server(id, &shop)
                        .trace(id)
                        .at(id, id + 1)
                        .with("noise", Value::Text(noise.into()))
                        .done(),
                );
            }
        };
        // The disk fills by what is written, and then at once by somebody else.
        push(9_000);
        while counters.value("store.spans") + counters.value("store.failed") < 9_000 {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(counters.value("store.failed"), 0, "{:?}", said.lock());
        assert!(counters.value("store.traces_expired") > 0);
        let mut hog = std::fs::File::create(at.join("hog")).expect("a file");
        while std::io::Write::write_all(&mut hog, &[1; 4096]).is_ok() {}
        push(9_000);
        close(writer);
        let lost = counters.value("store.failed");
        println!(
            "{lost} of 9000 spans lost while the disk was full; said {:?}",
            said.lock()
        );
        assert_eq!(counters.value("store.spans") + lost, 18_000);
        assert!(lost < 4_500, "{lost}");
        // It is said, once each time it begins.
        let full = said.lock().expect("no panic");
        assert!(
            full.iter().any(|line| line.contains("the disk of the store is full")),
            "{full:?}"
        );
        drop(full);
        let reader = SqliteReader::open(&store).expect("a reader");
        assert_eq!(found(&reader, "", &page(1)), [18_000]);
        drop(reader);
        std::fs::remove_file(at.join("hog")).expect("removed");
        intact(&store);
    });
    test.join().expect("no panic");
}

mod flight;
mod import;
mod sums;

//! Answers about many traces at once.
use super::*;
use crate::store::{Facet, Figures, NodeKind};

fn query(text: &str) -> Query {
    Query::parse(text).expect(text)
}

fn values(facet: &Facet) -> Vec<(&str, u64)> {
    facet.values.iter().map(|it| (it.value.as_str(), it.traces)).collect()
}

#[test]
fn values_with_counts_and_points() {
    let folder = tempfile::tempdir().expect("a folder");
    let reader = filled(folder.path());
    for (text, services, statuses, errors) in [
        (
            "",
            &[("shop", 6), ("stock", 6)][..],
            &[("200", 4), ("503", 2)][..],
            &[("false", 4), ("true", 2)][..],
        ),
        (
            "error:true",
            &[("shop", 2), ("stock", 2)],
            &[("503", 2)],
            &[("true", 2)],
        ),
        (
            "db.rows:>5",
            &[("shop", 1), ("stock", 1)],
            &[("503", 1)],
            &[("true", 1)],
        ),
        ("service:nobody", &[], &[], &[]),
    ] {
        let facets = reader.facets(&query(text), 0).expect(text);
        let of = |field| facets.fields.iter().find(|it| it.field == field).map(values);
        assert_eq!(of("service"), Some(services.to_vec()), "{text}");
        assert_eq!(of("status"), Some(statuses.to_vec()), "{text}");
        assert_eq!(of("error"), Some(errors.to_vec()), "{text}");
        // What is offered finds as many as it says.
        for facet in &facets.fields {
            for (value, traces) in values(facet) {
                let more = format!("{text} {}:\"{value}\"", facet.field);
                assert_eq!(found(&reader, &more, &page(100)).len() as u64, traces, "{more}");
            }
        }
        let points = reader.points(&query(text), 0, 100).expect(text);
        assert_eq!(
            (points.points.len() as u64, points.cut),
            (facets.traces, facets.cut),
            "{text}"
        );
    }
    let points = reader.points(&query(""), 0, 2).expect("points");
    assert!(points.cut);
    let times: Vec<_> = points.points.iter().map(|it| (it.duration_ns, it.error)).collect();
    assert_eq!(times, [(6_000_000, true), (5_000_000, false)]);
}

#[test]
fn lists_by_any_column() {
    let folder = tempfile::tempdir().expect("a folder");
    let reader = filled(folder.path());
    for (order, ascending, want) in [
        (Order::Start, true, [1, 2, 3, 4, 5, 6]),
        (Order::Status, false, [6, 3, 5, 4, 2, 1]),
        (Order::Status, true, [1, 2, 4, 5, 3, 6]),
        (Order::Title, false, [6, 5, 4, 3, 2, 1]),
        (Order::Service, true, [1, 2, 3, 4, 5, 6]),
        (Order::Errors, false, [6, 3, 5, 4, 2, 1]),
    ] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = Page {
                order,
                ascending,
                after,
                ..page(2)
            };
            let list = reader.traces(&query(""), &page).expect("a list");
            all.extend(list.traces.iter().map(|row| number(&row.trace_id)));
            after = list.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, want, "{order:?} {ascending}");
    }
    // The third began 30 ms after the tests' epoch.
    let at = EPOCH as u64 + 30_000_000;
    assert_eq!(found(&reader, &format!("start:>{at}"), &page(100)), [6, 5, 4]);
    assert_eq!(found(&reader, "start:<2023-11-14T22:13:20.03Z", &page(100)), [2, 1]);
}

#[test]
fn who_calls_whom() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let (shop, stock) = (service("shop"), service("stock"));
    let text = |text: &'static str| Value::Text(text.into());
    let one = [
        Sample::server(1, &shop).ms(0, 10).http("GET", "/", 200).done(),
        Sample::client(2, &shop).parent(1).ms(1, 5).http("GET", "/", 500).done(),
        Sample::server(3, &stock)
            .parent(2)
            .remote()
            .ms(2, 4)
            .http("GET", "/", 500)
            .error("")
            .done(),
        Sample::client(4, &stock)
            .parent(3)
            .ms(2, 3)
            .with("db.system.name", text("postgresql"))
            .with("db.namespace", text("goods"))
            .done(),
        Sample::client(5, &stock)
            .parent(3)
            .ms(3, 4)
            .with("server.address", text("api.example"))
            .with("server.port", Value::Int(443))
            .done(),
        Sample::producer(6, &shop)
            .parent(1)
            .ms(6, 7)
            .with("messaging.system", text("kafka"))
            .with("messaging.destination.name", text("orders"))
            .done(),
        Sample::consumer(7, &stock)
            .parent(6)
            .ms(8, 9)
            .with("messaging.system", text("kafka"))
            .with("messaging.destination.name", text("orders"))
            .done(),
    ];
    // The other end of the call comes later than the rest.
    write(&mut store, &one[..2]).expect("written");
    write(&mut store, &one[2..]).expect("written");
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    let map = reader.map(&query(""), 0).expect("a map");
    assert_eq!((map.traces, map.cut), (1, false));
    let edges: Vec<_> = map
        .edges
        .iter()
        .map(|edge| {
            (
                edge.from.as_str(),
                edge.to.as_str(),
                edge.figures.count,
                edge.figures.errors,
            )
        })
        .collect();
    let mut sorted = edges.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            ("caller", "service shop", 1, 0),
            ("queue kafka orders", "service stock", 1, 0),
            ("service shop", "queue kafka orders", 1, 0),
            ("service shop", "service stock", 1, 1),
            ("service stock", "database postgresql goods", 1, 0),
            ("service stock", "host api.example:443", 1, 0),
        ]
    );
    let call = map
        .edges
        .iter()
        .find(|edge| edge.to == "service stock" && edge.from == "service shop");
    let p50 = call.map_or(0, |edge| edge.figures.p50_ns);
    assert!((2_000_000..2_300_000).contains(&p50), "{p50}");
    let kinds: Vec<_> = map.nodes.iter().map(|node| (node.kind, node.name.as_str())).collect();
    assert_eq!(kinds.len(), 6);
    assert!(kinds.contains(&(NodeKind::Database, "goods")) && kinds.contains(&(NodeKind::Caller, "")));
    assert_eq!(reader.map(&query("service:nobody"), 0).expect("a map").nodes, []);
}

#[test]
fn two_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (shop, stock) = (service("shop"), service("stock"));
    let mut store = open(folder.path());
    write(&mut store, &shop_trace(1, &shop, &stock, 200)).expect("written");
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    assert_eq!(reader.compare(None, None).expect("an answer"), None);
    // A run without traces is passed over.
    drop(open(folder.path()));
    let mut store = open(folder.path());
    write(&mut store, &shop_trace(9, &shop, &stock, 200)).expect("written");
    let new = Sample::client(990, &shop).trace(9).parent(90).ms(90, 91).done();
    write(&mut store, &[new]).expect("written");
    let compared = reader.compare(None, None).expect("an answer").expect("two runs");
    assert_eq!((compared.base.id, compared.run.id), (1, 3));
    let mean = |figures: Option<Figures>| figures.map(|it| it.sum_ns / it.count);
    let rows: Vec<_> = compared
        .rows
        .iter()
        .map(|row| (row.service.as_str(), row.kind, mean(row.base), mean(row.run)))
        .collect();
    assert_eq!(
        rows,
        [
            ("shop", "server", Some(1_000_000), Some(9_000_000)),
            ("shop", "client", None, Some(1_000_000)),
            ("stock", "client", Some(1_000_000), Some(1_000_000)),
        ]
    );
    let turned = reader.compare(Some(3), Some(1)).expect("an answer").expect("two runs");
    assert_eq!(
        (turned.rows[0].base, turned.rows[0].run),
        (compared.rows[0].run, compared.rows[0].base)
    );
    assert_eq!(reader.compare(Some(1), Some(7)).expect("an answer"), None);
}

#[test]
fn requests_by_test_case() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let shop = service("shop");
    let of = |id: u64, name: &str, failed| {
        let sample = Sample::server(id, &shop).trace(id).at(id * 10, id * 10 + id);
        let sample = if failed { sample.error("no stock") } else { sample };
        match name {
            "" => sample.done(),
            name => sample.with("test.case.name", Value::Text(name.into())).done(),
        }
    };
    let spans = [
        of(1, "cart empties", false),
        of(2, "cart empties", true),
        of(3, "", false),
        of(4, "100% sure", false),
    ];
    write(&mut store, &spans).expect("written");
    // A span that names none, and comes later, changes nothing.
    write(&mut store, &[Sample::server(5, &shop).trace(1).at(12, 13).done()]).expect("written");
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    let tests = reader.tests(None).expect("tests");
    let told: Vec<_> = tests
        .iter()
        .map(|it| (it.name.as_str(), it.traces, it.failed, it.sum_ns, it.most_ns))
        .collect();
    assert_eq!(told, [("100% sure", 1, 0, 4, 4), ("cart empties", 2, 1, 5, 3)]);
    assert_eq!(reader.tests(Some(7)).expect("tests"), []);
    for (text, want) in [
        ("test:\"cart empties\"", &[2, 1][..]),
        ("test:cart*", &[2, 1]),
        ("test:\"100% sure\"", &[4]),
        ("test:%", &[]),
        ("-test:* ", &[]),
        ("-test:cart*", &[4, 3]),
    ] {
        assert_eq!(found(&reader, text, &page(10)), want, "{text}");
    }
}

#[test]
fn traces_during_which_events_were_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let shop = service("shop");
    let at = |id: u64, start, end| Sample::server(id, &shop).trace(id).at(start, end).done();
    write(&mut store, &[at(1, 100, 200), at(2, 300, 400), at(3, 900, 1000)]).expect("written");
    let unix = |ns: u64| EPOCH as u64 + ns;
    for (from, to, events) in [(150, 250, 1), (240, 310, 2), (500, 600, 4)] {
        store.lost(unix(from), unix(to), events).expect("noted");
    }
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    for (id, want) in [(1, 3), (2, 3), (3, 0)] {
        let id = format!("{}{id:016x}", "0001020304050607");
        let trace = reader.trace(&id).expect("an answer").expect("a trace");
        let packed = reader.packed(&id).expect("an answer").expect("a trace");
        assert_eq!((trace.lost_events, packed.lost_events), (want, want), "{id}");
    }
}

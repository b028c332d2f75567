//! Requests that have no end, and those whose process ended.
use super::*;
use crate::span::OUTCOME;
use crate::store::InFlight;
use crate::store::sqlite::schema;

fn request(id: u64, at_ns: u64) -> InFlight {
    InFlight {
        span_id: format!("{id:016x}"),
        service: "shop".to_owned(),
        kind: "server",
        title: format!("GET /{id}"),
        pid: 7,
        start_unix_ns: at_ns,
        run: 1,
        lost: false,
    }
}

#[test]
fn requests_in_flight_and_what_is_left_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    let now = EPOCH as u64;
    let shown = |now_ns| reader.in_flight(now_ns).expect("an answer");
    assert_eq!(shown(now), []);
    let two = [request(1, now - SECOND), request(2, now - 2 * SECOND)];
    store.in_flight(&two, now).expect("written");
    assert_eq!(shown(now + SECOND), [two[1].clone(), two[0].clone()]);
    store.in_flight(&two[..1], now + SECOND).expect("written");
    assert_eq!(shown(now + SECOND), two[..1]);
    // Whoever said so was killed.
    let mut lost = two[0].clone();
    lost.lost = true;
    assert_eq!(shown(now + 3600 * SECOND), [lost]);
    store.end(now + SECOND).expect("ended");
    assert_eq!(shown(now + SECOND), []);
}

#[test]
fn traces_whose_process_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = open(folder.path());
    let shop = service("shop");
    let died = |id: u64, outcome: &'static str| {
        let span = Sample::server(id, &shop).trace(id).ms(id, id + 1).http("GET", "/", 0);
        span.with(OUTCOME, Value::fixed(outcome)).error("process exited").done()
    };
    write(&mut store, &[died(1, "process_exited"), died(2, "aborted")]).expect("written");
    // What comes later does not bring it back.
    let late = Sample::client(10, &shop).trace(1).parent(1).ms(1, 2).done();
    write(&mut store, &[late]).expect("written");
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    for (query, want) in [
        ("died:true", &[1][..]),
        ("-died:true", &[2]),
        ("died:no", &[2]),
        ("error:true", &[2, 1]),
    ] {
        assert_eq!(found(&reader, query, &page(10)), want, "{query}");
    }
    let list = reader.traces(&Query::default(), &page(10)).expect("a list");
    assert_eq!(
        list.traces.iter().map(|row| row.died).collect::<Vec<_>>(),
        [false, true]
    );
}

/// A store of the first schema, as a Clew before this one left it.
#[test]
fn an_older_store_is_brought_up_to_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut connection = rusqlite::Connection::open(folder.path().join(FILE)).expect("a file");
    schema::up_to(&mut connection, 1).expect("the first schema");
    connection
        .execute_batch(
            "INSERT INTO run VALUES(1, 'old', 1, NULL);
             INSERT INTO operation VALUES(1, 'shop', 2, 'GET', '200', 0, 0);
             INSERT INTO trace VALUES(1, x'000102030405060700000000000000ff', 1, 5, 9, 0, 0, 0, 5, 1, 'GET /old');",
        )
        .expect("rows");
    drop(connection);
    let reader = SqliteReader::open(folder.path()).expect("a reader");
    assert_eq!(found(&reader, "died:false", &page(10)), [255]);
    let mut store = open(folder.path());
    write(&mut store, &shop_trace(1, &service("shop"), &service("stock"), 200)).expect("written");
    assert_eq!(found(&reader, "died:false", &page(10)), [1, 255]);
}

//! axum and sqlx's pool of connections to PostgreSQL: sqlx-server PORT DSN.
//!
//! GET /front?id=N asks in a transaction, twice at once, one of them in a task of its own, and once more; every statement has id=N in
//! it. The pool has fewer connections than there are requests.
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};

/// A request's number.
#[derive(serde::Deserialize)]
struct Number {
    id: u64,
}

/// libpq's words as sqlx has them.
fn options(dsn: &str) -> PgConnectOptions {
    let mut options = PgConnectOptions::new().ssl_mode(PgSslMode::Disable);
    for (name, value) in dsn.split(' ').filter_map(|word| word.split_once('=')) {
        options = match name {
            "host" => options.host(value),
            "port" => options.port(value.parse().expect("a port")),
            "user" => options.username(value),
            "dbname" => options.database(value),
            _ => options,
        };
    }
    options
}

async fn nap() {
    tokio::time::sleep(Duration::from_micros(rand::random_range(0..4000))).await;
}

async fn change(pool: &PgPool, name: &str) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO items (name) VALUES ($1)")
        .bind(name)
        .execute(&mut *transaction)
        .await?;
    nap().await;
    let found: Vec<String> = sqlx::query_scalar("SELECT name FROM items WHERE name = $1")
        .bind(name)
        .fetch_all(&mut *transaction)
        .await?;
    assert_eq!(found, [name]);
    sqlx::query("UPDATE items SET name = name WHERE name = $1")
        .bind(name)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

async fn ids(pool: PgPool, statement: &'static str, name: String) -> sqlx::Result<Vec<i32>> {
    sqlx::query_scalar(statement).bind(name).fetch_all(&pool).await
}

async fn work(pool: &PgPool, id: u64) -> sqlx::Result<()> {
    let name = format!("id={id}");
    nap().await;
    change(pool, &name).await?;
    let spawned = tokio::spawn(ids(pool.clone(), "SELECT id FROM parts WHERE name = $1", name.clone()));
    ids(pool.clone(), "SELECT id FROM orders WHERE name = $1", name.clone()).await?;
    spawned.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
    nap().await;
    sqlx::query("DELETE FROM items WHERE name = $1")
        .bind(&name)
        .execute(pool)
        .await?;
    Ok(())
}

async fn front(State(pool): State<PgPool>, Query(Number { id }): Query<Number>) -> Result<String, StatusCode> {
    match work(&pool, id).await {
        Ok(()) => Ok(format!("stores {id}\n")),
        Err(_) => Err(StatusCode::BAD_GATEWAY),
    }
}

#[tokio::main(worker_threads = 4)]
async fn main() {
    let mut words = std::env::args().skip(1);
    let (port, dsn) = (words.next().expect("a port"), words.next().expect("a database"));
    let pool = PgPoolOptions::new()
        .min_connections(6)
        .max_connections(6)
        .acquire_timeout(Duration::from_secs(60))
        .connect_with(options(&dsn))
        .await
        .expect("a database");
    for statement in [
        "CREATE TABLE IF NOT EXISTS orders (id serial, name text)",
        "CREATE TABLE IF NOT EXISTS parts (id serial, name text)",
    ] {
        sqlx::query(statement).execute(&pool).await.expect("a table");
    }
    let app = Router::new().route("/front", get(front)).with_state(pool);
    let address = format!("127.0.0.1:{port}");
    let listener = tokio::net::TcpListener::bind(address).await.expect("listen");
    axum::serve(listener, app).await.expect("serve");
}

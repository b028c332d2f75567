//! End-to-end tests of Clew: the harness.
//!
//! A test makes a [`Lab`], starts real programs in it, traces them with the `clew` binary and judges the spans that came
//! out of `--otlp-file`. What is tested is what a user runs: only [`fill`], which makes traces up, and [`passed`], which looks at bytes
//! before anything is made of them, are the agent's own code.
//!
//! The tests want root and run one at a time (`--test-threads=1`). `CLEW_BIN` names the binary (else the one built next to
//! the tests), `CLEW_TEST_VENV` the Python environment of `tests/requirements.txt` (else `target/venv`).
mod cassandra;
mod certificate;
mod clew;
mod dubbo;
mod envoy;
mod ferretdb;
#[cfg(feature = "agent")]
mod filled;
mod host;
mod http;
mod kafka;
mod lab;
mod log;
mod mariadb;
mod nginx;
mod opensearch;
mod outcome;
mod pair;
#[cfg(feature = "agent")]
mod passed;
mod php;
mod plan;
mod postgresql;
mod probed;
mod process;
mod rabbitmq;
mod redis;
mod span;
mod wait;

pub use cassandra::Cassandra;
pub use certificate::Certificate;
pub use clew::{Clew, ClewRun};
pub use envoy::{envoy, envoy_tls};
pub use ferretdb::ferretdb;
#[cfg(feature = "agent")]
pub use filled::{LARGE_TRACE, RICH_TRACE, SCRIPT, SCRIPT_TRACE, fill, pour};
pub use host::{Host, has_tracepoint};
pub use http::{Answer, ask, connect, get};
pub use lab::{Lab, Symbols};
pub use log::Log;
pub use mariadb::mariadb;
pub use nginx::{nginx, nginx_tls};
pub use opensearch::OpenSearch;
pub use outcome::Outcome;
#[cfg(feature = "agent")]
pub use passed::{Passed, passed};
pub use php::{PhpFpm, php_fpm};
pub use plan::{Load, Plan, Service};
pub use postgresql::{Postgresql, postgresql, postgresql_tls};
pub use process::{Proc, heed_signals, without_own};
pub use redis::{redis, redis_tls};
pub use span::{Kind, Span, Spans};
pub use wait::{DEADLINE, free_port, until};

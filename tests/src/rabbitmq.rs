//! RabbitMQ as the tests use it.
use crate::lab::Lab;
use crate::plan::Plan;
use crate::wait::free_port;

/// What Debian's `rabbitmq-server` runs when it has become another user.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

impl Plan {
    /// Adds RabbitMQ on `port`, and the port mapper its runtime would leave behind.
    #[must_use]
    pub fn rabbitmq(self, lab: &Lab, port: u16) -> Self {
        let mapper = free_port().to_string();
        let folder = |name: &str| lab.dir().join("rabbitmq").join(name).display().to_string();
        let plan = self.service(mapper.parse().expect("a port"), &["epmd", "-port", &mapper]);
        let (port_text, name) = (port.to_string(), format!("test{port}@localhost"));
        plan.service(port, &[SERVER])
            .env("HOME", &lab.dir().display().to_string())
            .env("ERL_EPMD_PORT", &mapper)
            .env("RABBITMQ_NODENAME", &name)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", &port_text)
            .env("RABBITMQ_DIST_PORT", &free_port().to_string())
            .env("RABBITMQ_MNESIA_BASE", &folder("data"))
            .env("RABBITMQ_LOG_BASE", &folder("log"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", &folder("plugins"))
            .env("RABBITMQ_PID_FILE", &folder("pid"))
    }
}

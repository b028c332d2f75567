//! Messages through real brokers: who sent what a program got, and what it did with it.
use clew_tests::{Clew, Kind, Lab, Outcome, Plan, Span, free_port, redis};

const DRIVE: &str = env!("CARGO_BIN_EXE_clew-drive");

/// The only span of this kind for which `is` holds.
#[track_caller]
fn one<'a>(out: &'a Outcome, kind: Kind, what: &str, is: impl Fn(&Span) -> bool) -> &'a Span {
    let found = out.spans.filter(|span| span.kind == kind && is(span));
    match found.as_slice() {
        [one] => one,
        found => out.fail(&format!("{} spans of {kind:?}: {what}", found.len())),
    }
}

#[test]
fn rabbitmq() {
    rabbitmq_by("amqp");
}

/// pika waits with epoll for its one connection and what wakes it.
#[test]
fn rabbitmq_by_pika() {
    rabbitmq_by("pika");
}

/// RabbitMQ: requests publish, a worker takes one message after the other, asks for each, and settles it.
fn rabbitmq_by(client: &str) {
    const ORDERS: u64 = 30;
    let Some(lab) = Lab::new(&format!("rabbitmq_by_{client}")) else {
        return;
    };
    let [broker, front, worker] = [free_port(), free_port(), free_port()];
    let (app, takes) = (
        Lab::workload("python/amqp_app.py"),
        Lab::workload("python/amqp_worker.py"),
    );
    let ports = [broker, front, worker].map(|port| port.to_string());
    let [broker_port, front_port, worker_port] = ports.each_ref().map(String::as_str);
    let python = Lab::python("python");
    let plan = Plan::default()
        .rabbitmq(&lab, broker)
        .service(front, &[&python, &app, front_port, broker_port, client])
        .service(worker, &[&python, &takes, worker_port, broker_port, front_port, client])
        .rested()
        .load(front, "/order", ORDERS, 3)
        .load(worker, "/done", ORDERS, 1);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    for number in 1..=ORDERS {
        let id = number.to_string();
        let of_order = |span: &Span| span.text("messaging.message.conversation_id") == id;
        let order = one(&out, Kind::Server, "an order", |span| {
            span.path() == "/order" && span.number() == Some(number)
        });
        let producer = one(&out, Kind::Producer, "an order", of_order);
        let consumer = one(&out, Kind::Consumer, "an order", of_order);
        out.check_eq(producer.name.as_str(), "publish shop:orders", "the producer's name");
        out.check_eq(consumer.name.as_str(), "deliver shop:orders", "the consumer's name");
        out.check_span(
            producer,
            &[
                ("messaging.system", "rabbitmq"),
                ("messaging.operation.name", "publish"),
                ("messaging.operation.type", "send"),
                ("messaging.destination.name", "shop:orders"),
                ("messaging.rabbitmq.destination.routing_key", "orders"),
                ("messaging.message.body.size", "100"),
                ("clew.messaging.settled", "accepted"),
                ("server.port", broker_port),
            ],
        );
        let refused = number % 5 == 0;
        out.check_span(
            consumer,
            &[
                ("messaging.operation.type", "process"),
                ("server.port", broker_port),
                ("clew.messaging.settled", if refused { "rejected" } else { "accepted" }),
                ("error.type", if refused { "rejected" } else { "" }),
            ],
        );
        let link = (producer.trace.clone(), producer.id.clone());
        let told = (format!("{number:032x}"), format!("{number:016x}"));
        match number % 3 {
            // It has an id of its own.
            0 => {
                out.check_eq(&producer.parent, &Some(order.id.clone()), "the producer's parent");
                out.check_eq(&producer.trace, &order.trace, "the producer's trace");
                out.check_eq(&consumer.links, &vec![link], "the consumer's links");
            }
            // It names a span of the program's own.
            1 => {
                out.check_eq(&producer.parent, &Some(told.1.clone()), "the producer's parent");
                out.check_eq(&producer.trace, &told.0, "the producer's trace");
                out.check_eq(&consumer.links, &vec![told, link], "the consumer's links");
            }
            // Nobody can tell it from others.
            _ => {
                out.check_eq(&producer.parent, &Some(order.id.clone()), "the producer's parent");
                out.check_eq(&consumer.links, &Vec::new(), "the consumer's links");
            }
        }
        // The broker hands it on.
        let taken = one(&out, Kind::Server, "what the broker takes", of_order);
        let handed = one(&out, Kind::Client, "what the broker hands over", of_order);
        out.check_eq(&taken.parent, &Some(producer.id.clone()), "what the broker takes");
        out.check_eq(&consumer.parent, &Some(handed.id.clone()), "who handed it over");
        let known = (number % 3 != 2).then(|| producer.id.clone());
        out.check_eq(&handed.parent, &known, "whose message it is");
        out.check_eq(consumer.trace == producer.trace, number % 3 != 2, "one trace");
        // What the worker asks belongs to the message.
        let stock = one(&out, Kind::Client, "what the worker asks", |span| {
            span.path() == "/stock" && span.number() == Some(number)
        });
        out.check_eq(&stock.parent, &Some(consumer.id.clone()), "what the worker asks for it");
        out.check(consumer.end >= stock.end, "it is settled when the worker has asked");
    }
    out.check_eq(out.counter("protocol.amqp.invalid"), 0, "protocol.amqp.invalid");
}

/// One task at a time, in the process that reads it.
#[test]
fn celery() {
    celery_by(RABBITMQ, "solo", "LATE", true);
}

/// Processes that a worker hands tasks to by pipes.
#[test]
fn celery_with_processes() {
    celery_by(RABBITMQ, "prefork", "EARLY", true);
}

#[test]
fn celery_with_processes_that_acknowledge_late() {
    celery_by(RABBITMQ, "prefork", "LATE", true);
}

#[test]
fn celery_with_threads() {
    celery_by(RABBITMQ, "threads", "EARLY", false);
}

#[test]
fn celery_on_redis() {
    celery_by(REDIS, "prefork", "EARLY", true);
}

#[test]
fn celery_on_redis_that_acknowledges_late() {
    celery_by(REDIS, "prefork", "LATE", true);
}

#[test]
fn celery_on_redis_one_at_a_time() {
    celery_by(REDIS, "solo", "LATE", false);
}

#[test]
fn celery_on_redis_with_threads() {
    celery_by(REDIS, "threads", "EARLY", false);
}

/// What messages are told of, `messaging.system`.
const RABBITMQ: &str = "rabbitmq";
const REDIS: &str = "redis";

/// Celery: what a worker gets is below the request that queued it, by the message alone. The worker's loop reads messages for
/// whoever does the tasks, so what they ask is nobody's that is known unless it is `told`, and never another task's.
fn celery_by(system: &str, pool: &str, acknowledges: &str, told: bool) {
    let Some(lab) = Lab::new(&format!("celery_{system}_{pool}_{}", acknowledges.to_lowercase())) else {
        return;
    };
    let [broker, front, worker] = [free_port(), free_port(), free_port()];
    // One after the other they take long.
    let orders = if pool == "solo" { 24 } else { 120 };
    let app = Lab::workload("python/celery_app.py");
    let (plan, url) = if system == REDIS {
        let argv = redis(&lab, broker);
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        (
            Plan::default().service(broker, &words),
            format!("redis://127.0.0.1:{broker}/1"),
        )
    } else {
        let plan = Plan::default().rabbitmq(&lab, broker);
        (plan, format!("amqp://guest:guest@127.0.0.1:{broker}//"))
    };
    let [front_port, worker_port] = [front, worker].map(|port| port.to_string());
    let python = Lab::python("python");
    let plan = plan
        .service(front, &[&python, &app, "front", &front_port, &url])
        .service(
            worker,
            &[
                &python,
                &app,
                "worker",
                &worker_port,
                &url,
                &front_port,
                pool,
                acknowledges,
            ],
        )
        .rested()
        .load(front, "/order", orders, 16)
        .load(front, "/done", orders + orders / 3, 1);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    let mut linked = 0_usize;
    for number in 1..=orders {
        let order = one(&out, Kind::Server, "an order", |span| {
            span.path() == "/order" && span.number() == Some(number)
        });
        let consumer = celery_task(&out, system, "reserve", order);
        linked += usize::from(celery_call(&out, "/stock", number, consumer, told));
        if number % 3 != 0 {
            continue;
        }
        if told {
            let consumer = celery_task(&out, system, "follow", consumer);
            linked += usize::from(celery_call(&out, "/after", number, consumer, told));
        } else {
            linked += usize::from(celery_call(&out, "/after", number, consumer, false));
        }
    }
    eprintln!("{system}, {pool}, {acknowledges}: {linked} calls have a parent");
    for name in [
        "protocol.amqp.invalid",
        "protocol.redis.invalid",
        "protocol.redis.message_unread",
    ] {
        out.check_eq(out.counter(name), 0, name);
    }
}

/// What a worker got of the only task that was queued for `cause`.
#[track_caller]
fn celery_task<'a>(out: &'a Outcome, system: &str, queue: &str, cause: &Span) -> &'a Span {
    let producer = one(out, Kind::Producer, "a task", |span| {
        span.parent.as_ref() == Some(&cause.id)
    });
    out.check_eq(&producer.trace, &cause.trace, "the producer's trace");
    let name = "messaging.message.conversation_id";
    let is_of_task = |span: &Span| span.text(name) == producer.text(name);
    let consumer = one(out, Kind::Consumer, "a task", is_of_task);
    let names = (producer.name.as_str(), consumer.name.as_str());
    let want = (format!("publish {queue}"), format!("deliver {queue}"));
    out.check_eq(names, (want.0.as_str(), want.1.as_str()), "what is done with the task");
    for span in [producer, consumer] {
        out.check_span(
            span,
            &[("messaging.system", system), ("messaging.destination.name", queue)],
        );
    }
    let link = (producer.trace.clone(), producer.id.clone());
    out.check_eq(&consumer.links, &vec![link], "the consumer's links");
    let handed = one(out, Kind::Client, "what the broker hands over", is_of_task);
    out.check_eq(&consumer.parent, &Some(handed.id.clone()), "who handed it over");
    out.check_eq(&handed.parent, &Some(producer.id.clone()), "whose message it is");
    out.check_eq(&consumer.trace, &cause.trace, "the consumer's trace");
    out.check_span(
        producer,
        &[("clew.messaging.settled", if system == REDIS { "accepted" } else { "" })],
    );
    // Of a list nobody sees that it is settled.
    let settled = if system == REDIS { "" } else { "accepted" };
    out.check_span(consumer, &[("clew.messaging.settled", settled)]);
    consumer
}

/// Whether what a worker asks for a task has a parent: the task, where that is `told`, and never another.
#[track_caller]
fn celery_call(out: &Outcome, path: &str, number: u64, consumer: &Span, told: bool) -> bool {
    let call = one(out, Kind::Client, "what the worker asks", |span| {
        span.path() == path && span.number() == Some(number)
    });
    let is_right = call.parent.as_ref() == Some(&consumer.id);
    out.check(
        is_right || (!told && call.parent.is_none()),
        "what the worker asks is the task's, or nobody's",
    );
    call.parent.is_some()
}

/// NATS: requests, messages of a stream, and others, with contexts and without.
#[test]
fn nats() {
    const EACH: u64 = 20;
    let Some(lab) = Lab::new("nats") else { return };
    let [broker, worker] = [free_port(), free_port()];
    let [broker_port, worker_port] = [broker, worker].map(|port| port.to_string());
    let store = lab.dir().join("stream").display().to_string();
    let (takes, sends) = (
        Lab::workload("python/nats_worker.py"),
        Lab::workload("python/nats_client.py"),
    );
    let python = Lab::python("python");
    let plan = Plan::default()
        .service(
            broker,
            &[
                "nats-server",
                "-a",
                "127.0.0.1",
                "-p",
                &broker_port,
                "-js",
                "-sd",
                &store,
            ],
        )
        .service(worker, &[&python, &takes, &worker_port, &broker_port])
        .rested()
        .command(&[&python, &sends, &broker_port, &EACH.to_string()]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    for number in 1..=EACH {
        let size = number.to_string();
        let of = |kind: Kind, subject: &str, is: &dyn Fn(&Span) -> bool| -> Span {
            let name = format!("a message to {subject}");
            one(&out, kind, &name, |span| {
                let size_is = span.text("messaging.message.body.size") == size;
                size_is && span.text("messaging.destination.name") == subject && is(span)
            })
            .clone()
        };
        let any = |_: &Span| true;
        for subject in ["upper", "orders.new"] {
            let (producer, consumer) = (of(Kind::Producer, subject, &any), of(Kind::Consumer, subject, &any));
            let link = (producer.trace.clone(), producer.id.clone());
            out.check_eq(&consumer.links, &vec![link], "the consumer's links");
            out.check_eq(&consumer.trace, &producer.trace, "one trace");
            let handed = of(Kind::Client, subject, &any);
            out.check_eq(
                &handed.parent,
                &Some(producer.id.clone()),
                "whose message the broker hands over",
            );
            out.check_eq(&consumer.parent, &Some(handed.id.clone()), "who handed it over");
            let is_stored = subject == "orders.new";
            let settled = if is_stored { "accepted" } else { "" };
            out.check_span(
                &consumer,
                &[
                    ("messaging.system", "nats"),
                    ("messaging.operation.type", "process"),
                    ("messaging.consumer.group.name", if is_stored { "" } else { "workers" }),
                    (
                        "messaging.destination.subscription.name",
                        if is_stored { "worker" } else { "" },
                    ),
                    ("clew.messaging.settled", settled),
                ],
            );
            out.check_span(
                &producer,
                &[("clew.messaging.settled", settled), ("server.port", &broker_port)],
            );
            // It waits for the answer, but a stream's is not that of whoever takes the message.
            out.check(is_stored || producer.end >= handed.end, "it ends with the answer");
        }
        let told = (format!("{number:032x}"), format!("{number:016x}"));
        let continues = |span: &Span| span.trace == told.0;
        let producer = of(Kind::Producer, "news", &continues);
        let consumer = of(Kind::Consumer, "news", &continues);
        out.check_eq(&producer.parent, &Some(told.1.clone()), "the producer's parent");
        let link = (producer.trace.clone(), producer.id.clone());
        out.check_eq(&consumer.links, &vec![told.clone(), link], "the consumer's links");
        let consumer = of(Kind::Consumer, "news", &|span| !continues(span));
        out.check_eq(
            &consumer.links,
            &Vec::new(),
            "links of what nobody can tell from others",
        );
    }
    out.check_eq(out.counter("protocol.nats.invalid"), 0, "protocol.nats.invalid");
}

/// MQTT 5 and 3.1.1 through mosquitto: each quality of service, with contexts, with answers, and with neither.
#[test]
fn mqtt() {
    const EACH: u64 = 12;
    let Some(lab) = Lab::new("mqtt") else { return };
    let [broker, worker] = [free_port(), free_port()];
    let [broker_port, worker_port] = [broker, worker].map(|port| port.to_string());
    let (takes, sends) = (
        Lab::workload("python/mqtt_worker.py"),
        Lab::workload("python/mqtt_client.py"),
    );
    let python = Lab::python("python");
    let plan = Plan::default()
        .service(broker, &["mosquitto", "-p", &broker_port])
        .service(worker, &[&python, &takes, &worker_port, &broker_port])
        .rested()
        .command(&[&python, &sends, &broker_port, &EACH.to_string()]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    for number in 1..=EACH {
        let size = number.to_string();
        let of = |kind: Kind, topic: &str| -> Span {
            one(&out, kind, &format!("a message to {topic}"), |span| {
                let size_is = span.text("messaging.message.body.size") == size;
                size_is && span.text("messaging.destination.name") == topic
            })
            .clone()
        };
        let told = (format!("{number:032x}"), format!("{number:016x}"));
        for (topic, client, qos) in [
            ("orders/new", "new", 1 + number % 2),
            ("ask", "new", 1),
            ("answers", "worker", 1),
            ("plain/text", "old", number % 3),
        ] {
            let (producer, consumer) = (of(Kind::Producer, topic), of(Kind::Consumer, topic));
            let qos = qos.to_string();
            let settled = if qos == "0" { "" } else { "accepted" };
            for (span, operation) in [(&producer, "send"), (&consumer, "process")] {
                out.check_span(
                    span,
                    &[
                        ("messaging.system", "mqtt"),
                        ("messaging.operation.type", operation),
                        ("clew.messaging.mqtt.qos", &qos),
                        ("clew.messaging.settled", settled),
                        ("server.port", &broker_port),
                    ],
                );
            }
            out.check_span(&producer, &[("messaging.client.id", client)]);
            let (taken, handed) = (of(Kind::Server, topic), of(Kind::Client, topic));
            out.check_eq(&taken.parent, &Some(producer.id.clone()), "what the broker takes");
            out.check_eq(&consumer.parent, &Some(handed.id.clone()), "who handed it over");
            // Version 3.1.1 has nothing by which a message could be told from others.
            let is_known = topic != "plain/text";
            let sender = is_known.then(|| producer.id.clone());
            out.check_eq(&handed.parent, &sender, "whose message the broker hands over");
            let link = (producer.trace.clone(), producer.id.clone());
            let mut links: Vec<_> = is_known.then_some(link).into_iter().collect();
            if topic == "orders/new" {
                out.check_eq(&producer.parent, &Some(told.1.clone()), "the producer's parent");
                links.insert(0, told.clone());
            }
            out.check_eq(&consumer.links, &links, "the consumer's links");
            out.check_eq(consumer.trace == producer.trace, is_known, "one trace");
        }
    }
    out.check_eq(out.counter("protocol.mqtt.invalid"), 0, "protocol.mqtt.invalid");
}

/// Kafka: messages one by one, in a compressed batch and without answers, with contexts and without, to a group.
#[test]
fn kafka() {
    const EACH: u64 = 10;
    let Some(lab) = Lab::new("kafka") else { return };
    let Some(libraries) = lab.kafka() else { return };
    let [broker, worker] = [free_port(), free_port()];
    let [broker_port, worker_port] = [broker, worker].map(|port| port.to_string());
    let (takes, sends) = (
        Lab::workload("python/kafka_worker.py"),
        Lab::workload("python/kafka_client.py"),
    );
    let python = Lab::python("python");
    let count = (4 * EACH).to_string();
    let plan = Plan::default()
        .kafka(&lab, &libraries, broker)
        .service(worker, &[&python, &takes, &worker_port, &broker_port, &count])
        .rested()
        .command(&[&python, &sends, &broker_port, &worker_port, &EACH.to_string()]);
    let out = Clew::run(&lab).traced(&plan.argv(&lab, DRIVE));
    let of = |kind: Kind, topic: &str, size: &str| -> Span {
        let name = format!("a message to {topic} of {size} bytes");
        one(&out, kind, &name, |span| {
            span.text("messaging.message.body.size") == size && span.text("messaging.destination.name") == topic
        })
        .clone()
    };
    let told = |number: u64| (format!("{number:032x}"), format!("{number:016x}"));
    let mut found = 0;
    for number in 1..=EACH {
        for topic in ["orders", "news", "quick"] {
            let size = number.to_string();
            let (producer, consumer) = (of(Kind::Producer, topic, &size), of(Kind::Consumer, topic, &size));
            let taken = of(Kind::Server, topic, &size);
            found += 3;
            let offset = (number - 1).to_string();
            let settled = if topic == "quick" { "" } else { "accepted" };
            for (span, client, settled) in [(&producer, "shop", settled), (&consumer, "worker", "")] {
                out.check_span(
                    span,
                    &[
                        ("messaging.system", "kafka"),
                        ("messaging.client.id", client),
                        ("messaging.destination.partition.id", "0"),
                        // Keys are shown where values are.
                        ("messaging.kafka.message.key", ""),
                        ("clew.messaging.settled", settled),
                        ("server.port", &broker_port),
                    ],
                );
            }
            out.check_span(&producer, &[("messaging.operation.type", "send")]);
            out.check_span(&consumer, &[("messaging.kafka.offset", &offset)]);
            out.check_eq(&taken.parent, &Some(producer.id.clone()), "what the broker takes");
            // The broker hands batches over unseen, with sendfile(2).
            out.check_eq(&consumer.parent, &Some(producer.id.clone()), "whose message it is");
            out.check_eq(&consumer.trace, &producer.trace, "one trace");
            let mut links = vec![(producer.trace.clone(), producer.id.clone())];
            if topic == "orders" {
                out.check_eq(&producer.parent, &Some(told(number).1), "the producer's parent");
                links.insert(0, told(number));
            }
            out.check_eq(&consumer.links, &links, "the consumer's links");
        }
    }
    // A batch is one span, linked to the contexts of its messages.
    let batches = |kind: Kind| {
        let of = |span: &&Span| span.kind == kind && span.text("messaging.destination.name") == "bulk";
        out.spans
            .filter(|span| of(&span))
            .into_iter()
            .cloned()
            .collect::<Vec<Span>>()
    };
    let (sent, got) = (batches(Kind::Producer), batches(Kind::Consumer));
    out.check(!sent.is_empty(), "batches were sent");
    out.check_eq(got.len(), sent.len(), "each batch is got once");
    let count = |spans: &[Span]| -> u64 {
        let number = |span: &Span| span.text("messaging.batch.message_count").parse().unwrap_or(1);
        spans.iter().map(number).sum()
    };
    out.check_eq((count(&sent), count(&got)), (EACH, EACH), "messages in batches");
    for batch in &sent {
        out.check_span(batch, &[("clew.messaging.kafka.compression", "gzip")]);
        let link = (batch.trace.clone(), batch.id.clone());
        let of: Vec<&Span> = got.iter().filter(|span| span.links.contains(&link)).collect();
        out.check_eq(of.len(), 1, "who got the batch");
        let contexts = [told(1000), told(1001)];
        let known = |span: &Span| contexts.iter().filter(|context| span.links.contains(context)).count();
        out.check_eq(
            of.iter().map(|span| known(span)).sum::<usize>(),
            known(batch).max(1),
            "contexts of its messages",
        );
    }
    // Fetches that wait, heartbeats, commits and metadata are no spans.
    let all = out.spans.filter(|span| span.text("messaging.system") == "kafka").len();
    out.check_eq(all, found + 3 * sent.len(), "spans of Kafka");
    out.check_eq(out.counter("protocol.kafka.invalid"), 0, "protocol.kafka.invalid");
    out.check_eq(out.counter("protocol.kafka.odd"), 0, "protocol.kafka.odd");
}

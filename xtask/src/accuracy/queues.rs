//! Tasks that a worker of Celery hands to its processes: each is queued for a request, and queues another.
use clew_tests::{Lab, Plan, free_port, redis};

use super::workload::{Expect, Made, Workload, fronted, words};

/// What `celery_app.py` does for a request.
const TASKS: &[&str] = &[
    "client clew-drive /front",
    " server front /front",
    "  producer front reserve",
    "   server broker reserve",
    "   client broker reserve",
    "    consumer worker reserve",
    "     client worker /stock",
    "      server front /stock",
    "     producer worker follow",
    "      server broker follow",
    "      client broker follow",
    "       consumer worker follow",
    "        client worker /after",
    "         server front /after",
];

pub(super) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "celery-prefork",
        runtime: "Python, Celery's processes, RabbitMQ",
        expect: Expect::Exact,
        make: |lab| {
            let broker = free_port();
            let url = format!("amqp://guest:guest@127.0.0.1:{broker}//");
            celery(Plan::default().rabbitmq(lab, broker), &url)
        },
    },
    Workload {
        name: "celery-prefork-redis",
        runtime: "Python, Celery's processes, Redis",
        expect: Expect::Exact,
        make: |lab| {
            let broker = free_port();
            let plan = Plan::default().service(broker, &words(&redis(lab, broker)));
            celery(plan, &format!("redis://127.0.0.1:{broker}/1"))
        },
    },
];

/// Who queues tasks, and the worker that does them, on a plan with their broker.
fn celery(broker: Plan, url: &str) -> Made {
    let [front, worker] = [free_port(), free_port()];
    let [front_port, worker_port] = [front, worker].map(|port| port.to_string());
    let (python, app) = (Lab::python("python"), Lab::workload("python/celery_app.py"));
    let plan = broker
        .env("OTEL_SERVICE_NAME", "broker")
        .service(front, &[&python, &app, "front", &front_port, url])
        .env("OTEL_SERVICE_NAME", "front")
        .env("EVERY", "1")
        .service(
            worker,
            &[
                &python,
                &app,
                "worker",
                &worker_port,
                url,
                &front_port,
                "prefork",
                "EARLY",
            ],
        )
        .env("OTEL_SERVICE_NAME", "worker")
        .env("EVERY", "1");
    fronted(plan.rested(), front, TASKS)
}

//! Every counter of user space, so that a name in the summary can be looked up.

/// Name and meaning, sorted by name. The kernel side's are [`clew_common::counter::ALL`].
pub const NAMES: &[(&str, &str)] = &[
    (
        "capture.malformed",
        "Events of the kernel side that could not be decoded.",
    ),
    (
        "capture.recursion_misses",
        "Operations and probed calls that the kernel did not show Clew, since it was looking at another on the same CPU.",
    ),
    (
        "causality.unknown.ambiguous",
        "Client spans without a parent: their thread had more than one request open, or several came with the context that they carry.",
    ),
    (
        "causality.unknown.conflict",
        "Client spans without a parent: what ran names another request than the context that they carry, or that came only later.",
    ),
    (
        "causality.unknown.context",
        "Client spans without a parent: the task that sent them is not known to serve a request.",
    ),
    (
        "causality.unknown.event_loop",
        "Client spans without a parent: their thread runs an event loop, where order proves nothing.",
    ),
    (
        "causality.unknown.handed",
        "Client spans without a parent: what their thread was handed by a pipe names no message that is known, or several.",
    ),
    (
        "causality.unknown.late",
        "Client spans without a parent: the request that started what sent them was over more than 60 s before.",
    ),
    (
        "causality.unknown.lost",
        "Client spans without a parent: events were lost since the request they seem to be for was read, or nobody asked for them and events were lost in the 10 s before.",
    ),
    (
        "causality.unknown.multiplexed",
        "Client spans without a parent: connections that carry many requests at once were read or written for all of them.",
    ),
    (
        "causality.unknown.older",
        "Client spans without a parent: their process was not traced until 10 s before, and may serve requests that began before that.",
    ),
    (
        "causality.unknown.pool",
        "Client spans without a parent: their thread may run what another request asked for.",
    ),
    (
        "causality.unknown.runtime",
        "Client spans without a parent: their runtime is not known to serve a request on one thread.",
    ),
    (
        "causality.unknown.thread",
        "Client spans without a parent: their thread had no request open, though the process had.",
    ),
    (
        "causality.unknown.upstream",
        "Client spans of a proxy without a parent: which request they were sent for is not certain.",
    ),
    (
        "context.invalid.b3",
        "Requests whose `b3` field is malformed; it is taken as absent.",
    ),
    (
        "context.invalid.b3multi",
        "Requests whose `x-b3-` fields are malformed; they are taken as absent.",
    ),
    (
        "context.invalid.datadog",
        "Requests whose `x-datadog-` fields are malformed; they are taken as absent.",
    ),
    (
        "context.invalid.jaeger",
        "Requests whose `uber-trace-id` field is malformed; it is taken as absent.",
    ),
    (
        "context.invalid.tracestate",
        "Requests whose `tracestate` is malformed; it is not carried on.",
    ),
    (
        "context.invalid.w3c",
        "Requests whose `traceparent` field is malformed; it is taken as absent.",
    ),
    (
        "context.invalid.xray",
        "Requests whose `x-amzn-trace-id` field is malformed; it is taken as absent.",
    ),
    (
        "context.unfollowed",
        "Processes whose execution contexts are not followed; `clew doctor --pid` says why.",
    ),
    (
        "export.failed",
        "Spans given up because the collector could not be reached, or kept failing, for too long.",
    ),
    (
        "export.file_failed",
        "Spans that could not be written to the OTLP file.",
    ),
    (
        "export.file_queue_full",
        "Spans dropped because the OTLP file took fewer than were made.",
    ),
    ("export.logs", "Records of logs a collector or a file has accepted."),
    (
        "export.logs_dropped",
        "Records of logs that could not be written, or dropped because a collector or a file took fewer than were made.",
    ),
    (
        "export.logs_failed",
        "Records of logs given up because the collector refused them or could not be reached for too long.",
    ),
    (
        "export.output_failed",
        "Traces that could not be written to the terminal or to standard output.",
    ),
    (
        "export.partial_success.rejected_spans",
        "Spans a collector refused in a request it otherwise accepted.",
    ),
    (
        "export.queue_full",
        "Spans dropped because the collector took fewer than were made.",
    ),
    ("export.rejected", "Spans in requests a collector refused for good."),
    ("export.retries", "Requests to a collector that were sent again."),
    ("export.spans", "Spans a collector or a file has accepted."),
    (
        "export.trace_spans_full",
        "Spans not shown because their trace has more than are kept for showing.",
    ),
    (
        "export.traces_cut",
        "Traces shown before they were quiet because too many were open.",
    ),
    (
        "export.trees_hidden",
        "Traces that were not drawn in the terminal, which draws so many a second; other outputs have them.",
    ),
    ("logs.binary", "Writes to logs not read because they are no text."),
    (
        "logs.dropped",
        "Records of logs without a span that were dropped because too many waited.",
    ),
    (
        "logs.late",
        "Records of logs whose span was out already: sent with its id, and not stored.",
    ),
    ("logs.lines_cut", "Lines of logs longer than Clew keeps."),
    (
        "logs.no_request",
        "Records of logs written while the process served no request.",
    ),
    ("logs.records", "Records of logs that were read."),
    (
        "logs.shared_write",
        "Records of logs without a span: one call wrote several, which may be of different requests.",
    ),
    (
        "logs.span_full",
        "Records of logs without a span: it had as many as are kept of one.",
    ),
    (
        "logs.unknown_span",
        "Records of logs without a span: for which request they were written is not certain.",
    ),
    (
        "logs.writers_full",
        "Writes to logs whose lines were joined with no others, because too much had been begun and might go on.",
    ),
    (
        "otlp.inbox_full",
        "Spans of SDKs the store was too slow for; whoever sent them was told to try again.",
    ),
    ("otlp.received", "Spans that SDKs sent (--otlp-listen)."),
    ("otlp.refused", "Spans of SDKs without an id or a trace."),
    (
        "pipeline.connection_unknown",
        "Events of connections whose first event was lost.",
    ),
    (
        "pipeline.connections_full",
        "Connections given up because more were open than Clew follows.",
    ),
    (
        "pipeline.openings_full",
        "Connections whose time to connect is not told because too many were being opened.",
    ),
    (
        "pipeline.threads_full",
        "Times at which where threads' time had gone was forgotten because too many were followed.",
    ),
    (
        "pipes.message_cut",
        "Messages read from pipes of which not all was copied: what was asked for by them has no parent.",
    ),
    (
        "pipes.unseen",
        "Processes that may be handed work by pipes whose reads this kernel does not let Clew see.",
    ),
    (
        "protocol.amqp.channels_full",
        "Frames of an AMQP connection not followed because it has too many channels.",
    ),
    (
        "protocol.amqp.consumers_full",
        "Consumers of an AMQP channel whose queue is not told because it has too many.",
    ),
    (
        "protocol.amqp.early",
        "Answers of an AMQP server to a get that was not seen, or not yet.",
    ),
    (
        "protocol.amqp.invalid",
        "Bytes of an AMQP connection that do not follow the protocol.",
    ),
    (
        "protocol.amqp.resync",
        "Times it was lost where the frames of an AMQP connection begin, and found again.",
    ),
    (
        "protocol.amqp.returned",
        "Messages that an AMQP server could not route, and that are not known to be the ones they are.",
    ),
    (
        "protocol.amqp.unsettled_full",
        "AMQP messages told without what settles them, because too many of a connection are not settled.",
    ),
    (
        "protocol.cassandra.compressed",
        "Messages to and from Cassandra that are told without their content, since it was compressed and not seen whole or too long.",
    ),
    (
        "protocol.cassandra.invalid",
        "Bytes of a Cassandra connection that do not follow the protocol.",
    ),
    (
        "protocol.cassandra.response_unmatched",
        "Answers of Cassandra to something that was not seen.",
    ),
    (
        "protocol.cassandra.statements_full",
        "Statements prepared for Cassandra that were not remembered, because a connection has too many.",
    ),
    (
        "protocol.cassandra.waiting_full",
        "Requests to Cassandra not followed because too many of a connection were not answered.",
    ),
    (
        "protocol.dns.invalid",
        "Messages to or from a name server that are no DNS.",
    ),
    (
        "protocol.dns.response_unmatched",
        "Answers of a name server to something that was not seen.",
    ),
    (
        "protocol.dns.waiting_full",
        "Lookups given up because too many of a connection were not answered.",
    ),
    (
        "protocol.dubbo.invalid",
        "Bytes of a Dubbo connection that do not follow the protocol.",
    ),
    (
        "protocol.dubbo.response_unmatched",
        "Answers of Dubbo to something that was not seen.",
    ),
    (
        "protocol.dubbo.waiting_full",
        "Calls of Dubbo not followed because too many of a connection were not answered.",
    ),
    (
        "protocol.fastcgi.head_cut",
        "Requests in FastCGI whose variables were not seen whole.",
    ),
    (
        "protocol.fastcgi.invalid",
        "Bytes of a FastCGI connection that do not follow the protocol.",
    ),
    (
        "protocol.fastcgi.pending_full",
        "Requests in FastCGI not followed because too many of their connection were open.",
    ),
    (
        "protocol.fastcgi.response_unmatched",
        "Answers in FastCGI to something that was not seen.",
    ),
    (
        "protocol.http1.continue_refused",
        "Requests with Expect: 100-continue that got a final answer before their body.",
    ),
    (
        "protocol.http1.doubtful",
        "Messages whose framing two readers could understand differently.",
    ),
    (
        "protocol.http1.framing_unseen",
        "Messages whose end is not known because the bytes that frame them were not captured.",
    ),
    (
        "protocol.http1.head_cut",
        "Heads of HTTP messages of which only the beginning was captured.",
    ),
    (
        "protocol.http1.head_too_long",
        "Heads of HTTP messages longer than Clew reads.",
    ),
    (
        "protocol.http1.invalid",
        "Bytes on an HTTP connection that do not follow HTTP.",
    ),
    (
        "protocol.http1.pending_full",
        "HTTP requests dropped because too many on one connection wait for their response.",
    ),
    (
        "protocol.http1.response_unmatched",
        "HTTP responses to no request that was seen.",
    ),
    (
        "protocol.http1.resync",
        "Times an HTTP connection was picked up again after bytes were missing or wrong.",
    ),
    (
        "protocol.http1.tunneled",
        "Connections that became a tunnel by CONNECT.",
    ),
    ("protocol.http1.upgraded", "Connections that left HTTP/1.1 by Upgrade."),
    (
        "protocol.http2.early_full",
        "Parts of HTTP/2 responses dropped because too many came before the requests they answer.",
    ),
    (
        "protocol.http2.fields_unknown",
        "Heads of HTTP/2 messages with fields that refer to what was sent before Clew saw the connection, or in a hole.",
    ),
    (
        "protocol.http2.goaway",
        "Times an end of an HTTP/2 connection announced that it will be closed.",
    ),
    (
        "protocol.http2.head_cut",
        "Heads of HTTP/2 messages of which only the beginning was captured.",
    ),
    (
        "protocol.http2.head_invalid",
        "Heads of HTTP/2 messages that could not be decompressed.",
    ),
    (
        "protocol.http2.head_too_long",
        "Heads of HTTP/2 messages longer than Clew reads.",
    ),
    (
        "protocol.http2.head_unseen",
        "HTTP/2 messages whose end was seen and whose head was not.",
    ),
    (
        "protocol.http2.invalid",
        "Bytes on an HTTP/2 connection that do not follow HTTP/2.",
    ),
    (
        "protocol.http2.promised",
        "Responses that HTTP/2 servers pushed without being asked; they have no spans.",
    ),
    (
        "protocol.http2.response_unmatched",
        "HTTP/2 responses to no request that was seen.",
    ),
    (
        "protocol.http2.resync",
        "Times frames were found on an HTTP/2 connection that was joined midway, or after bytes were missing or wrong.",
    ),
    (
        "protocol.http2.stream_lost",
        "HTTP/2 requests whose answer may have ended in bytes that were not seen.",
    ),
    (
        "protocol.http2.streams_full",
        "HTTP/2 requests dropped because too many are open on one connection.",
    ),
    (
        "protocol.kafka.invalid",
        "Bytes of a Kafka connection that do not follow the protocol.",
    ),
    (
        "protocol.kafka.odd",
        "Kafka requests and answers of which a part was passed over, because it does not look as its version says.",
    ),
    (
        "protocol.kafka.resync",
        "Times it was lost where the frames of a Kafka connection begin, and found again.",
    ),
    (
        "protocol.kafka.unmatched",
        "Answers of Kafka to requests that were not seen.",
    ),
    (
        "protocol.kafka.unsettled_full",
        "Kafka batches told without their answers, because too many of a connection wait for one.",
    ),
    (
        "protocol.kafka.version_unknown",
        "Requests to Kafka whose messages are not told, because their version is newer than those Clew knows.",
    ),
    (
        "protocol.memcached.invalid",
        "Bytes of a memcached connection that do not follow the protocol.",
    ),
    (
        "protocol.memcached.pipeline_too_long",
        "Commands of a memcached client not followed because too many were not answered.",
    ),
    (
        "protocol.memcached.response_unmatched",
        "Answers of a memcached server to something that was not seen.",
    ),
    (
        "protocol.mongodb.compressed",
        "Messages to MongoDB that are told without their content, since what they are compressed with is not undone.",
    ),
    (
        "protocol.mongodb.invalid",
        "Bytes of a MongoDB connection that do not follow the protocol.",
    ),
    (
        "protocol.mongodb.pipeline_too_long",
        "Commands to MongoDB not followed because too many were not answered.",
    ),
    (
        "protocol.mongodb.response_unmatched",
        "Answers of MongoDB to something that was not seen.",
    ),
    (
        "protocol.mqtt.aliases_full",
        "MQTT messages with an alias of their topic that is not remembered, because a connection has too many.",
    ),
    (
        "protocol.mqtt.cut",
        "MQTT messages that are not told, because their topic or properties were not seen whole.",
    ),
    (
        "protocol.mqtt.invalid",
        "Bytes of an MQTT connection that do not follow the protocol.",
    ),
    (
        "protocol.mqtt.resync",
        "Times it was lost where the packets of an MQTT connection begin, and found again.",
    ),
    (
        "protocol.mqtt.side_unknown",
        "MQTT messages that are not told, because nothing has shown yet which end of the connection is the client.",
    ),
    (
        "protocol.mqtt.unsettled_full",
        "MQTT messages told without their acknowledgements, because too many of a connection wait for one.",
    ),
    (
        "protocol.mysql.compressed",
        "MySQL connections that are compressed: what follows their opening is not read.",
    ),
    (
        "protocol.mysql.invalid",
        "Bytes of a MySQL connection that do not follow the protocol.",
    ),
    (
        "protocol.mysql.pipeline_too_long",
        "Commands of a MySQL client not followed because too many were not answered.",
    ),
    (
        "protocol.mysql.response_unmatched",
        "Answers of a MySQL server to something that was not seen.",
    ),
    (
        "protocol.mysql.statements_full",
        "Prepared statements of a MySQL connection not remembered because it has too many.",
    ),
    (
        "protocol.mysql.text_too_long",
        "Statements to MySQL of which only the beginning is shown.",
    ),
    (
        "protocol.nats.groups_full",
        "Subscriptions of a NATS connection whose queue group is not told because it has too many.",
    ),
    (
        "protocol.nats.invalid",
        "Bytes of a NATS connection that do not follow the protocol.",
    ),
    (
        "protocol.nats.resync",
        "Times it was lost where the lines of a NATS connection begin, and found again.",
    ),
    (
        "protocol.nats.unsettled_full",
        "NATS messages told without their answers, because too many of a connection wait for one.",
    ),
    (
        "protocol.postgresql.invalid",
        "Bytes of a PostgreSQL connection that do not follow the protocol.",
    ),
    (
        "protocol.postgresql.pipeline_too_long",
        "Messages of a PostgreSQL client not followed because too many were not answered.",
    ),
    (
        "protocol.postgresql.response_unmatched",
        "Answers of a PostgreSQL server to something that was not seen.",
    ),
    (
        "protocol.postgresql.statements_full",
        "Prepared statements not remembered because a connection has too many.",
    ),
    (
        "protocol.postgresql.text_too_long",
        "Statements of which only the beginning is shown.",
    ),
    (
        "protocol.redis.invalid",
        "Bytes of a Redis connection that do not follow the protocol.",
    ),
    (
        "protocol.redis.message_unread",
        "Messages of Celery in lists of Redis that are told as commands, because they are too long or were not seen whole.",
    ),
    (
        "protocol.redis.pipeline_too_long",
        "Commands of a Redis client not followed because too many were not answered.",
    ),
    (
        "protocol.redis.response_unmatched",
        "Answers of a Redis server to something that was not seen.",
    ),
    (
        "protocol.tds.answer_unread",
        "Answers of a SQL Server whose rows are not counted, because what they have is not known or was not seen.",
    ),
    (
        "protocol.tds.invalid",
        "Bytes of a SQL Server connection that do not follow the protocol.",
    ),
    (
        "protocol.tds.old_version",
        "SQL Server connections in versions before 7.2 (SQL Server 2000): what follows their opening is not read.",
    ),
    (
        "protocol.tds.pipeline_too_long",
        "Requests of a SQL Server client not followed because too many were not answered.",
    ),
    (
        "protocol.tds.response_unmatched",
        "Answers of a SQL Server to something that was not seen.",
    ),
    (
        "protocol.tds.sessions",
        "SQL Server connections that several sessions share (MARS): what follows is not read.",
    ),
    (
        "protocol.tds.statements_full",
        "Prepared statements of a SQL Server connection not remembered because it has too many.",
    ),
    (
        "protocol.tds.text_too_long",
        "Requests to SQL Server of which only the beginning is looked at.",
    ),
    (
        "protocol.thrift.invalid",
        "Bytes of a Thrift connection that do not follow the protocol.",
    ),
    (
        "protocol.thrift.pipeline_too_long",
        "Calls of a Thrift client not followed because too many were not answered.",
    ),
    (
        "protocol.thrift.response_unmatched",
        "Answers of a Thrift server to something that was not seen.",
    ),
    (
        "protocol.tls.resync",
        "Times it was lost where the records of an encrypted connection begin.",
    ),
    ("protocol.unknown", "Connections whose protocol Clew does not know."),
    (
        "protocol.unknown.untold",
        "Turns of such connections that are not told, since it took too long to find that they speak nothing known.",
    ),
    (
        "protocol.websocket.framing_unseen",
        "Directions of a WebSocket whose frames are not counted further, since it was not seen where they begin.",
    ),
    (
        "protocol.websocket.invalid",
        "The same, since what was seen are no frames.",
    ),
    (
        "span.lookups_full",
        "Lookups of names forgotten before a connection was opened, because there were many.",
    ),
    (
        "span.replaced",
        "Requests whose span was dropped because another took their number on the connection. A mistake of Clew's; please report it.",
    ),
    (
        "stack.gone",
        "Stacks none of whose functions could be told: their process was over, or its program is not known.",
    ),
    (
        "stack.late",
        "Calls without their stack because its functions were not known when they were told.",
    ),
    ("stack.many", "Stacks not looked at because too many waited."),
    (
        "stitch.ambiguous",
        "Connections whose other end is not certain; their spans are not joined.",
    ),
    (
        "stitch.conflict",
        "Connections whose sequence numbers and addresses name different other ends; their spans are not joined.",
    ),
    ("stitch.no_peer", "Spans whose other end was not seen on this host."),
    (
        "stitch.unix_midway",
        "Unix connections older than Clew, whose ends cannot be compared by offset.",
    ),
    (
        "store.failed",
        "Spans the store did not take: its disk is full or broken, or they came too late.",
    ),
    (
        "store.names_full",
        "Spans in the store that go by `(other)` in lists of calls: there are too many names.",
    ),
    ("store.queue_full", "Spans the store was too slow for."),
    ("store.spans", "Spans that were written to the store."),
    (
        "store.traces_cut",
        "Traces that went from the store before their time, since its disk was full.",
    ),
    (
        "store.traces_expired",
        "Traces that went from the store since it was at its size or they at their age.",
    ),
    ("stream.after_end", "Bytes on a connection after its end."),
    (
        "stream.buffer_full",
        "Gaps skipped because too much waited behind them.",
    ),
    (
        "stream.duplicate",
        "Bytes reported twice; the second report is dropped.",
    ),
    (
        "stream.gap_timeout",
        "Gaps skipped because what was missing did not come in time.",
    ),
    (
        "stream.reordered",
        "Bytes that were reported before earlier ones and had to wait.",
    ),
    (
        "tls.session_unknown",
        "Plaintext of TLS sessions whose first event was lost.",
    ),
    (
        "tls.untied",
        "TLS sessions whose connection is not known; their plaintext is not shown.",
    ),
    (
        "tls.unwatched",
        "TLS libraries in which no probes could be set, or whose functions are not known for certain; what they encrypt is not seen.",
    ),
    (
        "trace.parent_forgotten",
        "Spans whose parent was settled too long ago to be named.",
    ),
    ("trace.spans_full", "Spans dropped because too many were open."),
    (
        "trace.too_deep",
        "Spans cut off from their parent because the chain above is too long.",
    ),
];

/// Counters of what went as it should; every other one counts something lost, cut or not understood.
const USUAL: &[&str] = &[
    "stack.told",
    "capture.budget_bytes",
    "capture.events",
    "capture.payload_bytes",
    "export.logs",
    "export.retries",
    "export.spans",
    "logs.late",
    "logs.no_request",
    "logs.records",
    "otlp.received",
    "protocol.http1.tunneled",
    "protocol.http1.upgraded",
    "stitch.no_peer",
    "store.spans",
    "store.traces_expired",
    "stream.reordered",
];

/// Whether a counter tells of something lost, cut or not understood.
pub fn is_loss(name: &str) -> bool {
    !USUAL.contains(&name)
}

/// What a counter means: of user space or of the kernel side.
pub fn meaning(name: &str) -> Option<&'static str> {
    let kernel = clew_common::counter::ALL
        .iter()
        .map(|(_, name, meaning)| (*name, *meaning));
    NAMES
        .iter()
        .copied()
        .chain(kernel)
        .find(|(known, _)| *known == name)
        .map(|(_, meaning)| meaning.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_unique_and_explained() {
        assert!(NAMES.is_sorted_by(|(first, _), (second, _)| first < second));
        for (name, meaning) in NAMES {
            assert!(meaning.ends_with('.'), "{name}");
            let kernel = clew_common::counter::ALL.iter().any(|(_, other, _)| other == name);
            assert!(!kernel, "{name} is a counter of the kernel side too");
        }
    }

    #[test]
    fn usual_counters_exist() {
        for name in USUAL {
            assert!(meaning(name).is_some() && !is_loss(name), "{name}");
        }
        assert!(is_loss("capture.ring_full"));
    }

    #[test]
    fn meanings_of_both_sides_are_found() {
        assert!(meaning("export.failed").is_some_and(|text| text.contains("collector")));
        assert!(meaning("capture.ring_full").is_some_and(|text| text.contains("ring buffer")));
        assert_eq!(meaning("no.such"), None);
    }
}

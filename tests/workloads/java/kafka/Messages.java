import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends messages and takes them, compressed in each way: Messages KAFKA_PORT. */
public class Messages {
    public static void main(String[] arguments) throws Exception {
        Properties given = new Properties();
        given.put("bootstrap.servers", "127.0.0.1:" + arguments[0]);
        given.put("client.id", "java");
        int sent = 0;
        for (String compression : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            given.put("compression.type", compression);
            try (var producer = new KafkaProducer<>(given, new StringSerializer(), new StringSerializer())) {
                for (int number = 0; number < 2; number++) {
                    sent++;
                    var record = new ProducerRecord<String, String>("shop", null, "key", "x".repeat(50 * sent));
                    String context = String.format("00-4bf92f3577b34da6a3ce929d0e0e4736-%016x-01", sent);
                    record.headers().add("traceparent", context.getBytes());
                    producer.send(record).get();
                }
            }
        }
        given.put("auto.offset.reset", "earliest");
        given.put("group.id", "shoppers");
        given.put("enable.auto.commit", "false");
        try (var consumer = new KafkaConsumer<>(given, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("shop"));
            for (int got = 0; got < sent; ) {
                got += consumer.poll(Duration.ofSeconds(10)).count();
                consumer.commitSync();
            }
        }
    }
}

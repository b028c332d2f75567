// The JDK's own HTTP server on a pool of threads, and pools of connections to PostgreSQL (HikariCP) and Redis (Jedis):
// Stores PORT DSN REDIS. What it does for a request tests/workloads/python/stores_asyncio.py tells, one thing after the other.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadLocalRandom;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.JedisPool;
import redis.clients.jedis.JedisPoolConfig;
import redis.clients.jedis.Pipeline;

public class Stores {
    private static final int CONNECTIONS = 6;
    private static HikariDataSource pool;
    private static JedisPool cache;

    public static void main(String[] args) throws Exception {
        Map<String, String> dsn = new HashMap<>();
        for (String word : args[1].split(" ")) {
            String[] parts = word.split("=", 2);
            dsn.put(parts[0], parts[1]);
        }
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl("jdbc:postgresql://" + dsn.get("host") + ":" + dsn.get("port") + "/" + dsn.get("dbname")
                + "?sslmode=" + dsn.get("sslmode"));
        config.setUsername(dsn.get("user"));
        config.setMaximumPoolSize(CONNECTIONS);
        config.setConnectionTimeout(60_000);
        pool = new HikariDataSource(config);
        JedisPoolConfig few = new JedisPoolConfig();
        few.setMaxTotal(CONNECTIONS);
        few.setMaxIdle(CONNECTIONS);
        cache = new JedisPool(few, "127.0.0.1", Integer.parseInt(args[2]), 60_000);
        try (Connection connection = pool.getConnection(); Statement statement = connection.createStatement()) {
            for (String table : new String[] {"orders", "parts"}) {
                statement.execute("CREATE TABLE IF NOT EXISTS " + table + " (id serial, name text)");
            }
        }
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("sun.net.httpserver.maxIdleConnections", "1024");
        InetSocketAddress address = new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0]));
        HttpServer server = HttpServer.create(address, 512);
        server.setExecutor(Executors.newFixedThreadPool(64));
        server.createContext("/", Stores::serve);
        server.start();
    }

    private static void serve(HttpExchange exchange) throws IOException {
        String number = exchange.getRequestURI().getQuery().replaceFirst("^id=", "");
        int status = 200;
        try {
            front("id=" + number);
        } catch (Exception error) {
            System.err.println("stores: " + error);
            status = 500;
        }
        byte[] body = ("stores " + number + "\n").getBytes(StandardCharsets.ISO_8859_1);
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    private static void front(String name) throws Exception {
        try (Jedis redis = cache.getResource()) {
            if (redis.get(name) != null) {
                throw new IllegalStateException(name + " is there");
            }
        }
        nap();
        try (Connection connection = pool.getConnection()) {
            connection.setAutoCommit(false);
            execute(connection, "INSERT INTO items (name) VALUES (?)", name);
            nap();
            execute(connection, "SELECT name FROM items WHERE name = ?", name);
            execute(connection, "UPDATE items SET name = name WHERE name = ?", name);
            connection.commit();
        }
        alone("SELECT id FROM orders WHERE name = ?", name);
        alone("SELECT id FROM parts WHERE name = ?", name);
        try (Jedis redis = cache.getResource()) {
            redis.incr("count:" + name);
        }
        nap();
        try (Jedis redis = cache.getResource(); Pipeline pipeline = redis.pipelined()) {
            pipeline.set(name, "1");
            pipeline.expire(name, 600);
            pipeline.sync();
        }
        alone("DELETE FROM items WHERE name = ?", name);
    }

    private static void alone(String statement, String name) throws SQLException {
        try (Connection connection = pool.getConnection()) {
            execute(connection, statement, name);
        }
    }

    private static void execute(Connection connection, String statement, String name) throws SQLException {
        try (PreparedStatement prepared = connection.prepareStatement(statement)) {
            prepared.setString(1, name);
            prepared.execute();
        }
    }

    private static void nap() throws InterruptedException {
        Thread.sleep(ThreadLocalRandom.current().nextInt(4));
    }
}

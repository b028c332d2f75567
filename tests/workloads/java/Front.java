// The JDK's own HTTP server, with the executor SERVER names: Front PORT. What it does for a request: Calls.java.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Executors;
import java.util.concurrent.ForkJoinPool;

public class Front {
    public static void main(String[] args) throws Exception {
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("sun.net.httpserver.maxIdleConnections", "1024");
        InetSocketAddress address = new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0]));
        HttpServer server = HttpServer.create(address, 512);
        String kind = System.getenv("SERVER");
        Executor executor;
        switch (kind) {
            case "virtual":
                executor = Calls.virtual();
                break;
            case "forkjoin":
                executor = new ForkJoinPool(64);
                break;
            case "async":
                executor = Executors.newFixedThreadPool(8);
                break;
            default:
                executor = Executors.newFixedThreadPool(64);
        }
        server.setExecutor(executor);
        server.createContext("/", kind.equals("async") ? exchange -> later(exchange, executor) : Front::now);
        server.start();
    }

    private static void now(HttpExchange exchange) throws IOException {
        int status = 500;
        String number = Calls.number(exchange.getRequestURI().getQuery());
        try {
            status = Calls.all(number);
        } catch (Exception error) {
            System.err.println("front: " + error);
        }
        answer(exchange, status, number);
    }

    /// Answers when every step is done; steps and answers are tasks of the pool that reads requests.
    private static void later(HttpExchange exchange, Executor executor) {
        String number = Calls.number(exchange.getRequestURI().getQuery());
        CompletableFuture<Integer> work = CompletableFuture.completedFuture(200);
        for (String step : Calls.STEPS) {
            work = work.thenApplyAsync(
                    status -> Math.max(status, Calls.unchecked(() -> Calls.one(step, number))), executor);
        }
        work.whenCompleteAsync((status, error) -> {
            if (error != null) {
                System.err.println("front: " + error);
            }
            Calls.unchecked(() -> {
                answer(exchange, error == null ? status : 500, number);
                return 0;
            });
        }, executor);
    }

    private static void answer(HttpExchange exchange, int status, String number) throws IOException {
        byte[] body = ("front " + number + "\n").getBytes(StandardCharsets.ISO_8859_1);
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}

// What a service does for one request: calls in the thread that serves it, or handed to others. STEPS names them in their
// order, PATH=HOW; every call goes to the leaf (NEXT: PORT/path) and repeats the request's number.
// `log` and `log-pool` write a line to the standard error instead.
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.FutureTask;
import java.util.concurrent.ThreadLocalRandom;

public class Calls {
    static {
        System.setProperty("http.maxConnections", "64");
    }

    private static final String PORT = System.getenv("NEXT").split("/")[0];
    static final String[] STEPS = System.getenv("STEPS").split(",");
    private static final ExecutorService POOL = Executors.newFixedThreadPool(16);
    private static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    /** A port on which nobody listens. */
    static final int NOBODY = nobody();

    /// All steps, one after the other; the worst status.
    static int all(String number) throws Exception {
        rest();
        int status = 200;
        for (String step : STEPS) {
            status = Math.max(status, one(step, number));
        }
        return status;
    }

    /// A wait of random length.
    static void rest() {
        try {
            Thread.sleep(ThreadLocalRandom.current().nextInt(4));
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    static int one(String step, String number) throws Exception {
        String[] words = step.split("=");
        String path = words[0];
        Callable<Integer> call = () -> here(path, number);
        switch (words[1]) {
            case "here":
                return call.call();
            case "log":
                return log(path, number);
            case "log-pool":
                return POOL.submit(() -> log(path, number)).get();
            case "client":
                return CLIENT.send(request(path, number), HttpResponse.BodyHandlers.ofString()).statusCode();
            case "async":
                return status(path, number).join();
            case "fan":
                return Math.max(status(path + "1", number).thenCombine(status(path + "2", number), Math::max).join(),
                        status(path + "3", number).join());
            case "chain":
                return status(path + "1", number)
                        .thenCompose(first -> status(path + "2", number).thenApply(second -> Math.max(first, second)))
                        .thenCompose(both -> status(path + "3", number).thenApply(third -> Math.max(both, third)))
                        .join();
            case "abandoned":
                CompletableFuture<HttpResponse<String>> late =
                        CLIENT.sendAsync(request(path, number), HttpResponse.BodyHandlers.ofString());
                rest();
                late.cancel(true);
                return 200;
            case "pool":
                return POOL.submit(call).get();
            case "common":
                return CompletableFuture.supplyAsync(() -> unchecked(call)).join();
            case "thread":
                FutureTask<Integer> task = new FutureTask<>(call);
                new Thread(task).start();
                return task.get();
            case "virtual":
                FutureTask<Integer> other = new FutureTask<>(call);
                Thread.class.getMethod("startVirtualThread", Runnable.class).invoke(null, other);
                return other.get();
            case "impatient":
                return impatient(path, number);
            case "refused":
                return refused();
            default:
                throw new IllegalArgumentException(step);
        }
    }

    private static int log(String path, String number) {
        System.err.println("INFO " + path + " rid=" + number);
        rest();
        return 200;
    }

    static int unchecked(Callable<Integer> call) {
        try {
            return call.call();
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private static CompletableFuture<Integer> status(String path, String number) {
        return CLIENT.sendAsync(request(path, number), HttpResponse.BodyHandlers.ofString())
                .thenApply(HttpResponse::statusCode);
    }

    private static URI uri(String path, String number) {
        return URI.create("http://127.0.0.1:" + PORT + "/" + path + "?id=" + number);
    }

    private static HttpRequest request(String path, String number) {
        return HttpRequest.newBuilder(uri(path, number)).build();
    }

    private static int here(String path, String number) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) uri(path, number).toURL().openConnection();
        int status = connection.getResponseCode();
        connection.getInputStream().readAllBytes();
        return status;
    }

    /// A call that is given up when the answer is late.
    private static int impatient(String path, String number) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) uri(path, number).toURL().openConnection();
        connection.setReadTimeout(1 + ThreadLocalRandom.current().nextInt(4));
        try {
            connection.getResponseCode();
            connection.getInputStream().readAllBytes();
        } catch (SocketTimeoutException late) {
            connection.disconnect();
        }
        return 200;
    }

    private static int refused() throws IOException {
        try {
            URI.create("http://127.0.0.1:" + NOBODY + "/").toURL().openStream().close();
            return 500;
        } catch (java.net.ConnectException error) {
            return 200;
        }
    }

    private static int nobody() {
        try (ServerSocket free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return free.getLocalPort();
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    /// The number in a query.
    static String number(String query) {
        return query.replaceAll(".*id=(\\d+).*", "$1");
    }

    /// An executor that gives each task a virtual thread.
    static ExecutorService virtual() throws ReflectiveOperationException {
        return (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
    }
}

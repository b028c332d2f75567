// java Logs.java PORT: two lines to stderr around a wait and one to stdout a request, the last by a task of another pool; for every
// fifth an exception with its stack.
import com.sun.net.httpserver.HttpServer;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

public class Logs {
    public static void main(String[] args) throws Exception {
        ExecutorService others = Executors.newFixedThreadPool(8);
        InetSocketAddress address = new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[0]));
        HttpServer server = HttpServer.create(address, 256);
        server.setExecutor(Executors.newFixedThreadPool(32));
        server.createContext("/", exchange -> {
            String query = exchange.getRequestURI().getQuery();
            String rid = query == null ? "0" : query.replaceAll(".*id=(\\d+).*", "$1");
            System.err.println("INFO begin rid=" + rid + " password=hunter2");
            try {
                Thread.sleep(Long.parseLong(rid) * 7 % 5);
                others.submit(() -> System.out.println("{\"level\":\"info\",\"msg\":\"end rid=" + rid + "\"}")).get();
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
            if (Long.parseLong(rid) % 5 == 0) {
                StringWriter text = new StringWriter();
                new IllegalStateException("out of stock").printStackTrace(new PrintWriter(text));
                System.err.println("ERROR failed rid=" + rid + "\n" + text.toString().trim());
            } else {
                System.err.println("WARN fine rid=" + rid);
            }
            exchange.sendResponseHeaders(200, 2);
            exchange.getResponseBody().write("ok".getBytes());
            exchange.close();
        });
        server.start();
    }
}

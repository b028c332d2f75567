// Jetty: JettyFront PORT. SERVER is pool (a thread serves a request), async (the request waits for tasks of another pool, which
// answer it) or dispatch (the request waits for a task of another pool and is served again). What it does for a request: Calls.java.
import jakarta.servlet.AsyncContext;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.thread.QueuedThreadPool;

public class JettyFront {
    public static void main(String[] args) throws Exception {
        ((ch.qos.logback.classic.Logger) org.slf4j.LoggerFactory.getLogger("ROOT")).setLevel(ch.qos.logback.classic.Level.WARN);
        Server server = new Server(new QueuedThreadPool(64));
        ServerConnector connector = new ServerConnector(server, 1, 2);
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(args[0]));
        connector.setAcceptQueueSize(512);
        server.addConnector(connector);
        ServletContextHandler context = new ServletContextHandler();
        ServletHolder front = new ServletHolder(servlet(System.getenv("SERVER")));
        front.setAsyncSupported(true);
        context.addServlet(front, "/*");
        server.setHandler(context);
        server.start();
        server.join();
    }

    private static HttpServlet servlet(String kind) {
        switch (kind) {
            case "async":
                return new Later();
            case "dispatch":
                return new Again();
            default:
                return new Now();
        }
    }

    private static void work(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String number = Calls.number(request.getQueryString());
        int status = 500;
        try {
            status = Calls.all(number);
        } catch (Exception error) {
            System.err.println("jetty: " + error);
        }
        String body = "jetty " + number + "\n";
        response.setStatus(status);
        response.setContentLength(body.length());
        response.getOutputStream().print(body);
    }

    private static final class Now extends HttpServlet {
        @Override
        protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
            work(request, response);
        }
    }

    private static final class Later extends HttpServlet {
        private final transient ExecutorService pool = Executors.newFixedThreadPool(16);

        @Override
        protected void doGet(HttpServletRequest request, HttpServletResponse response) {
            AsyncContext later = request.startAsync();
            pool.execute(() -> {
                try {
                    work(request, response);
                } catch (IOException error) {
                    System.err.println("jetty: " + error);
                }
                later.complete();
            });
        }
    }

    private static final class Again extends HttpServlet {
        private final transient ExecutorService pool = Executors.newFixedThreadPool(16);

        @Override
        protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
            if (request.getAttribute("waited") != null) {
                work(request, response);
                return;
            }
            AsyncContext later = request.startAsync();
            pool.execute(() -> {
                request.setAttribute("waited", true);
                Calls.rest();
                later.dispatch();
            });
        }
    }
}

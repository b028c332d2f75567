// Tomcat: TomcatFront PORT. SERVER is pool (a thread serves a request), async (the request waits for tasks of another pool) or
// virtual (a virtual thread serves a request). What it does for a request: Calls.java.
import jakarta.servlet.AsyncContext;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.file.Files;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.catalina.Context;
import org.apache.catalina.Wrapper;
import org.apache.catalina.startup.Tomcat;

public class TomcatFront {
    public static void main(String[] args) throws Exception {
        java.util.logging.LogManager.getLogManager().reset();
        String kind = System.getenv("SERVER");
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("tomcat").toString());
        tomcat.setPort(Integer.parseInt(args[0]));
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        tomcat.getConnector().setProperty("maxThreads", "64");
        tomcat.getConnector().setProperty("acceptCount", "512");
        tomcat.getConnector().setProperty("maxKeepAliveRequests", "-1");
        if (kind.equals("virtual")) {
            tomcat.getConnector().getProtocolHandler().setExecutor(Calls.virtual());
        }
        Context context = tomcat.addContext("", null);
        Wrapper wrapper = Tomcat.addServlet(context, "front", kind.equals("async") ? new Later() : new Now());
        wrapper.setAsyncSupported(true);
        context.addServletMappingDecoded("/*", "front");
        tomcat.start();
        tomcat.getServer().await();
    }

    private static void work(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String number = Calls.number(request.getQueryString());
        int status = 500;
        try {
            status = Calls.all(number);
        } catch (Exception error) {
            System.err.println("tomcat: " + error);
        }
        String body = "tomcat " + number + "\n";
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
                    System.err.println("tomcat: " + error);
                }
                later.complete();
            });
        }
    }
}

// Spring Boot MVC on its Tomcat: MvcFront PORT. SERVER is pool (the thread that took a request answers it) or async (it answers with
// a future that tasks of Spring's executor complete) or virtual (both are virtual threads). STEPS names what is done for a request, PATH=HOW, as in Calls.java, by
// Spring's clients and `@Async`.
import java.net.ConnectException;
import java.net.SocketTimeoutException;
import java.net.http.HttpClient;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Supplier;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.core.task.AsyncTaskExecutor;
import org.springframework.core.task.SimpleAsyncTaskExecutor;
import org.springframework.http.client.JdkClientHttpRequestFactory;
import org.springframework.http.client.SimpleClientHttpRequestFactory;
import org.springframework.scheduling.annotation.Async;
import org.springframework.scheduling.annotation.EnableAsync;
import org.springframework.scheduling.concurrent.ThreadPoolTaskExecutor;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.ResourceAccessException;
import org.springframework.web.client.RestClient;
import org.springframework.web.client.RestTemplate;

@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
@EnableAsync
@Import({MvcFront.Front.class, MvcFront.Later.class})
public class MvcFront {
    private static final String KIND = System.getenv("SERVER");
    private static final String[] STEPS = System.getenv("STEPS").split(",");
    private static final String LEAF = "http://127.0.0.1:" + System.getenv("NEXT").split("/")[0] + "/{path}?id={id}";

    public static void main(String[] args) {
        System.setProperty("http.maxConnections", "64");
        Properties settings = new Properties();
        settings.put("server.address", "127.0.0.1");
        settings.put("server.port", args[0]);
        settings.put("server.tomcat.threads.max", "64");
        settings.put("server.tomcat.accept-count", "512");
        settings.put("server.tomcat.max-keep-alive-requests", "-1");
        settings.put("spring.threads.virtual.enabled", String.valueOf(KIND.equals("virtual")));
        settings.put("spring.main.banner-mode", "off");
        settings.put("spring.main.lazy-initialization", "true");
        settings.put("logging.level.root", "error");
        SpringApplication application = new SpringApplication(MvcFront.class);
        application.setWebApplicationType(WebApplicationType.SERVLET);
        application.setDefaultProperties(settings);
        application.run();
    }

    /** What `@Async` runs on. */
    @Bean
    AsyncTaskExecutor taskExecutor() {
        if (KIND.equals("virtual")) {
            SimpleAsyncTaskExecutor executor = new SimpleAsyncTaskExecutor();
            executor.setVirtualThreads(true);
            return executor;
        }
        ThreadPoolTaskExecutor executor = new ThreadPoolTaskExecutor();
        executor.setCorePoolSize(16);
        return executor;
    }

    @RestController
    static class Front {
        private final Later later;
        private final AsyncTaskExecutor executor;
        private final RestTemplate template = new RestTemplate(new SimpleClientHttpRequestFactory());
        private final RestTemplate hasty = new RestTemplate(patience(1 + ThreadLocalRandom.current().nextInt(4)));
        private final RestClient client = RestClient.builder()
                .requestFactory(new JdkClientHttpRequestFactory(
                        HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build()))
                .build();
        private final String nobody = "http://127.0.0.1:" + Calls.NOBODY + "/";

        Front(Later later, AsyncTaskExecutor executor) {
            this.later = later;
            this.executor = executor;
        }

        @GetMapping("/front")
        Object front(@RequestParam("id") String id) {
            if (!KIND.equals("async")) {
                Calls.rest();
                for (String step : STEPS) {
                    one(step, id);
                }
                return "mvc " + id + "\n";
            }
            CompletableFuture<Void> work = CompletableFuture.runAsync(Calls::rest, executor);
            for (String step : STEPS) {
                work = work.thenRunAsync(() -> one(step, id), executor);
            }
            return work.thenApply(done -> "mvc " + id + "\n");
        }

        private void one(String step, String id) {
            String[] words = step.split("=");
            String path = words[0];
            switch (words[1]) {
                case "template":
                    template.getForObject(LEAF, String.class, path, id);
                    break;
                case "client":
                    client.get().uri(LEAF, path, id).retrieve().body(String.class);
                    break;
                case "async":
                    later.run(() -> template.getForObject(LEAF, String.class, path, id)).join();
                    break;
                case "fan":
                    // All at once, on several threads, by both clients; they are named after the path.
                    List<CompletableFuture<String>> all = new ArrayList<>();
                    all.add(later.run(() -> template.getForObject(LEAF, String.class, path + "1", id)));
                    all.add(later.run(() -> client.get().uri(LEAF, path + "2", id).retrieve().body(String.class)));
                    all.add(later.run(() -> template.getForObject(LEAF, String.class, path + "3", id)));
                    all.forEach(CompletableFuture::join);
                    break;
                case "impatient":
                    try {
                        hasty.getForObject(LEAF, String.class, path, id);
                    } catch (ResourceAccessException late) {
                        expect(SocketTimeoutException.class, late);
                    }
                    break;
                case "refused":
                    try {
                        template.getForObject(nobody, String.class);
                        throw new IllegalStateException("somebody listens on " + nobody);
                    } catch (ResourceAccessException refused) {
                        expect(ConnectException.class, refused);
                    }
                    break;
                default:
                    throw new IllegalArgumentException(step);
            }
        }

        private static void expect(Class<?> cause, ResourceAccessException error) {
            if (!cause.isInstance(error.getCause())) {
                throw error;
            }
        }

        private static SimpleClientHttpRequestFactory patience(int milliseconds) {
            SimpleClientHttpRequestFactory factory = new SimpleClientHttpRequestFactory();
            factory.setReadTimeout(milliseconds);
            return factory;
        }
    }

    /** Runs what it is given on threads of Spring's executor. */
    static class Later {
        @Async
        public CompletableFuture<String> run(Supplier<String> call) {
            Calls.rest();
            return CompletableFuture.completedFuture(call.get());
        }
    }
}

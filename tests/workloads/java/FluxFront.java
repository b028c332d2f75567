// Spring Boot WebFlux on Reactor Netty: FluxFront PORT. SERVER is native (Netty's own binding of epoll, its default) or nio (Java's
// selectors). STEPS names what is done for a request, PATH=HOW, all by one WebClient with fewer connections than there are calls.
import io.netty.channel.ChannelOption;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeoutException;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.WebApplicationType;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.web.embedded.netty.NettyReactiveWebServerFactory;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.http.client.reactive.ReactorClientHttpConnector;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.reactive.function.client.WebClient;
import org.springframework.web.reactive.function.client.WebClientRequestException;
import reactor.core.publisher.Mono;
import reactor.core.publisher.Sinks;
import reactor.core.scheduler.Schedulers;
import reactor.netty.http.client.HttpClient;
import reactor.netty.resources.ConnectionProvider;

@Configuration(proxyBeanMethods = false)
@EnableAutoConfiguration
@Import(FluxFront.Front.class)
public class FluxFront {
    private static final String[] STEPS = System.getenv("STEPS").split(",");
    private static final String LEAF = "http://127.0.0.1:" + System.getenv("NEXT").split("/")[0] + "/{path}?id={id}";

    public static void main(String[] args) {
        System.setProperty("reactor.netty.native", String.valueOf(System.getenv("SERVER").equals("native")));
        System.setProperty("reactor.netty.ioWorkerCount", "4");
        Properties settings = new Properties();
        settings.put("server.address", "127.0.0.1");
        settings.put("server.port", args[0]);
        settings.put("spring.main.banner-mode", "off");
        settings.put("spring.main.lazy-initialization", "true");
        settings.put("logging.level.root", "error");
        SpringApplication application = new SpringApplication(FluxFront.class);
        application.setWebApplicationType(WebApplicationType.REACTIVE);
        application.setDefaultProperties(settings);
        application.run();
    }

    @Bean
    NettyReactiveWebServerFactory server() {
        NettyReactiveWebServerFactory factory = new NettyReactiveWebServerFactory();
        factory.addServerCustomizers(server -> server.option(ChannelOption.SO_BACKLOG, 512));
        return factory;
    }

    @RestController
    static class Front {
        private static final Duration PATIENCE = Duration.ofSeconds(60);
        private final WebClient client = client("calls", 16);
        // A call that is given up closes its connection.
        private final WebClient hasty = client("hasty", 16);
        private final String nobody = "http://127.0.0.1:" + Calls.NOBODY + "/";
        private final Sinks.Many<Shared> shared = Sinks.many().unicast().onBackpressureBuffer();

        /** Whoever finds none asks for one; all go on when that has it. */
        private final Mono<String> token =
                Mono.defer(() -> Mono.delay(some()).thenReturn("token")).cache(Duration.ofMillis(1));

        Front() {
            // One stream does calls for many requests, each on the thread of whoever put something into it last.
            shared.asFlux()
                    .publishOn(Schedulers.parallel())
                    .flatMap(one -> call(one.path, one.id).doOnNext(one.answer::tryEmitValue), 8)
                    .subscribe();
        }

        @GetMapping("/front")
        Mono<String> front(@RequestParam("id") String id) {
            Mono<String> work = Mono.delay(some()).thenReturn("");
            for (String step : STEPS) {
                work = work.flatMap(done -> one(step, id));
            }
            return work.map(done -> "flux " + id + "\n");
        }

        private Mono<String> one(String step, String id) {
            String[] words = step.split("=");
            String path = words[0];
            switch (words[1]) {
                case "call":
                    return call(path, id);
                case "fan":
                    // All at once; they are named after the path.
                    return Mono.zip(call(path + "1", id), call(path + "2", id), call(path + "3", id)).map(all -> all.getT1());
                case "late":
                    return call(path, id).delayElement(some());
                case "elastic":
                    return Mono.fromCallable(() -> {
                        Calls.rest();
                        return path;
                    }).subscribeOn(Schedulers.boundedElastic()).flatMap(at -> call(at, id));
                case "cached":
                    return token.flatMap(some -> call(path, id));
                case "shared":
                    Shared one = new Shared(path, id);
                    synchronized (shared) {
                        shared.tryEmitNext(one).orThrow();
                    }
                    return one.answer.asMono();
                case "impatient":
                    // The next one may get the connection that is being closed.
                    return call(hasty, path, id)
                            .timeout(some().plusMillis(1))
                            .onErrorReturn(TimeoutException.class, "late")
                            .onErrorReturn(WebClientRequestException.class, "closed");
                case "refused":
                    return client.get().uri(nobody).retrieve().bodyToMono(String.class)
                            .onErrorResume(WebClientRequestException.class, error -> Mono.just("refused"));
                default:
                    return Mono.error(new IllegalArgumentException(step));
            }
        }

        private Mono<String> call(String path, String id) {
            return call(client, path, id);
        }

        private static Mono<String> call(WebClient client, String path, String id) {
            return client.get().uri(LEAF, path, id).retrieve().bodyToMono(String.class);
        }

        private static Duration some() {
            return Duration.ofMillis(ThreadLocalRandom.current().nextInt(4));
        }

        private static WebClient client(String name, int connections) {
            ConnectionProvider pool = ConnectionProvider.builder(name)
                    .maxConnections(connections)
                    .pendingAcquireMaxCount(-1)
                    .pendingAcquireTimeout(PATIENCE)
                    .build();
            return WebClient.builder().clientConnector(new ReactorClientHttpConnector(HttpClient.create(pool).disableRetry(true))).build();
        }
    }

    /** A call that is made in the place of whoever asks for it. */
    private static final class Shared {
        final String path;
        final String id;
        final Sinks.One<String> answer = Sinks.one();

        Shared(String path, String id) {
            this.path = path;
            this.id = id;
        }
    }
}

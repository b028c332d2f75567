import io.grpc.BindableService;
import io.grpc.CallOptions;
import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.ServerCredentials;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.TlsServerCredentials;
import io.grpc.netty.shaded.io.netty.handler.ssl.OpenSsl;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;

/**
 * Calls of every kind with grpc-java, between two processes: Calls [serve PORT | many N].
 *
 * <p>Without arguments it starts a server process and calls it: each kind of call, each way to end. {@code many} makes N calls, 256
 * at a time on one connection. Messages are text, so that nothing has to be generated. With CERTIFICATE and KEY in the environment
 * all of it is encrypted.
 */
public final class Calls {
    private static final String SERVICE = "clew.test.Calls";
    private static final String CERTIFICATE = System.getenv("CERTIFICATE");

    private static final class Text implements MethodDescriptor.Marshaller<String> {
        @Override
        public InputStream stream(String message) {
            return new ByteArrayInputStream(message.getBytes(StandardCharsets.UTF_8));
        }

        @Override
        public String parse(InputStream bytes) {
            try {
                return new String(bytes.readAllBytes(), StandardCharsets.UTF_8);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    private static MethodDescriptor<String, String> method(String name, MethodType kind) {
        return MethodDescriptor.<String, String>newBuilder(new Text(), new Text())
                .setType(kind)
                .setFullMethodName(MethodDescriptor.generateFullMethodName(SERVICE, name))
                .build();
    }

    private static final MethodDescriptor<String, String> UNARY = method("Unary", MethodType.UNARY);
    private static final MethodDescriptor<String, String> DOWN = method("Down", MethodType.SERVER_STREAMING);
    private static final MethodDescriptor<String, String> UP = method("Up", MethodType.CLIENT_STREAMING);
    private static final MethodDescriptor<String, String> BOTH = method("Both", MethodType.BIDI_STREAMING);

    private static void unary(String request, StreamObserver<String> answer) {
        switch (request) {
            case "wrong" -> {
                String why = "no such thing: 100 % sure, möglich";
                answer.onError(Status.NOT_FOUND.withDescription(why).asRuntimeException());
                return;
            }
            case "bug" -> throw new IllegalStateException("a bug");
            case "slow" -> {
                try {
                    Thread.sleep(5000);
                } catch (InterruptedException error) {
                    // The call is over.
                }
            }
            default -> { }
        }
        answer.onNext("answer to " + request);
        answer.onCompleted();
    }

    private static void down(String request, StreamObserver<String> answer) {
        for (int length = 0; length < Integer.parseInt(request); length++) {
            answer.onNext("x".repeat(length));
        }
        answer.onCompleted();
    }

    /** What a stream of requests is answered with. */
    private abstract static class Requests implements StreamObserver<String> {
        @Override
        public void onError(Throwable error) { }
    }

    private static StreamObserver<String> up(StreamObserver<String> answer) {
        return new Requests() {
            private int count;

            @Override
            public void onNext(String message) {
                count++;
            }

            @Override
            public void onCompleted() {
                answer.onNext(Integer.toString(count));
                answer.onCompleted();
            }
        };
    }

    private static StreamObserver<String> both(StreamObserver<String> answer) {
        return new Requests() {
            @Override
            public void onNext(String message) {
                answer.onNext(message);
                answer.onNext(message);
            }

            @Override
            public void onCompleted() {
                answer.onCompleted();
            }
        };
    }

    private static void serve(int port) throws IOException, InterruptedException {
        ServerCredentials credentials = CERTIFICATE == null
                ? InsecureServerCredentials.create()
                : TlsServerCredentials.create(new File(CERTIFICATE), new File(System.getenv("KEY")));
        BindableService service = () -> ServerServiceDefinition.builder(SERVICE)
                .addMethod(UNARY, ServerCalls.asyncUnaryCall(Calls::unary))
                .addMethod(DOWN, ServerCalls.asyncServerStreamingCall(Calls::down))
                .addMethod(UP, ServerCalls.asyncClientStreamingCall(Calls::up))
                .addMethod(BOTH, ServerCalls.asyncBidiStreamingCall(Calls::both))
                .build();
        var server = Grpc.newServerBuilderForPort(port, credentials).addService(service).build().start();
        System.out.println("ready");
        // The end of standard input is the end of the server.
        while (System.in.read() >= 0) { }
        server.shutdownNow().awaitTermination();
    }

    /** Collects the answers of a stream. */
    private static final class Answers implements StreamObserver<String> {
        private final List<String> got = new ArrayList<>();
        private final CompletableFuture<List<String>> all = new CompletableFuture<>();

        @Override
        public void onNext(String message) {
            got.add(message);
        }

        @Override
        public void onError(Throwable error) {
            all.completeExceptionally(error);
        }

        @Override
        public void onCompleted() {
            all.complete(got);
        }
    }

    private static void check(boolean holds) {
        if (!holds) {
            throw new AssertionError("another answer was expected");
        }
    }

    private static void failing(Status.Code code, Runnable call) {
        try {
            call.run();
        } catch (StatusRuntimeException error) {
            check(error.getStatus().getCode() == code);
            return;
        }
        throw new AssertionError("the call should have failed");
    }

    private static void send(StreamObserver<String> requests, int count) {
        for (int at = 0; at < count; at++) {
            requests.onNext("a");
        }
        requests.onCompleted();
    }

    private static String ask(ManagedChannel channel, String request) {
        return ClientCalls.blockingUnaryCall(channel, UNARY, CallOptions.DEFAULT, request);
    }

    private static void everyKind(ManagedChannel channel) throws Exception {
        CallOptions options = CallOptions.DEFAULT;
        check(ask(channel, "one").equals("answer to one"));
        check(ask(channel, "two").equals("answer to two"));
        failing(Status.Code.NOT_FOUND, () -> ask(channel, "wrong"));
        failing(Status.Code.UNKNOWN, () -> ask(channel, "bug"));
        CallOptions limited = options.withDeadlineAfter(200, TimeUnit.MILLISECONDS);
        failing(Status.Code.DEADLINE_EXCEEDED, () -> ClientCalls.blockingUnaryCall(channel, UNARY, limited, "slow"));
        Future<String> givenUp = ClientCalls.futureUnaryCall(channel.newCall(UNARY, options), "slow");
        Thread.sleep(200);
        check(givenUp.cancel(true));
        int count = 0;
        Iterator<String> down = ClientCalls.blockingServerStreamingCall(channel, DOWN, options, "5");
        for (; down.hasNext(); down.next()) {
            count++;
        }
        check(count == 5);
        Answers up = new Answers();
        send(ClientCalls.asyncClientStreamingCall(channel.newCall(UP, options), up), 4);
        check(up.all.get().equals(List.of("4")));
        Answers both = new Answers();
        send(ClientCalls.asyncBidiStreamingCall(channel.newCall(BOTH, options), both), 3);
        check(both.all.get().size() == 6);
        String large = "z".repeat(40_000);
        check(ask(channel, large).equals("answer to " + large));
        failing(
                Status.Code.UNIMPLEMENTED,
                () -> ClientCalls.blockingUnaryCall(channel, method("Missing", MethodType.UNARY), options, ""));
    }

    private static void many(ManagedChannel channel, int count) throws Exception {
        Semaphore limit = new Semaphore(256);
        List<Future<String>> pending = new ArrayList<>();
        for (int number = 0; number < count; number++) {
            limit.acquire();
            var call = ClientCalls.futureUnaryCall(channel.newCall(UNARY, CallOptions.DEFAULT), Integer.toString(number));
            call.addListener(limit::release, Runnable::run);
            pending.add(call);
        }
        for (int number = 0; number < count; number++) {
            check(pending.get(number).get().equals("answer to " + number));
        }
    }

    /** Waits until the kernel has put a probe into the library that encrypts: its code is another in memory than in the file. */
    private static void waitUntilWatched() throws Exception {
        OpenSsl.ensureAvailability();
        List<String> code = Files.readAllLines(Path.of("/proc/self/maps")).stream()
                .filter(line -> line.contains("netty_tcnative") && line.contains("r-xp"))
                .toList();
        check(code.size() == 1);
        String[] words = code.get(0).split(" +");
        String[] range = words[0].split("-");
        long start = Long.parseLong(range[0], 16);
        byte[] here = new byte[Math.toIntExact(Long.parseLong(range[1], 16) - start)];
        byte[] there = new byte[here.length];
        // Netty has removed the file: the kernel still has it.
        try (var file = new RandomAccessFile("/proc/self/map_files/" + words[0], "r");
                var memory = new RandomAccessFile("/proc/self/mem", "r")) {
            file.seek(Long.parseLong(words[2], 16));
            file.readFully(there);
            for (int tries = 0; tries < 600; tries++) {
                memory.seek(start);
                memory.readFully(here);
                if (!java.util.Arrays.equals(here, there)) {
                    return;
                }
                Thread.sleep(100);
            }
        }
        throw new AssertionError("nobody watches the library");
    }

    private interface Work {
        void on(ManagedChannel channel) throws Exception;
    }

    private static void withServer(Work work) throws Exception {
        int port;
        try (ServerSocket free = new ServerSocket(0)) {
            port = free.getLocalPort();
        }
        ChannelCredentials credentials = InsecureChannelCredentials.create();
        if (CERTIFICATE != null) {
            waitUntilWatched();
            credentials = TlsChannelCredentials.newBuilder().trustManager(new File(CERTIFICATE)).build();
        }
        String java = ProcessHandle.current().info().command().orElseThrow();
        Process server = new ProcessBuilder(
                        java, "-Xmx128m", "-XX:+UseSerialGC", "-cp", System.getProperty("java.class.path"), "Calls", "serve", Integer.toString(port))
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        check("ready".equals(server.inputReader().readLine()));
        ManagedChannel channel = Grpc.newChannelBuilderForAddress("localhost", port, credentials).build();
        work.on(channel);
        channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
        server.getOutputStream().close();
        server.waitFor();
    }

    public static void main(String[] arguments) throws Exception {
        String what = arguments.length == 0 ? "" : arguments[0];
        switch (what) {
            case "serve" -> {
                if (CERTIFICATE != null) {
                    waitUntilWatched();
                }
                serve(Integer.parseInt(arguments[1]));
            }
            case "many" -> withServer(channel -> many(channel, Integer.parseInt(arguments[1])));
            default -> withServer(Calls::everyKind);
        }
    }
}

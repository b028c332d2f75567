// Asks itself from known methods, by 64 threads at once, until there is a file, and has its virtual machine write what it has compiled
// every second: java -XX:+PreserveFramePointer Market.java FILE.
import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;

public class Market {
    static final int WORKERS = 64;

    /** Reads what ends with an empty line; false at the end. */
    static boolean take(Socket from) throws IOException {
        byte[] bytes = new byte[4096];
        int size = 0;
        do {
            int more = from.getInputStream().read(bytes, size, bytes.length - size);
            if (more < 0) return false;
            size += more;
        } while (size < 4 || bytes[size - 2] != '\r' || bytes[size - 3] != '\n');
        return true;
    }

    static void buy(Socket to, int number) throws IOException {
        to.getOutputStream().write(("GET /buy?id=" + number + " HTTP/1.1\r\nHost: shop\r\n\r\n").getBytes());
        take(to);
    }

    static void stock(Socket to, int number) throws IOException {
        to.getOutputStream().write(("GET /stock?id=" + number + " HTTP/1.1\r\nHost: shop\r\n\r\n").getBytes());
        take(to);
    }

    static void shop(Socket to, int number) throws IOException {
        buy(to, number);
        stock(to, number);
    }

    static void work(int worker, int port, File file) {
        try (Socket to = new Socket(InetAddress.getLoopbackAddress(), port)) {
            for (int number = worker; !file.exists(); number += WORKERS) {
                shop(to, number);
                Thread.sleep(200);
            }
        } catch (IOException | InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    static void serve(Socket from) {
        try (from) {
            while (take(from)) {
                from.getOutputStream().write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".getBytes());
            }
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    static Thread start(Runnable work) {
        Thread thread = new Thread(work);
        thread.start();
        return thread;
    }

    public static void main(String[] arguments) throws Exception {
        File file = new File(arguments[0]);
        ServerSocket server = new ServerSocket(0, 256, InetAddress.getLoopbackAddress());
        Thread accepting = start(() -> {
            try {
                while (true) {
                    Socket from = server.accept();
                    start(() -> serve(from));
                }
            } catch (IOException closed) {
                // The end.
            }
        });
        Thread[] workers = new Thread[WORKERS];
        for (int worker = 0; worker < WORKERS; worker++) {
            int number = worker;
            workers[worker] = start(() -> work(number, server.getLocalPort(), file));
        }
        String self = Long.toString(ProcessHandle.current().pid());
        while (!file.exists()) {
            new ProcessBuilder("jcmd", self, "Compiler.perfmap").redirectOutput(ProcessBuilder.Redirect.DISCARD).start().waitFor();
            Thread.sleep(1000);
        }
        for (Thread worker : workers) worker.join();
        server.close();
        accepting.join();
        new File("/tmp/perf-" + self + ".map").delete();
    }
}

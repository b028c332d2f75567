// A pool of threads with blocking sockets, one request at a time each: java Threads.java PORT. Asks NEXT (PORT/path), if
// set, with the same number.
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

public class Threads {
    private static final String NEXT = System.getenv("NEXT");

    public static void main(String[] args) throws IOException {
        ExecutorService pool = Executors.newFixedThreadPool(64);
        ServerSocket listener = new ServerSocket(Integer.parseInt(args[0]), 256, InetAddress.getLoopbackAddress());
        while (true) {
            Socket socket = listener.accept();
            pool.execute(() -> serve(socket));
        }
    }

    private static void serve(Socket accepted) {
        try (Socket socket = accepted) {
            InputStreamReader bytes = new InputStreamReader(socket.getInputStream(), StandardCharsets.ISO_8859_1);
            BufferedReader in = new BufferedReader(bytes);
            OutputStream out = socket.getOutputStream();
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String number = line.replaceAll(".*[?&]id=(\\d+).*", "$1");
                while (!line.isEmpty()) {
                    line = in.readLine();
                    if (line == null) {
                        return;
                    }
                }
                int status = NEXT == null ? 200 : askNext(number);
                String body = "java " + number + "\n";
                String head = "HTTP/1.1 " + status + " Answer\r\nContent-Type: text/plain\r\nContent-Length: ";
                out.write((head + body.length() + "\r\n\r\n" + body).getBytes(StandardCharsets.ISO_8859_1));
            }
        } catch (IOException error) {
            System.err.println("java: " + error);
        }
    }

    private static int askNext(String number) throws IOException {
        String[] next = NEXT.split("/", 2);
        URL url = new URL("http://127.0.0.1:" + next[0] + "/" + next[1] + "?id=" + number);
        HttpURLConnection connection = (HttpURLConnection) url.openConnection();
        int status = connection.getResponseCode();
        connection.getInputStream().readAllBytes();
        return status;
    }
}

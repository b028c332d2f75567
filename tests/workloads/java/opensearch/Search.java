import java.util.List;
import java.util.Map;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** A node of OpenSearch: Search FOLDER PORT TRANSPORT. */
public final class Search extends Node {
    private Search(Settings settings) {
        super(InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "clew"), List.of(Netty4Plugin.class), true);
    }

    public static void main(String[] args) throws Exception {
        Settings settings = Settings.builder()
                .put("path.home", args[0])
                .put("cluster.name", "clew")
                .put("discovery.type", "single-node")
                .put("network.host", "127.0.0.1")
                .put("http.port", args[1])
                .put("transport.port", args[2])
                .put("transport.type", "netty4")
                .put("http.type", "netty4")
                .put("node.store.allow_mmap", false)
                .put("bootstrap.system_call_filter", false)
                .put("cluster.routing.allocation.disk.threshold_enabled", false)
                .build();
        new Search(settings).start();
        Thread.currentThread().join();
    }
}

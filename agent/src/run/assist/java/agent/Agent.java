// What `clew run` hands to Java through JAVA_TOOL_OPTIONS, so that Clew knows for which inbound request a thread works.
//
// This class is of the oldest release there is, so that any Java can load it; the rest is for 17 and newer. It throws nothing at
// the program: where something is not as expected, nothing is changed.
package clew.hook;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.instrument.Instrumentation;

public final class Agent {
    private static final double OLDEST = 17;

    private Agent() {}

    public static void premain(String arguments, Instrumentation instrumentation) {
        try {
            if (Double.parseDouble(System.getProperty("java.specification.version")) >= OLDEST) {
                Class.forName("clew.hook.Install", true, new Apart())
                        .getMethod("into", Instrumentation.class)
                        .invoke(null, instrumentation);
            }
        } catch (Throwable error) {
            if (System.getenv("CLEW_HOOK_DEBUG") != null) {
                error.printStackTrace();
            }
        }
    }

    static byte[] bytes(String resource) throws IOException {
        try (InputStream in = Agent.class.getResourceAsStream(resource)) {
            if (in == null) {
                return null;
            }
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            byte[] piece = new byte[8192];
            for (int size = in.read(piece); size >= 0; size = in.read(piece)) {
                out.write(piece, 0, size);
            }
            return out.toByteArray();
        }
    }

    /** Loads what lies in the jar under a folder of its own, so that no class of it meets one of the program's. */
    private static final class Apart extends ClassLoader {
        Apart() {
            super(null);
        }

        @Override
        protected Class<?> findClass(String name) throws ClassNotFoundException {
            byte[] code;
            try {
                code = bytes("/clew/hook/apart/" + name.replace('.', '/') + ".class");
            } catch (IOException error) {
                throw new ClassNotFoundException(name, error);
            }
            if (code == null) {
                // `Agent` itself, and what belongs to Java but not to its base.
                return ClassLoader.getSystemClassLoader().loadClass(name);
            }
            return defineClass(name, code, 0, code.length);
        }
    }
}

// Puts the calls of `ClewHandOver` where tasks change hands and where sockets are read and written.
package clew.hook;

import java.io.InputStream;
import java.lang.instrument.ClassFileTransformer;
import java.lang.instrument.Instrumentation;
import java.lang.invoke.MethodHandles;
import java.security.ProtectionDomain;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassWriter;

public final class Install {
    /** The classes of what runs in the program, which all lie in this package. */
    private static final String[] RUNTIME = {
        "ClewHandOver", "ClewHandOver$States", "ClewHandOver$State", "ClewHandOver$Words",
        "ClewHandOver$Origins", "ClewHandOver$Entry", "ClewHandOver$Stripe",
    };

    private Install() {}

    /** Called by `Agent`. */
    public static void into(Instrumentation instrumentation) throws Throwable {
        Module base = Object.class.getModule();
        Set<Module> own = Set.of(Install.class.getModule());
        instrumentation.redefineModule(
                base, Set.of(), Map.of(), Map.of("java.util.concurrent", own), Set.of(), Map.of());
        MethodHandles.Lookup lookup =
                MethodHandles.privateLookupIn(java.util.concurrent.Executor.class, MethodHandles.lookup());
        Class<?> hook = null;
        for (String name : RUNTIME) {
            try (InputStream in = own(name)) {
                Class<?> defined = lookup.defineClass(in.readAllBytes());
                hook = hook == null ? defined : hook;
            }
        }
        Transformer transformer = new Transformer();
        // What transforms is loaded and has run before it is asked within others' code.
        transformer.change("java/util/TimerThread", bytesOf(Object.class));
        instrumentation.addTransformer(transformer, true);
        try {
            List<Class<?>> loaded = new ArrayList<>();
            for (String name : Rules.needed()) {
                loaded.add(Class.forName(name.replace('/', '.'), false, null));
            }
            for (Class<?> known : instrumentation.getAllLoadedClasses()) {
                String name = known.getName().replace('.', '/');
                if (Rules.concerns(name) && !loaded.contains(known) && instrumentation.isModifiableClass(known)) {
                    loaded.add(known);
                }
            }
            instrumentation.retransformClasses(loaded.toArray(new Class<?>[0]));
            if (transformer.failure != null) {
                throw transformer.failure;
            }
            Set<String> missing = Rules.missing(transformer.done);
            if (!missing.isEmpty()) {
                throw new IllegalStateException("not found: " + missing);
            }
            hook.getMethod("begin").invoke(null);
        } catch (Throwable error) {
            // What was changed calls what does nothing until it has begun.
            instrumentation.removeTransformer(transformer);
            throw error;
        }
    }

    private static InputStream own(String name) throws ClassNotFoundException {
        Class<?> agent = ClassLoader.getSystemClassLoader().loadClass("clew.hook.Agent");
        return agent.getResourceAsStream("/clew/hook/runtime/" + name + ".class");
    }

    private static byte[] bytesOf(Class<?> of) throws Exception {
        try (InputStream in = of.getResourceAsStream(of.getSimpleName() + ".class")) {
            return in.readAllBytes();
        }
    }

    /** Changes the classes that a rule concerns. */
    private static final class Transformer implements ClassFileTransformer {
        final Set<String> done = java.util.concurrent.ConcurrentHashMap.newKeySet();
        volatile Throwable failure;

        @Override
        public byte[] transform(
                Module module, ClassLoader loader, String name, Class<?> known, ProtectionDomain domain, byte[] code) {
            if (name == null || !Rules.concerns(name)) {
                return null;
            }
            try {
                return change(name, code);
            } catch (Throwable error) {
                failure = error;
                return null;
            }
        }

        byte[] change(String name, byte[] code) {
            ClassReader reader = new ClassReader(code);
            ClassWriter writer = new ClassWriter(reader, ClassWriter.COMPUTE_MAXS);
            Rules.Visitor visitor = new Rules.Visitor(writer, name);
            reader.accept(visitor, ClassReader.EXPAND_FRAMES);
            done.addAll(visitor.done);
            return visitor.done.isEmpty() ? null : writer.toByteArray();
        }
    }
}

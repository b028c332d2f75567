// For which inbound request a thread works, by numbers. Defined in `java.base`, in a package that every class may use.
//
// Each read of an accepted connection gives the thread that reads a new number; what the thread does afterwards, and what it hands
// to others, is done under it. Which request a number stands for is Clew's to know: the kernel side sees the number with the read.
// While a thread reads from a socket or writes to one its numbers stand in its words (`common/src/assist.rs`), at other times none.
package java.util.concurrent;

import java.io.FileDescriptor;
import java.io.IOException;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.DatagramChannel;
import java.util.concurrent.atomic.AtomicLong;
import jdk.internal.access.JavaIOFileDescriptorAccess;
import jdk.internal.access.SharedSecrets;
import sun.nio.ch.DirectBuffer;
import sun.nio.ch.Net;
import sun.nio.ch.SelChImpl;

public final class ClewHandOver {
    /** `MAGIC` and `BYTES` in `common/src/assist.rs`. */
    private static final long[] MAGIC = {0x65646f6e77656c63L, 0x51c7e08b9d3ac15eL};
    private static final int BYTES = 32;
    /** Offsets in the words: the number a thread writes under, the number it will go on with once it has read. */
    private static final int WRITES = 16;
    private static final int READS = 24;
    /** `JAVA` in `common/src/assist.rs`. */
    private static final long JAVA = 1L << 63;

    /** Nobody asked for what the thread does; `JAVA_NOBODY`. */
    private static final long NOBODY = 1;
    /** It is not known who did; `JAVA_UNKNOWN`. */
    private static final long UNKNOWN = 2;
    /** Numbers a thread takes at once. */
    private static final long BLOCK = 1L << 16;
    private static final AtomicLong BLOCKS = new AtomicLong(1);

    private static final int MOST_DESCRIPTORS = 1 << 20;
    /** By descriptor: whether it was accepted last. */
    private static volatile boolean[] accepted = new boolean[1024];

    private static final JavaIOFileDescriptorAccess DESCRIPTORS = SharedSecrets.getJavaIOFileDescriptorAccess();
    private static final Origins ORIGINS = new Origins();
    private static final ThreadLocal<State> STATES = new States();
    private static volatile boolean on;

    /** Words belong to threads of the kernel, also where those carry virtual ones. */
    private static ThreadLocal<Words> words;
    /** A socket that is connected to itself, and `write` of what sends on such: nobody waits there for another. */
    private static FileDescriptor self;
    private static MethodHandle send;
    /** What a thread of the kernel runs. */
    private static MethodHandle target;
    /** The socket lives as long as someone holds it. */
    private static DatagramChannel held;

    private ClewHandOver() {}

    /** Begins, if this Java has everything that is needed. */
    public static void begin() throws Throwable {
        ThreadLocal<Words> carried = new ThreadLocal<>();
        try {
            @SuppressWarnings("unchecked")
            ThreadLocal<Words> carriers = (ThreadLocal<Words>) Class.forName("jdk.internal.misc.CarrierThreadLocal")
                    .getConstructor()
                    .newInstance();
            carried = carriers;
        } catch (ClassNotFoundException error) {
            // Without virtual threads every thread is the kernel's.
        }
        DatagramChannel channel = DatagramChannel.open(java.net.StandardProtocolFamily.INET);
        channel.configureBlocking(false);
        channel.bind(new InetSocketAddress(InetAddress.getByAddress(new byte[] {127, 0, 0, 1}), 0));
        channel.connect(channel.getLocalAddress());
        held = channel;
        self = ((SelChImpl) channel).getFD();
        Class<?> dispatcher = Class.forName("sun.nio.ch.DatagramDispatcher");
        MethodHandles.Lookup lookup = MethodHandles.privateLookupIn(dispatcher, MethodHandles.lookup());
        Object made = lookup.findConstructor(dispatcher, MethodType.methodType(void.class)).invoke();
        MethodType write = MethodType.methodType(int.class, FileDescriptor.class, long.class, int.class);
        send = lookup.findVirtual(dispatcher, "write", write).bindTo(made);
        target = target();
        words = carried;
        // Everything is loaded before it is needed within others' code.
        Words own = words();
        Object task = new Object();
        ORIGINS.put(task, UNKNOWN);
        end(begin(task));
        fire(task);
        if (own != null) {
            own.clear();
        }
        state().current = NOBODY;
        state().depth = 0;
        on = true;
    }

    /** Reads what a thread runs: a field of the thread, since 19 of one behind it. */
    private static MethodHandle target() throws ReflectiveOperationException {
        MethodHandles.Lookup lookup = MethodHandles.privateLookupIn(Thread.class, MethodHandles.lookup());
        try {
            return lookup.findGetter(Thread.class, "target", Runnable.class);
        } catch (NoSuchFieldException error) {
            Class<?> holder = Class.forName("java.lang.Thread$FieldHolder");
            MethodHandle behind = lookup.findGetter(Thread.class, "holder", holder);
            return MethodHandles.filterReturnValue(behind, lookup.findGetter(holder, "task", Runnable.class));
        }
    }

    // Sockets.

    /** Accepts as `Net` does. */
    public static int accept(FileDescriptor listener, FileDescriptor taken, InetSocketAddress[] from) throws IOException {
        int result = Net.accept(listener, taken, from);
        if (result > 0) {
            mark(DESCRIPTORS.get(taken), true);
        }
        return result;
    }

    /** A connection was accepted by other code than Java's. */
    public static void accepted(int descriptor) {
        mark(descriptor, true);
    }

    /** `descriptor` is being connected. */
    public static void connecting(FileDescriptor descriptor) {
        connecting(DESCRIPTORS.get(descriptor));
    }

    public static void connecting(int descriptor) {
        mark(descriptor, false);
    }

    private static void mark(int descriptor, boolean value) {
        boolean[] known = accepted;
        if (descriptor >= 0 && descriptor < known.length) {
            known[descriptor] = value;
        } else if (descriptor >= 0 && descriptor < MOST_DESCRIPTORS && value) {
            synchronized (ORIGINS) {
                if (descriptor >= accepted.length) {
                    accepted = java.util.Arrays.copyOf(accepted, Integer.highestOneBit(descriptor) << 1);
                }
                accepted[descriptor] = true;
            }
        }
    }

    private static boolean isAccepted(int descriptor) {
        boolean[] known = accepted;
        return descriptor >= 0 && descriptor < known.length && known[descriptor];
    }

    /** The thread is about to read. */
    public static void reading(FileDescriptor descriptor) {
        reading(DESCRIPTORS.get(descriptor));
    }

    public static void reading(int descriptor) {
        if (!on) {
            return;
        }
        State state = state();
        Words words = words();
        if (words != null) {
            long next = isAccepted(descriptor) ? state.next() : state.current;
            words.set(state.current, next);
        }
    }

    /** The thread has read, or could not. */
    public static void read(long size, FileDescriptor descriptor) {
        arrived(size, DESCRIPTORS.get(descriptor));
    }

    /** As both others, of other code than Java's, which never waits. */
    public static void read(long size, int descriptor) {
        arrived(size, descriptor);
        readAtOnce(size, descriptor);
    }

    private static void arrived(long size, int descriptor) {
        if (!on) {
            return;
        }
        Words words = words();
        if (words != null) {
            words.clear();
        }
        if (size > 0 && isAccepted(descriptor)) {
            State state = state();
            boolean one = state.one || state.depth > 0;
            state.current = one ? state.next() : UNKNOWN;
            state.own = one;
            state.spent();
        }
    }

    /** The thread has read from a connection that it did not wait for. */
    public static void readAtOnce(long size, FileDescriptor descriptor, boolean blocking) {
        if (!blocking) {
            readAtOnce(size, DESCRIPTORS.get(descriptor));
        }
    }

    private static void readAtOnce(long size, int descriptor) {
        if (on && size > 0 && !isAccepted(descriptor)) {
            // Whoever asked is known to whom the answer is handed.
            State state = state();
            state.current = UNKNOWN;
        }
    }

    /** The thread is about to write. */
    public static void writing() {
        if (!on) {
            return;
        }
        Words words = words();
        if (words != null) {
            long current = state().current;
            words.set(current, current);
        }
    }

    /** The thread has written, or could not. */
    public static void wrote() {
        if (!on) {
            return;
        }
        Words words = words();
        if (words != null) {
            words.clear();
        }
    }

    // Tasks.

    /** The thread hands `task` over. */
    public static void give(Object task) {
        if (on && task != null) {
            ORIGINS.put(task, state().current);
        }
    }

    /** As {@link #give}, whoever handed it over before. */
    public static void bind(Object task) {
        if (on && task != null) {
            ORIGINS.take(task);
            ORIGINS.put(task, state().current);
        }
    }

    /** The thread runs `task` in the place of the code that would. */
    public static void run(Runnable task) {
        long saved = begin(task);
        try {
            task.run();
        } finally {
            end(saved);
        }
    }

    /** The thread begins what it was handed; what it did before is for {@link #end}. */
    public static long begin(Object task) {
        State state = state();
        long saved = state.saved();
        long origin = ORIGINS.take(task);
        state.begin(origin);
        return saved;
    }

    /** As {@link #begin}, of what may begin again. */
    public static long fire(Object task) {
        State state = state();
        long saved = state.saved();
        long origin = ORIGINS.peek(task);
        if (origin == 0) {
            state.depth++;
        } else {
            state.begin(origin);
        }
        return saved;
    }

    /** Ends what {@link #fire} began. What will not run again is forgotten. */
    public static void fired(long saved, Object task) {
        end(saved);
        if (!((CompletableFuture.Completion) task).isLive()) {
            ORIGINS.take(task);
        }
    }

    public static void end(long saved) {
        state().end(saved);
    }

    /** The thread goes on for whom `task` is, until {@link #end}. */
    public static void follow(Object task) {
        if (on) {
            long origin = ORIGINS.peek(task);
            State state = state();
            state.current = origin == 0 ? UNKNOWN : origin;
            state.own = false;
        }
    }

    /** The current thread's work, to be restored by {@link #end}. */
    public static long hold() {
        State state = state();
        state.depth++;
        return state.saved();
    }

    /** As {@link #hold}, and who asked for what is done meanwhile is not known. */
    public static long doubt() {
        long saved = hold();
        state().current = UNKNOWN;
        return saved;
    }

    /** The thread took something out of a queue. */
    public static void took(Object taken) {
        if (on && taken != null) {
            State state = state();
            if (!state.own || state.depth == 0) {
                state.current = UNKNOWN;
            }
        }
    }

    /** The thread took something out of a queue that {@link #give} saw it put into. */
    public static void unpacked(Object taken) {
        if (on && taken != null) {
            long origin = ORIGINS.take(taken);
            State state = state();
            state.current = origin == 0 ? UNKNOWN : origin;
            state.own = false;
        }
    }

    /** The thread waits for something that does not say what it is. */
    public static void waits() {
        if (on) {
            State state = STATES.get();
            if (state.depth == 0) {
                state.current = UNKNOWN;
            }
        }
    }

    /** The thread waits for many things. */
    public static void selects() {
        if (on) {
            state().current = UNKNOWN;
        }
    }

    private static State state() {
        return STATES.get();
    }

    private static Words words() {
        Words own = words.get();
        if (own == null) {
            own = new Words();
            words.set(own);
        }
        if (!own.told) {
            own.tell();
        }
        return own.told ? own : null;
    }

    private static final class States extends ThreadLocal<State> {
        @Override
        protected State initialValue() {
            return new State(Thread.currentThread());
        }
    }

    /** What a thread does. */
    private static final class State {
        long current;
        /** Frames of tasks. */
        int depth;
        /** It read what it works for itself. */
        boolean own;
        /** The thread does one thing, or one after the other that it reads itself: it is no worker of a pool. */
        final boolean one;
        private long next;
        private long end;

        State(Thread thread) {
            long origin = ORIGINS.take(thread);
            // A virtual thread is made for one thing.
            boolean virtual = thread.getClass().getName().equals("java.lang.VirtualThread");
            one = virtual || isPlain(thread);
            current = !one ? UNKNOWN : origin == 0 ? NOBODY : origin;
            depth = virtual ? 1 : 0;
        }

        /** Whether what the thread runs is a function: the workers of pools are objects of classes that have a name. */
        private static boolean isPlain(Thread thread) {
            if (thread.getClass() != Thread.class || target == null) {
                return false;
            }
            try {
                Object task = target.invoke(thread);
                return task == null || task instanceof FutureTask || task.getClass().isHidden();
            } catch (Throwable error) {
                return false;
            }
        }

        /** The number the thread goes on with once it has read. */
        long next() {
            if (next == end) {
                next = BLOCKS.getAndIncrement() * BLOCK;
                end = next + BLOCK;
            }
            return next;
        }

        void spent() {
            next++;
        }

        long saved() {
            return current << 1 | (own ? 1 : 0);
        }

        void begin(long origin) {
            depth++;
            current = origin == 0 ? UNKNOWN : origin;
            own = false;
        }

        void end(long saved) {
            depth--;
            current = saved >>> 1;
            own = (saved & 1) != 0;
        }
    }

    /** What the kernel side reads of a thread. Memory of its own, which does not move. */
    private static final class Words {
        final ByteBuffer memory = ByteBuffer.allocateDirect(BYTES).order(ByteOrder.nativeOrder());
        boolean told;

        Words() {
            memory.putLong(0, MAGIC[0]);
            memory.putLong(8, MAGIC[1]);
            clear();
        }

        void set(long writes, long reads) {
            memory.putLong(WRITES, writes);
            memory.putLong(READS, JAVA | reads);
        }

        void clear() {
            memory.putLong(WRITES, 0);
            memory.putLong(READS, JAVA);
        }

        /** Sends the words from where they lie, in a datagram to oneself. Nothing of it waits. */
        void tell() {
            try {
                told = (int) send.invokeExact(self, ((DirectBuffer) memory).address(), BYTES) == BYTES;
            } catch (Throwable error) {
                // What this thread does is not told.
            }
        }
    }

    /** Who handed what over. Does not keep what was handed from being collected. */
    private static final class Origins {
        private static final int STRIPES = 64;
        private final Stripe[] stripes = new Stripe[STRIPES];

        Origins() {
            for (int at = 0; at < STRIPES; at++) {
                stripes[at] = new Stripe();
            }
        }

        void put(Object task, long origin) {
            int hash = hash(task);
            stripes[hash & STRIPES - 1].put(task, hash >>> 6, origin);
        }

        long take(Object task) {
            int hash = hash(task);
            return stripes[hash & STRIPES - 1].get(task, hash >>> 6, true);
        }

        long peek(Object task) {
            int hash = hash(task);
            return stripes[hash & STRIPES - 1].get(task, hash >>> 6, false);
        }

        private static int hash(Object task) {
            int hash = System.identityHashCode(task) * 0x9E3779B9;
            return hash ^ hash >>> 15;
        }
    }

    private static final class Entry extends WeakReference<Object> {
        final int hash;
        long origin;
        /** How often it was handed over and not begun. */
        int times = 1;
        Entry next;

        Entry(Object task, int hash, long origin, Entry next, ReferenceQueue<Object> gone) {
            super(task, gone);
            this.hash = hash;
            this.origin = origin;
            this.next = next;
        }
    }

    private static final class Stripe {
        private final ReferenceQueue<Object> gone = new ReferenceQueue<>();
        private Entry[] table = new Entry[64];
        private int size;

        synchronized void put(Object task, int hash, long origin) {
            purge();
            int at = hash & table.length - 1;
            for (Entry entry = table[at]; entry != null; entry = entry.next) {
                if (entry.hash == hash && entry.refersTo(task)) {
                    entry.times++;
                    if (entry.origin != origin) {
                        entry.origin = UNKNOWN;
                    }
                    return;
                }
            }
            table[at] = new Entry(task, hash, origin, table[at], gone);
            if (++size > table.length) {
                grow();
            }
        }

        synchronized long get(Object task, int hash, boolean take) {
            Entry before = null;
            int at = hash & table.length - 1;
            for (Entry entry = table[at]; entry != null; before = entry, entry = entry.next) {
                if (entry.hash == hash && entry.refersTo(task)) {
                    if (take && --entry.times == 0) {
                        unlink(at, before, entry);
                    }
                    return entry.origin;
                }
            }
            return 0;
        }

        private void purge() {
            for (Object old = gone.poll(); old != null; old = gone.poll()) {
                Entry lost = (Entry) old;
                int at = lost.hash & table.length - 1;
                Entry before = null;
                for (Entry entry = table[at]; entry != null; before = entry, entry = entry.next) {
                    if (entry == lost) {
                        unlink(at, before, entry);
                        break;
                    }
                }
            }
        }

        private void unlink(int at, Entry before, Entry entry) {
            if (before == null) {
                table[at] = entry.next;
            } else {
                before.next = entry.next;
            }
            size--;
        }

        private void grow() {
            Entry[] old = table;
            table = new Entry[old.length * 2];
            for (Entry chain : old) {
                while (chain != null) {
                    Entry next = chain.next;
                    int at = chain.hash & table.length - 1;
                    chain.next = table[at];
                    table[at] = chain;
                    chain = next;
                }
            }
        }
    }
}

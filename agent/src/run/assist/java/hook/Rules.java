// Which methods are changed, and how.
package clew.hook;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.Label;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.Type;
import org.objectweb.asm.commons.AdviceAdapter;
import org.objectweb.asm.commons.Method;

final class Rules {
    private static final Type HOOK = Type.getObjectType("java/util/concurrent/ClewHandOver");
    private static final String DESCRIPTOR = "Ljava/io/FileDescriptor;";

    /** What is done to a method. */
    private enum Change {
        /** Its object is handed over. */
        GIVES_THIS,
        /** Its first argument that is an object is handed over. */
        GIVES_ARGUMENT,
        /** It runs what it was handed, by `Runnable.run` or `TimerTask.run`. */
        RUNS,
        /** Its object is what was handed over, and runs now. */
        BEGINS,
        /** As `BEGINS`, and may run again. */
        FIRES,
        /** As `FIRES`, of an object that does not say when it is done with. */
        ACTS,
        /** As `ACTS`, and what its first argument does is for the same. */
        BINDS,
        /** It goes on for whom its object was handed over, within what `HOLDS`. */
        FOLLOWS,
        /** What the thread works for is as before when it is over. */
        HOLDS,
        /** As `HOLDS`, and whom it is done for is not known. */
        DOUBTS,
        /** It gives what it takes out of a queue. */
        TAKES,
        /** It gives what it takes out of a queue, which was handed over when it was put there. */
        UNPACKS,
        /** It waits. */
        WAITS,
        /** It waits for many things. */
        SELECTS,
        /** It reads from the socket of its first argument. */
        READS,
        /** It writes to a socket. */
        WRITES,
        /** It accepts connections, by `Net.accept`. */
        ACCEPTS,
        /** It connects the socket of its first argument that is a descriptor. */
        CONNECTS,
        /** It reads from the socket of its object, perhaps without waiting. */
        READS_CHANNEL,
        /** It reads from the socket of its object, whose number `intValue` is, without waiting. */
        READS_NUMBER,
        /** It accepts a connection, and gives the number of its socket. */
        ACCEPTS_NUMBER,
        /** It connects the socket of its object, whose number `intValue` is. */
        CONNECTS_NUMBER,
    }

    /** A change of the methods of a class, or of several whose names begin alike. */
    private record Rule(String owner, String method, String descriptor, Change change, boolean needed) {
        boolean isOf(String name) {
            if (owner.startsWith("*")) {
                return name.endsWith(owner.substring(1));
            }
            return owner.endsWith("*") ? name.startsWith(owner.substring(0, owner.length() - 1)) : owner.equals(name);
        }

        boolean isFor(String name, String type) {
            return name.equals(method) && (descriptor == null || type.startsWith(descriptor));
        }
    }

    private static final List<Rule> RULES = new ArrayList<>();

    private static void needs(String owner, String method, String descriptor, Change change) {
        RULES.add(new Rule(owner, method, descriptor, change, true));
    }

    private static void also(String owner, String method, String descriptor, Change change) {
        RULES.add(new Rule(owner, method, descriptor, change, false));
    }

    static {
        String dispatcher = "sun/nio/ch/SocketDispatcher";
        needs(dispatcher, "read", null, Change.READS);
        needs(dispatcher, "readv", null, Change.READS);
        needs(dispatcher, "write", null, Change.WRITES);
        needs(dispatcher, "writev", null, Change.WRITES);
        // What is logged.
        also("java/io/FileOutputStream", "write", "([BII)", Change.WRITES);
        needs("sun/nio/ch/NioSocketImpl", null, null, Change.ACCEPTS);
        needs("sun/nio/ch/ServerSocketChannelImpl", null, null, Change.ACCEPTS);
        needs("sun/nio/ch/Net", "connect", null, Change.CONNECTS);
        needs("sun/nio/ch/SocketChannelImpl", "read", null, Change.READS_CHANNEL);
        needs("sun/nio/ch/SelectorImpl", "lockAndDoSelect", null, Change.SELECTS);
        needs("java/util/concurrent/locks/LockSupport", "park", "()", Change.WAITS);
        needs("java/util/concurrent/locks/LockSupport", "parkNanos", "(J)", Change.WAITS);

        needs("java/lang/Thread", "start", null, Change.GIVES_THIS);
        also("java/lang/VirtualThread", "start", "(L", Change.GIVES_THIS);

        String pool = "java/util/concurrent/ThreadPoolExecutor";
        needs(pool, "execute", null, Change.GIVES_ARGUMENT);
        needs(pool, "runWorker", null, Change.RUNS);
        String scheduled = "java/util/concurrent/ScheduledThreadPoolExecutor";
        needs(scheduled, "delayedExecute", null, Change.GIVES_ARGUMENT);
        needs(scheduled, "reExecutePeriodic", null, Change.GIVES_ARGUMENT);
        needs("java/util/Timer", "sched", null, Change.GIVES_ARGUMENT);
        needs("java/util/TimerThread", "mainLoop", null, Change.RUNS);
        // Tomcat's is one of its own.
        String tomcat = "org/apache/tomcat/util/threads/ThreadPoolExecutor";
        also(tomcat, "execute", "(Ljava/lang/Runnable;)", Change.GIVES_ARGUMENT);
        also(tomcat, "executeInternal", "(Ljava/lang/Runnable;)", Change.GIVES_ARGUMENT);
        also(tomcat, "runWorker", null, Change.RUNS);

        // Jetty's.
        String jetty = "org/eclipse/jetty/util/thread/";
        also(jetty + "QueuedThreadPool", "execute", null, Change.GIVES_ARGUMENT);
        also(jetty + "QueuedThreadPool", "runJob", null, Change.RUNS);
        also(jetty + "ReservedThreadExecutor$ReservedThread", "run", null, Change.RUNS);
        // Netty's loops, also where a library carries them under a name of its own: one channel or one task after the other.
        also("*io/netty/channel/nio/NioEventLoop", "processSelectedKey", null, Change.HOLDS);
        also("*io/netty/channel/nio/NioIoHandler", "processSelectedKey", null, Change.HOLDS);
        also("*io/netty/util/concurrent/SingleThreadEventExecutor", "execute", "(Ljava/lang/Runnable;)", Change.GIVES_ARGUMENT);
        also("*io/netty/util/concurrent/SingleThreadEventExecutor", "lazyExecute", "(Ljava/lang/Runnable;)", Change.GIVES_ARGUMENT);
        also("*io/netty/util/concurrent/AbstractScheduledEventExecutor", "schedule", "(Lio/netty/util/concurrent/ScheduledFutureTask;", Change.GIVES_ARGUMENT);
        also("*io/netty/util/concurrent/AbstractEventExecutor", "runTask", null, Change.RUNS);
        also("*io/netty/util/concurrent/AbstractEventExecutor", "safeExecute", null, Change.RUNS);
        // Its own binding of epoll, whose sockets are not Java's.
        String epoll = "*io/netty/channel/epoll/";
        also(epoll + "AbstractEpollStreamChannel$EpollStreamUnsafe", "epollInReady", null, Change.HOLDS);
        also(epoll + "AbstractEpollChannel$AbstractEpollUnsafe", "epollOutReady", null, Change.HOLDS);
        for (String loop : new String[] {"EpollEventLoop", "EpollIoHandler"}) {
            for (String method : new String[] {"epollWait", "epollWaitNoTimerChange", "epollWaitTimeboxed", "epollBusyWait"}) {
                also(epoll + loop, method, null, Change.SELECTS);
            }
        }
        String descriptor = "*io/netty/channel/unix/FileDescriptor";
        String socket = "*io/netty/channel/unix/Socket";
        for (String address : new String[] {"", "Address"}) {
            also(descriptor, "read" + address, null, Change.READS_NUMBER);
            also(socket, "recv" + address, null, Change.READS_NUMBER);
            also(descriptor, "write" + address, null, Change.WRITES);
            also(socket, "send" + address, null, Change.WRITES);
        }
        also(descriptor, "writev", null, Change.WRITES);
        also(descriptor, "writevAddresses", null, Change.WRITES);
        also(socket, "accept", null, Change.ACCEPTS_NUMBER);
        also(socket, "connect", null, Change.CONNECTS_NUMBER);
        // Pools of connections that serve whoever waits when somebody else is done.
        also("*reactor/pool/SimpleDequePool", "drainLoop", null, Change.DOUBTS);
        String borrower = "*reactor/pool/AbstractPool$Borrower";
        also(borrower, "<init>", null, Change.GIVES_THIS);
        also(borrower, "deliver", null, Change.ACTS);
        also(borrower, "fail", null, Change.ACTS);
        // Reactor Netty makes an object for each exchange when it has a connection, and tells it what comes.
        String operations = "reactor/netty/channel/ChannelOperations";
        also(operations, "<init>", null, Change.GIVES_THIS);
        for (String of : new String[] {operations, "reactor/netty/http/client/HttpClientOperations", "reactor/netty/http/server/HttpServerOperations"}) {
            for (String told : new String[] {"onInboundNext", "onInboundComplete", "onInboundClose", "onInboundError", "onOutboundComplete", "onOutboundError"}) {
                also(of, told, null, Change.ACTS);
            }
        }
        // For a new connection it is made before it is known whose; the observers are made by whoever asks.
        String observer = "reactor/netty/http/client/HttpClientConnect$Http";
        for (String of : new String[] {"IOHandlerObserver", "Observer"}) {
            also(observer + of, "<init>", null, Change.GIVES_THIS);
        }
        also(observer + "IOHandlerObserver", "onStateChange", null, Change.BINDS);
        also(observer + "Observer", "onUncaughtException", null, Change.ACTS);
        // A request that waited behind another on its connection.
        also("reactor/netty/http/server/HttpTrafficHandler", "run", null, Change.DOUBTS);
        // Reactor's queues: whoever empties one does it for all who filled it.
        for (String queue : new String[] {"SpscArrayQueue", "SpscLinkedArrayQueue", "MpscLinkedQueue", "Queues$OneQueue"}) {
            also("reactor/util/concurrent/" + queue, "offer", null, Change.GIVES_ARGUMENT);
            also("reactor/util/concurrent/" + queue, "poll", null, Change.UNPACKS);
        }
        also("*io/netty/channel/pool/FixedChannelPool", "runTaskQueue", null, Change.DOUBTS);
        // What was made for one and is started by another is for nobody that is known.
        also("okhttp3/RealCall$AsyncCall", "<init>", null, Change.GIVES_THIS);
        also("okhttp3/internal/connection/RealCall$AsyncCall", "<init>", null, Change.GIVES_THIS);
        // What many wait for goes on for each of them, whoever completes it.
        String publisher = "reactor/core/publisher/";
        for (String waits : new String[] {
            "NextProcessor$NextInner", "SinkOneMulticast$NextInner", "SinkEmptyMulticast$VoidInner",
            "MonoCacheTime$CacheMonoSubscriber", "MonoCacheInvalidateIf$CacheMonoSubscriber",
            "MonoCacheInvalidateWhen$CacheMonoSubscriber"
        }) {
            also(publisher + waits, "<init>", null, Change.GIVES_THIS);
            for (String told : new String[] {"complete", "onComplete", "error", "onError"}) {
                also(publisher + waits, told, null, Change.ACTS);
            }
        }
        for (String told : new String[] {"complete", "onComplete", "onError"}) {
            also(publisher + "Operators$MonoSubscriber", told, null, Change.ACTS);
            also(publisher + "Operators$MonoInnerProducerBase", told, null, Change.ACTS);
        }

        String fork = "java/util/concurrent/ForkJoinTask";
        needs(fork, "fork", null, Change.GIVES_THIS);
        needs(fork, "invoke", null, Change.GIVES_THIS);
        needs(fork, "invokeAll", "(Ljava/util/concurrent/ForkJoinTask;", Change.GIVES_ARGUMENT);
        needs(fork, "doExec", null, Change.BEGINS);
        String forks = "java/util/concurrent/ForkJoinPool";
        also(forks, "externalPush", null, Change.GIVES_ARGUMENT);
        also(forks, "externalSubmit", null, Change.GIVES_ARGUMENT);
        also(forks, "poolSubmit", null, Change.GIVES_ARGUMENT);
        also("java/util/concurrent/DelayScheduler$ScheduledForkJoinTask", "<init>", null, Change.GIVES_THIS);
        // What depends on a future belongs to whoever said so, whichever thread completes it.
        needs("java/util/concurrent/CompletableFuture$Completion", "<init>", null, Change.GIVES_THIS);
        also("java/util/concurrent/CompletableFuture$*", "tryFire", "(I)", Change.FIRES);

        // An exchange of the JDK's client is made for whoever sends the request, and written by any thread.
        String exchange = "jdk/internal/net/http/Http1Exchange";
        also(exchange, "<init>", null, Change.GIVES_THIS);
        also(exchange, "getOutgoing", null, Change.FOLLOWS);
        also(exchange + "$Http1Publisher$WriteTask", "run", null, Change.HOLDS);

        for (String queue : new String[] {
            "LinkedBlockingQueue", "ArrayBlockingQueue", "LinkedBlockingDeque", "PriorityBlockingQueue", "DelayQueue",
            "SynchronousQueue", "LinkedTransferQueue"
        }) {
            for (String method : new String[] {"take", "poll", "takeFirst", "takeLast", "pollFirst", "pollLast"}) {
                also("java/util/concurrent/" + queue, method, null, Change.TAKES);
            }
        }
    }

    private Rules() {}

    static boolean concerns(String name) {
        for (Rule rule : RULES) {
            if (rule.isOf(name)) {
                return true;
            }
        }
        return false;
    }

    /** The classes that have to be changed. */
    static Set<String> needed() {
        Set<String> names = new LinkedHashSet<>();
        for (Rule rule : RULES) {
            if (rule.needed && !rule.owner.endsWith("*")) {
                names.add(rule.owner);
            }
        }
        return names;
    }

    /** What has to be changed and was not. */
    static Set<String> missing(Set<String> done) {
        Set<String> names = new HashSet<>();
        for (Rule rule : RULES) {
            if (rule.needed && !done.contains(rule.owner + rule.method)) {
                names.add(rule.owner + "." + rule.method);
            }
        }
        return names;
    }

    /** Changes a class. */
    static final class Visitor extends ClassVisitor {
        final Set<String> done = new HashSet<>();
        private final String owner;

        Visitor(ClassVisitor next, String owner) {
            super(Opcodes.ASM9, next);
            this.owner = owner;
        }

        @Override
        public MethodVisitor visitMethod(
                int access, String name, String descriptor, String signature, String[] exceptions) {
            MethodVisitor visitor = super.visitMethod(access, name, descriptor, signature, exceptions);
            if ((access & (Opcodes.ACC_ABSTRACT | Opcodes.ACC_NATIVE)) != 0) {
                return visitor;
            }
            for (Rule rule : RULES) {
                if (!rule.isOf(owner)) {
                    continue;
                }
                if (rule.change == Change.ACCEPTS) {
                    visitor = new Calls(visitor, rule, done);
                } else if (rule.isFor(name, descriptor)) {
                    boolean calls = rule.change == Change.RUNS;
                    if (!calls) {
                        done.add(rule.owner + rule.method);
                    }
                    visitor = calls
                            ? new Calls(visitor, rule, done)
                            : new Body(visitor, access, name, descriptor, owner, rule.change);
                }
            }
            return visitor;
        }
    }

    /** Puts calls of the hook in the place of others. */
    private static final class Calls extends MethodVisitor {
        private final Rule rule;
        private final Set<String> done;

        Calls(MethodVisitor next, Rule rule, Set<String> done) {
            super(Opcodes.ASM9, next);
            this.rule = rule;
            this.done = done;
        }

        @Override
        public void visitMethodInsn(int opcode, String owner, String name, String descriptor, boolean isInterface) {
            String call = owner + "." + name + descriptor;
            boolean runs = call.equals("java/lang/Runnable.run()V") || call.equals("java/util/TimerTask.run()V");
            boolean accepts = owner.equals("sun/nio/ch/Net") && name.equals("accept");
            if (rule.change == Change.RUNS && runs) {
                visit("run", "(Ljava/lang/Runnable;)V");
            } else if (rule.change == Change.ACCEPTS && accepts) {
                visit("accept", descriptor);
            } else {
                super.visitMethodInsn(opcode, owner, name, descriptor, isInterface);
            }
        }

        private void visit(String method, String descriptor) {
            super.visitMethodInsn(Opcodes.INVOKESTATIC, HOOK.getInternalName(), method, descriptor, false);
            done.add(rule.owner + rule.method);
        }
    }

    /** Puts calls of the hook at a method's beginning and its ends. */
    private static final class Body extends AdviceAdapter {
        private final Change change;
        private final String owner;
        private final boolean isStatic;
        private final Label start = new Label();
        private final Label handler = new Label();
        private int saved;

        Body(MethodVisitor next, int access, String name, String descriptor, String owner, Change change) {
            super(Opcodes.ASM9, next, access, name, descriptor);
            this.change = change;
            this.owner = owner;
            this.isStatic = (access & Opcodes.ACC_STATIC) != 0;
        }

        @Override
        protected void onMethodEnter() {
            switch (change) {
                case GIVES_THIS:
                    if (!getName().equals("<init>")) {
                        loadThis();
                        call("give", "(Ljava/lang/Object;)V");
                    }
                    break;
                case GIVES_ARGUMENT:
                    loadArg(first(null));
                    call("give", "(Ljava/lang/Object;)V");
                    break;
                case WAITS:
                    call("waits", "()V");
                    break;
                case SELECTS:
                    call("selects", "()V");
                    break;
                case CONNECTS:
                    loadArg(first(DESCRIPTOR));
                    call("connecting", "(" + DESCRIPTOR + ")V");
                    break;
                case READS:
                    loadArg(0);
                    call("reading", "(" + DESCRIPTOR + ")V");
                    break;
                case WRITES:
                    call("writing", "()V");
                    break;
                case READS_NUMBER:
                    number();
                    call("reading", "(I)V");
                    break;
                case CONNECTS_NUMBER:
                    number();
                    call("connecting", "(I)V");
                    break;
                case BEGINS:
                case FIRES:
                case ACTS:
                case BINDS:
                    saved = newLocal(Type.LONG_TYPE);
                    loadThis();
                    call(change == Change.BEGINS ? "begin" : "fire", "(Ljava/lang/Object;)J");
                    storeLocal(saved);
                    if (change == Change.BINDS) {
                        loadArg(first(null));
                        call("bind", "(Ljava/lang/Object;)V");
                    }
                    break;
                case FOLLOWS:
                    loadThis();
                    call("follow", "(Ljava/lang/Object;)V");
                    break;
                case HOLDS:
                case DOUBTS:
                    saved = newLocal(Type.LONG_TYPE);
                    call(change == Change.DOUBTS ? "doubt" : "hold", "()J");
                    storeLocal(saved);
                    break;
                default:
                    break;
            }
            if (isGuarded()) {
                mark(start);
            }
        }

        @Override
        protected void onMethodExit(int opcode) {
            if (opcode == ATHROW) {
                // The handler is there for what is thrown.
                return;
            }
            switch (change) {
                case GIVES_THIS:
                    if (getName().equals("<init>")) {
                        loadThis();
                        call("give", "(Ljava/lang/Object;)V");
                    }
                    break;
                case TAKES:
                    if (opcode == ARETURN) {
                        dup();
                        call("took", "(Ljava/lang/Object;)V");
                    }
                    break;
                case UNPACKS:
                    dup();
                    call("unpacked", "(Ljava/lang/Object;)V");
                    break;
                case READS:
                    size(opcode);
                    loadArg(0);
                    call("read", "(J" + DESCRIPTOR + ")V");
                    break;
                case READS_NUMBER:
                    size(opcode);
                    number();
                    call("read", "(JI)V");
                    break;
                case ACCEPTS_NUMBER:
                    dup();
                    call("accepted", "(I)V");
                    break;
                case READS_CHANNEL:
                    size(opcode);
                    loadThis();
                    getField(Type.getObjectType(owner), "fd", Type.getType(DESCRIPTOR));
                    loadThis();
                    invokeVirtual(Type.getObjectType(owner), new Method("isBlocking", "()Z"));
                    call("readAtOnce", "(J" + DESCRIPTOR + "Z)V");
                    break;
                default:
                    over();
            }
        }

        @Override
        public void visitMaxs(int stack, int locals) {
            if (isGuarded()) {
                Label end = mark();
                visitTryCatchBlock(start, end, handler, null);
                mark(handler);
                visitFrame(F_NEW, parameters().length, parameters(), 1, new Object[] {"java/lang/Throwable"});
                if (change == Change.READS) {
                    push(0L);
                    loadArg(0);
                    call("read", "(J" + DESCRIPTOR + ")V");
                } else if (change == Change.READS_NUMBER) {
                    push(0L);
                    number();
                    call("read", "(JI)V");
                } else {
                    over();
                }
                throwException();
            }
            super.visitMaxs(stack, locals);
        }

        private void over() {
            if (change == Change.WRITES) {
                call("wrote", "()V");
            } else if (change == Change.FIRES) {
                loadLocal(saved);
                loadThis();
                call("fired", "(JLjava/lang/Object;)V");
            } else if (change != Change.READS && change != Change.READS_NUMBER && isGuarded()) {
                loadLocal(saved);
                call("end", "(J)V");
            }
        }

        private boolean isGuarded() {
            return switch (change) {
                case READS, READS_NUMBER, WRITES, BEGINS, FIRES, ACTS, BINDS, HOLDS, DOUBTS -> true;
                default -> false;
            };
        }

        /** The number that is returned, again and as a long. */
        private void size(int opcode) {
            if (opcode == IRETURN) {
                dup();
                cast(Type.INT_TYPE, Type.LONG_TYPE);
            } else {
                dup2();
            }
        }

        /** The number of the object's socket. */
        private void number() {
            loadThis();
            invokeVirtual(Type.getObjectType(owner), new Method("intValue", "()I"));
        }

        private void call(String method, String descriptor) {
            invokeStatic(HOOK, new Method(method, descriptor));
        }

        /** The first argument of a type, or the first that is an object. */
        private int first(String type) {
            Type[] arguments = getArgumentTypes();
            for (int at = 0; at < arguments.length; at++) {
                boolean is = type == null ? arguments[at].getSort() == Type.OBJECT : arguments[at].getDescriptor().equals(type);
                if (is) {
                    return at;
                }
            }
            throw new IllegalStateException(owner + "." + getName() + " has no such argument");
        }

        /** The frame at the beginning of the method. */
        private Object[] parameters() {
            List<Object> types = new ArrayList<>();
            if (!isStatic) {
                types.add(owner);
            }
            for (Type type : getArgumentTypes()) {
                switch (type.getSort()) {
                    case Type.BOOLEAN: case Type.CHAR: case Type.BYTE: case Type.SHORT: case Type.INT:
                        types.add(INTEGER);
                        break;
                    case Type.FLOAT:
                        types.add(FLOAT);
                        break;
                    case Type.LONG:
                        types.add(LONG);
                        break;
                    case Type.DOUBLE:
                        types.add(DOUBLE);
                        break;
                    default:
                        types.add(type.getInternalName());
                }
            }
            return types.toArray();
        }
    }
}

// What `clew run` hands to Node.js through NODE_OPTIONS, so that Clew knows for which inbound request a request is sent.
//
// Each inbound HTTP/1 request has an id that Clew's kernel side knows as well: the connection's ports and address, and the
// offset in it up to which was read when the request's head was complete. Node carries the id along by itself
// (AsyncLocalStorage). While the head of an outbound request is written to its socket the id stands in `words`, where the
// kernel side reads it; at any other time there is none. `words` is told once a thread, in a datagram to oneself.
//
// A stream of HTTP/2 has an id by its number instead. What is asked for on such a connection leaves later, and with others: behind
// the words stands which context asked for which stream, and the kernel side reads it when the connection is written to.
//
// It changes no behavior, throws nothing at the program, and in a Node that lacks what it needs it does nothing. Its syntax
// is as old as the oldest Node that may be started.
'use strict';

(function () {
  /** The first 16 bytes of `words`; `MAGIC` in `common/src/assist.rs`. */
  const MAGIC = [0x77656c63, 0x65646f6e, 0x9d3ac15e, 0x51c7e08b];
  const LOW = 4;
  const HIGH = 5;
  const BYTES = 32;
  /** How many streams were asked for, and the last of them: connection, stream and context, 24 bytes each. */
  const COUNT = 6;
  const ASKED = 2048;
  const ASKED_WORDS = 6;

  /** On an inbound request and its response: its id. */
  const kInbound = Symbol('clew.inbound');
  /** On an outbound request: the id of the inbound request it is sent for. */
  const kCause = Symbol('clew.cause');
  /** On a socket of undici: the request whose head was written last. On one to a database: what is being asked. */
  const kRequest = Symbol('clew.request');
  /** On an outbound stream: it stands behind the words. */
  const kTold = Symbol('clew.told');
  /** On a socket or a session of HTTP/2: what its ids begin with. */
  const kOrigin = Symbol('clew.origin');

  /** The symbol under which undici's requests have their handler. */
  let handlerKey = Symbol('none');
  let AsyncResource;
  let words;
  let context;
  let hold;
  /** The request whose head undici is about to send, and its socket. */
  let sending;
  let asked = 0;
  const wrapped = new WeakSet();

  try {
    begin();
  } catch (error) {
    // A Node without one of the parts: its requests have no parent.
  }

  function begin() {
    const channels = require('diagnostics_channel');
    const hooks = require('async_hooks');
    const AsyncLocalStorage = hooks.AsyncLocalStorage;
    AsyncResource = hooks.AsyncResource;
    if (typeof AsyncLocalStorage !== 'function' || typeof AsyncLocalStorage.prototype.enterWith !== 'function') {
      return;
    }
    const net = require('net');
    const http = require('http');
    if (typeof net.Socket.prototype._writeGeneric !== 'function') {
      return;
    }
    context = new AsyncLocalStorage();
    // Memory of its own, which does not move: the bytes of a small typed array may lie within a heap that is compacted.
    words = new Uint32Array(new ArrayBuffer(BYTES + 4 * ASKED * ASKED_WORDS));
    words.set(MAGIC);
    tell();

    // A channel lives as long as someone holds it.
    hold = [
      listen(channels, 'http.server.request.start', inbound),
      listen(channels, 'http.client.request.created', (event) => cause(event.request)),
      listen(channels, 'http.client.request.start', (event) => cause(event.request)),
      listen(channels, 'undici:request:create', (event) => undici(event.request)),
      listen(channels, 'undici:client:sendHeaders', (event) => {
        event.socket[kRequest] = event.request;
        sending = event;
      }),
      listen(channels, 'http2.client.stream.created', (event) => ask(event.stream)),
    ];

    // Whoever makes a request gives it to the agent there and then; a pool writes it later, in another request's callback.
    wrap(http.Agent.prototype, 'addRequest', (inner) =>
      function addRequest(request) {
        cause(request);
        return inner.apply(this, arguments);
      });
    wrap(http.ClientRequest.prototype, 'onSocket', (inner) =>
      function onSocket() {
        cause(this);
        return inner.apply(this, arguments);
      });
    // What happens to an inbound request happens in its context, whichever one the parser or the socket has.
    [http.IncomingMessage, http.ServerResponse].forEach((message) => wrap(message.prototype, 'emit', within));
    // A connection may be used by many: it is nobody's.
    wrap(net.Socket.prototype, 'connect', (inner) =>
      function connect() {
        return context.getStore() === undefined
          ? inner.apply(this, arguments)
          : context.run(undefined, () => inner.apply(this, arguments));
      });
    wrap(net.Server.prototype, 'emit', (inner) =>
      function emit(name, session) {
        if (name === 'session') {
          once(Object.getPrototypeOf(session), 'emit', streamed);
        }
        return inner.apply(this, arguments);
      });
    const patched = new Set();
    wrap(require('module'), '_load', (inner) =>
      function _load(name) {
        const loaded = inner.apply(this, arguments);
        // Most modules are none of these, and are neither looked into nor remembered.
        if (typeof name === 'string' && /pg|ioredis|http2|grpc/.test(name) && !patched.has(loaded)) {
          patched.add(loaded);
          try {
            client(name, loaded);
          } catch (error) {
            // It is another library than its name says.
          }
        }
        return loaded;
      });
    // What is logged goes to its file at once, so whoever logs it is who runs.
    const fs = require('fs');
    ['writeSync', 'writevSync', 'appendFileSync'].forEach((name) => wrap(fs, name, logged));
    const isStandard = (socket) => socket.fd === 1 || socket.fd === 2 || socket._isStdio === true;
    wrap(net.Socket.prototype, '_writeGeneric', (inner) =>
      function _writeGeneric(writev, data, encoding, done) {
        if (isStandard(this)) {
          return logged(inner).call(this, writev, data, encoding, done);
        }
        const message = this._httpMessage || this[kRequest];
        const id = message ? message[kCause] : undefined;
        // Another connection of the same ports may have taken its place.
        if (id === undefined || id.socket.destroyed) {
          return inner.call(this, writev, data, encoding, done);
        }
        words[LOW] = id.low;
        words[HIGH] = id.high;
        try {
          return inner.call(this, writev, data, encoding, done);
        } finally {
          words[LOW] = 0;
          words[HIGH] = 0;
        }
      });
  }

  /**
   * Clients keep what is asked in queues, which any request's callback may empty: whose it is, is known where it is asked. A version
   * whose parts have other names is left alone.
   */
  function client(name, loaded) {
    const is = (library) => name === library || name.indexOf(`/node_modules/${library}/`) >= 0;
    if (is('pg-pool') && loaded.prototype) {
      wrap(loaded.prototype, 'connect', pooled);
    } else if (is('pg') && loaded.Client) {
      wrap(loaded.Client.prototype, '_pulseQueryQueue', submitted);
    } else if (is('ioredis') && loaded.prototype) {
      wrap(loaded.prototype, 'sendCommand', commanded);
      // They hand commands on later.
      [loaded.Pipeline, loaded.Cluster].filter(Boolean).forEach((kind) => wrap(kind.prototype, 'sendCommand', handedOn));
    } else if (name === 'http2' || name === 'node:http2') {
      wrap(loaded, 'connect', connected);
    } else if (is('@grpc/grpc-js') && loaded.Channel) {
      wrap(loaded.Channel.prototype, 'createCall', called);
    }
  }

  /** A session that serves: each stream is a request. */
  function streamed(inner) {
    return function emit(name, stream) {
      if (name !== 'stream' || stream[kInbound] !== undefined) {
        return inner.apply(this, arguments);
      }
      once(Object.getPrototypeOf(stream), 'emit', within);
      const origin = originOf(this);
      stream[kInbound] = origin ? { high: origin.ports, low: streamOf(origin, stream.id), socket: this } : undefined;
      return context.run(stream[kInbound], () => inner.apply(this, arguments));
    };
  }

  /** A session that asks. */
  function connected(inner) {
    return function connect() {
      const session = inner.apply(this, arguments);
      once(Object.getPrototypeOf(session), 'request', (inner) =>
        function request() {
          const stream = inner.apply(this, arguments);
          ask(stream);
          return stream;
        });
      return session;
    };
  }

  /** Whoever makes a stream asks for it; it has a number at once, or when the connection is there. */
  function ask(stream) {
    if (!(kCause in stream)) {
      stream[kCause] = askedBy(stream.session || {});
      once(Object.getPrototypeOf(stream), 'emit', (inner) =>
        function emit(name) {
          if (name === 'ready') {
            tellStream(this);
          }
          const id = this[kCause];
          return id === undefined || context.getStore() === id
            ? inner.apply(this, arguments)
            : context.run(id, () => inner.apply(this, arguments));
        });
    }
    tellStream(stream);
  }

  /** For whom a session is asked for a stream. undici asks for what waited as well, in whoever's context. */
  function askedBy(session) {
    const keys = Object.getOwnPropertySymbols(session);
    if (!keys.some((key) => key.description === 'open streams')) {
      return context.getStore();
    }
    const { request, socket } = sending || {};
    sending = undefined;
    return keys.some((key) => key.description === 'socket' && session[key] === socket) ? request[kCause] : undefined;
  }

  function tellStream(stream) {
    const id = stream[kCause];
    const origin = stream.id === undefined || id === undefined || id.socket.destroyed ? null : originOf(stream.session);
    if (!origin || stream[kTold]) {
      return;
    }
    stream[kTold] = true;
    const at = BYTES / 4 + (asked % ASKED) * ASKED_WORDS;
    words.set([streamOf(origin, 0), origin.ports, stream.id, 0, id.low, id.high], at);
    asked = (asked + 1) >>> 0;
    words[COUNT] = asked;
  }

  /** The lower half of a stream's id; as `common/src/assist.rs` makes it. */
  function streamOf(origin, stream) {
    return (origin.plain + 0x80000000 + stream) >>> 0;
  }

  /** A call of grpc-js waits for addresses, and for a connection, and goes on in the context of whoever brings them. */
  function called(inner) {
    return function createCall() {
      const call = inner.apply(this, arguments);
      belongs(call, 'getConfig');
      once(Object.getPrototypeOf(this.internalChannel || {}), 'createLoadBalancingCall', (inner) =>
        function createLoadBalancingCall() {
          const call = inner.apply(this, arguments);
          belongs(call, 'doPick');
          return call;
        });
      return call;
    };
  }

  /** What an object does by a method, it does in the context in which it was made. */
  function belongs(object, name) {
    object[kCause] = context.getStore();
    once(Object.getPrototypeOf(object), name, (inner) =>
      function method() {
        return context.run(this[kCause], () => inner.apply(this, arguments));
      });
  }

  function once(object, name, around) {
    if (!wrapped.has(object)) {
      wrapped.add(object);
      wrap(object, name, around);
    }
  }

  /** Whoever waits for a connection goes on for himself, whoever has given it back. */
  function pooled(inner) {
    return function connect(then) {
      if (typeof then !== 'function') {
        return inner.apply(this, arguments);
      }
      const id = context.getStore();
      return inner.call(this, function () {
        return context.run(id, () => then.apply(this, arguments));
      });
    };
  }

  function submitted(inner) {
    return function _pulseQueryQueue() {
      const queue = this._queryQueue;
      const socket = this.connection && this.connection.stream;
      if (this.pipeline || !Array.isArray(queue) || !socket) {
        return inner.apply(this, arguments);
      }
      // What was asked just now is the last.
      for (let at = queue.length - 1; at >= 0 && !(kCause in queue[at]); at -= 1) {
        queue[at][kCause] = context.getStore();
      }
      const query = this.readyForQuery === true ? queue[0] : undefined;
      try {
        return asking(socket, query, () => inner.apply(this, arguments));
      } finally {
        // Whoever asks it again asks for himself.
        if (query) {
          delete query[kCause];
        }
      }
    };
  }

  function handedOn(inner) {
    return function sendCommand(command) {
      claim(command);
      return inner.apply(this, arguments);
    };
  }

  function commanded(inner) {
    return function sendCommand(command, stream) {
      claim(command);
      // A pipeline is written as a whole, with its last command: it is somebody's if all of it is.
      if (stream && !(kCause in stream)) {
        stream[kCause] = command[kCause];
      } else if (stream && stream[kCause] !== command[kCause]) {
        stream[kCause] = undefined;
      }
      return asking(this.stream, stream || command, () => inner.apply(this, arguments));
    };
  }

  /** What is asked is for whoever asked first, be it nobody that is known: it may be sent again in another's context. */
  function claim(command) {
    if (!(kCause in command)) {
      command[kCause] = context.getStore();
    }
  }

  function asking(socket, request, ask) {
    if (!socket) {
      return ask();
    }
    const before = socket[kRequest];
    socket[kRequest] = request;
    try {
      return ask();
    } finally {
      socket[kRequest] = before;
    }
  }

  function listen(channels, name, listener) {
    const channel = channels.channel(name);
    channel.subscribe(listener);
    return channel;
  }

  function wrap(object, name, around) {
    const inner = object[name];
    if (typeof inner !== 'function') {
      return;
    }
    Object.defineProperty(object, name, {
      value: around(inner),
      configurable: true,
      enumerable: Object.prototype.propertyIsEnumerable.call(object, name),
      writable: true,
    });
  }

  /** A write to a file, under the id of whoever runs. */
  function logged(inner) {
    return function write() {
      const id = context.getStore();
      if (id === undefined || id.socket.destroyed) {
        return inner.apply(this, arguments);
      }
      words[LOW] = id.low;
      words[HIGH] = id.high;
      try {
        return inner.apply(this, arguments);
      } finally {
        words[LOW] = 0;
        words[HIGH] = 0;
      }
    };
  }

  function within(inner) {
    return function emit() {
      const id = this[kInbound];
      return id === undefined || context.getStore() === id
        ? inner.apply(this, arguments)
        : context.run(id, () => inner.apply(this, arguments));
    };
  }

  function inbound(event) {
    const id = identify(event.socket);
    event.request[kInbound] = id;
    event.response[kInbound] = id;
    context.enterWith(id);
  }

  function cause(request) {
    if (request[kCause] === undefined) {
      request[kCause] = context.getStore();
    }
  }

  /**
   * A request of undici, made for `fetch` too, is made when a connection is free for it: at once, or out of a pool's queue
   * in the context of whoever frees one. What waits in a queue is a handler, which as a rule remembers its context.
   */
  function undici(request) {
    let handler = request[handlerKey];
    if (handler === undefined) {
      handlerKey = Object.getOwnPropertySymbols(request).find((key) => key.description === 'handler');
      handler = request[handlerKey];
    }
    if (handler instanceof AsyncResource) {
      request[kCause] = handler.runInAsyncScope(() => context.getStore());
    } else if (context.getStore() !== undefined && !isOutOfQueue()) {
      cause(request);
    }
  }

  /**
   * Whether the code that runs was called by the event with which a client of undici tells its pool that it is free. `fetch`
   * makes its request at once or leaves it to that event, so nobody above it matters.
   */
  function isOutOfQueue() {
    const limit = Error.stackTraceLimit;
    const prepare = Error.prepareStackTrace;
    Error.stackTraceLimit = 30;
    Error.prepareStackTrace = (_, sites) => {
      for (const site of sites) {
        const name = site.getFunctionName() || '';
        if (name === 'httpNetworkFetch') {
          return false;
        }
        if (name === 'emit' || /drain/i.test(name)) {
          return true;
        }
      }
      // Who called it is not known to the end.
      return sites.length === 30;
    };
    const found = new Error().stack;
    Error.prepareStackTrace = prepare;
    Error.stackTraceLimit = limit;
    return found !== false;
  }

  /** The id of the request whose head was read last; as `common/src/assist.rs` makes it. */
  function identify(socket) {
    const origin = originOf(socket);
    if (!origin) {
      return undefined;
    }
    const address = socket.encrypted ? origin.plain : origin.address;
    return { high: origin.ports, low: (address + socket.bytesRead) >>> 0, socket };
  }

  /** What the ids of a socket's or a session's requests begin with; none of a Unix socket. */
  function originOf(owner) {
    if (owner[kOrigin] === undefined) {
      const socket = owner.socket || owner;
      const address = socket.remoteAddress;
      owner[kOrigin] = address
        ? {
            ports: ((socket.remotePort << 16) | socket.localPort) >>> 0,
            address: fold(address),
            plain: fold(address.replace(/^::ffff:(?=.*\.)/i, '')),
          }
        : null;
    }
    return owner[kOrigin];
  }

  /** The 32-bit words of an address in memory order, exclusively or'ed: 4 bytes of IPv4 or 16 of IPv6. */
  function fold(text) {
    const bytes = text.indexOf(':') < 0 ? text.split('.').map(Number) : bytesOf(text);
    let sum = 0;
    for (let at = 0; at < bytes.length; at += 4) {
      sum ^= bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
    }
    return sum >>> 0;
  }

  /** The 16 bytes of an IPv6 address as RFC 5952 writes it. */
  function bytesOf(text) {
    const halves = text.split('%')[0].split('::').map((half) => {
      const bytes = [];
      half.split(':').filter(Boolean).forEach((group) => {
        if (group.indexOf('.') >= 0) {
          group.split('.').forEach((byte) => bytes.push(Number(byte)));
        } else {
          const word = parseInt(group, 16);
          bytes.push(word >> 8, word & 255);
        }
      });
      return bytes;
    });
    const tail = halves.length > 1 ? halves[1] : [];
    const gap = new Array(16 - halves[0].length - tail.length).fill(0);
    return halves[0].concat(gap, tail);
  }

  /** Sends `words` from where they lie. All of it happens before this returns: the address needs no looking up. */
  function tell() {
    const socket = require('dgram').createSocket({
      type: 'udp4',
      lookup: (host, options, done) => done(null, '127.0.0.1', 4),
    });
    socket.on('error', () => {});
    socket.bind({ port: 0, address: '127.0.0.1', exclusive: true });
    socket.send(Buffer.from(words.buffer), 0, BYTES, socket.address().port, '127.0.0.1');
    socket.close();
  }
})();

// mix.js PORT. For each request of /front it asks NEXT (PORT/leaf) in every way at once: through a pool that queues, fetch,
// timers, a streamed body to itself, a call that fails and one that is cancelled. All repeat the request's number.
'use strict';
const http = require('http');
const { Readable, pipeline } = require('stream');
const { setTimeout: pause } = require('timers/promises');

const own = Number(process.argv[2]);
const next = Number(process.env.NEXT.split('/')[0]);
// Fewer connections than requests: a request is written when another one's answer is complete.
const pool = new http.Agent({ keepAlive: true, maxSockets: 8 });
const wide = new http.Agent({ keepAlive: true });

function ask(options, body) {
  return new Promise((done, failed) => {
    const request = http.request({ host: '127.0.0.1', port: next, agent: wide, ...options }, (answer) => {
      if (options.cancel) {
        request.destroy();
        done(0);
        return;
      }
      answer.resume();
      answer.on('end', () => done(answer.statusCode));
    });
    request.on('error', (error) => (options.cancel ? done(0) : failed(error)));
    if (body) {
      pipeline(body, request, (error) => error && failed(error));
    } else {
      request.end();
    }
  });
}

async function* parts(number) {
  for (let n = 0; n < 3; n += 1) {
    await pause(Math.random() * 4);
    yield `part ${n} of ${number}\n`;
  }
}

async function late(number) {
  await pause(Math.random() * 8);
  await new Promise((done) => setImmediate(done));
  return new Promise((done, failed) => {
    setTimeout(() => process.nextTick(() => ask({ path: `/late?id=${number}` }).then(done, failed)), Math.random() * 3);
  });
}

async function front(number) {
  const statuses = await Promise.all([
    ask({ path: `/pooled?id=${number}`, agent: pool }),
    fetch(`http://127.0.0.1:${next}/fetched?id=${number}`).then(async (answer) => (await answer.text()) && answer.status),
    late(number),
    ask({ port: own, path: `/second?id=${number}`, method: 'POST' }, Readable.from(parts(number))),
    ask({ path: `/fail?id=${number}`, agent: pool }),
    ask({ path: `/cancel?id=${number}`, cancel: true }),
  ]);
  // What comes behind all of them is still of the same request.
  statuses.push(await ask({ path: `/last?id=${number}`, agent: pool }));
  return statuses.join() === '200,200,200,200,503,0,200' ? 200 : 500;
}

http
  .createServer((request, response) => {
    const url = new URL(request.url, 'http://node.test');
    const number = url.searchParams.get('id') || '0';
    const answer = (status) => {
      response.writeHead(status, { 'Content-Type': 'text/plain' });
      response.end(`mix ${number}\n`);
    };
    const failed = (error) => {
      console.error(error);
      answer(502);
    };
    if (url.pathname === '/second') {
      let length = 0;
      request.on('data', (part) => (length += part.length));
      request.on('end', () => ask({ path: `/behind?id=${number}&length=${length}`, agent: pool }).then(answer, failed));
      return;
    }
    request.resume();
    front(number).then(answer, failed);
  })
  .listen(own, '127.0.0.1');

// logs.js PORT. Two lines to stderr around a wait and one to stdout a request; for every fifth an error with its stack.
'use strict';
const http = require('http');

http
  .createServer((request, response) => {
    const rid = new URL(request.url, 'http://node.test').searchParams.get('id') || '0';
    console.error('INFO begin rid=%s password=hunter2', rid);
    request.resume();
    setTimeout(() => {
      if (Number(rid) % 5 === 0) {
        console.error(new TypeError(`failed rid=${rid}`));
      } else {
        console.error('WARN fine rid=%s', rid);
      }
      Promise.resolve().then(() => {
        console.log(JSON.stringify({ level: 30, msg: `end rid=${rid}` }));
        response.end('ok');
      });
    }, (Number(rid) * 7) % 5);
  })
  .listen(Number(process.argv[2]), '127.0.0.1');

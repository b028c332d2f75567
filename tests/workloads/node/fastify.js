// fastify.js PORT. Fastify; asks NEXT (PORT/path) by fetch with the same number, from a hook and a handler.
'use strict';
const fastify = require('fastify')();

const [port, path] = process.env.NEXT.split('/');

fastify.addHook('preHandler', async () => {
  await new Promise((done) => setTimeout(done, Math.random() * 4));
});

fastify.get('/front', async (request, reply) => {
  const answer = await fetch(`http://127.0.0.1:${port}/${path}?id=${request.query.id}`);
  await answer.text();
  reply.code(answer.status);
  return 'fastify\n';
});

fastify.listen({ port: Number(process.argv[2]), host: '127.0.0.1' });

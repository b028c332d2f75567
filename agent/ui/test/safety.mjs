// What programs said is text, whatever it says.
import { createServer } from 'node:http';

import { assert, FILLED, FOREIGN, SCRIPT, TOKEN_PAGE, until } from './browser.mjs';

const SAID = '<img src=x onerror="window.taken=1"><script>window.taken=1</script>';

export default [
  [
    'safety: a script that is stored in every field is shown as text, in every view',
    async (page) => {
      const check = async (where) => {
        await until(`it is shown: ${where}`, async () => (await page.locator('body').innerText()).includes('<img src=x onerror='));
        assert.equal(await page.evaluate(() => window.taken), undefined, where);
        assert.equal(await page.locator('img[src="x"], main script').count(), 0, where);
      };
      await page.goto(`${SCRIPT}?span=0000000000000001`);
      await page.locator('#panel').waitFor();
      await check('trace');
      const shown = await page.locator('#panel').innerText();
      // Name, error, request line, headers, bodies, statement, parameters and all the rest.
      assert.ok(shown.split('<img src=x onerror=').length > 15, shown);
      await page.getByRole('button', { name: 'Operations' }).click();
      await check('operations');
      for (const view of ['', 'endpoints', 'errors', 'map', 'runs']) {
        await page.goto(`${FILLED}${view}`);
        await check(view);
      }
      await page.goto(`${FILLED}?q=${encodeURIComponent(`"${SAID.replaceAll('"', '\\"')}"`)}`);
      await until('the search has it', async () => (await page.locator('#query').inputValue()).includes('<img'));
      assert.equal(await page.evaluate(() => window.taken), undefined);
    },
  ],
  [
    'safety: elsewhere than on this machine a token opens the page, once for each tab, and leaves the address',
    async (page) => {
      const [, base, token] = /^(.*)#token=([0-9a-f]{32})$/.exec(TOKEN_PAGE);
      const wanted = page.getByText('A token is wanted: open the address that clew printed.');
      await page.goto(base);
      await wanted.waitFor();
      assert.equal(await page.locator('#traces a.row').count(), 0);
      await page.goto('about:blank');
      await page.goto(`${base}#token=${'0'.repeat(32)}`);
      await wanted.waitFor();
      await page.goto('about:blank');
      await page.goto(TOKEN_PAGE);
      await page.locator('#traces a.row').first().waitFor();
      assert.equal(page.url(), base);
      await page.getByText('Live', { exact: true }).waitFor();
      // It is kept for what follows in this tab.
      await page.locator('#traces a.row').first().click();
      await page.locator('#spans .span-row').first().waitFor();
      await page.reload();
      await page.locator('#spans .span-row').first().waitFor();
      const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'OTLP', exact: true }).click()]);
      assert.match(file.suggestedFilename(), /otlp\.json$/);
      const other = await page.context().newPage();
      await other.goto(base);
      await other.getByText('A token is wanted').waitFor();
      for (const headers of [{}, { authorization: 'Bearer x' }, { authorization: `Bearer ${token.slice(1)}0` }]) {
        assert.equal((await fetch(`${base}api/v1/traces`, { headers })).status, 401);
      }
      assert.equal((await fetch(`${base}api/v1/traces`, { headers: { authorization: `Bearer ${token}` } })).status, 200);
    },
  ],
  [
    'safety: another page may neither ask, add, open a socket nor frame it, nor may a name that was made to lead here',
    async (page) => {
      const server = createServer((_, answer) => answer.writeHead(200, { 'content-type': 'text/html' }).end('<p>Another page</p>'));
      await new Promise((done) => server.listen(0, '127.0.0.1', done));
      // Of its own, since it asks what no page of Clew's may.
      const context = await page.context().browser().newContext();
      try {
        const other = await context.newPage();
        await other.goto(`http://localhost:${server.address().port}/`);
        const id = 'ab'.repeat(16);
        const tried = await other.evaluate(
          async ([base, traceId]) => {
            const time = String(BigInt(Date.now()) * 1_000_000n);
            const span = { traceId, spanId: '00'.repeat(7) + '01', name: 'forged', kind: 2, startTimeUnixNano: time, endTimeUnixNano: time };
            const body = JSON.stringify({ resourceSpans: [{ resource: {}, scopeSpans: [{ spans: [span] }] }] });
            const to = `${base}api/v1/traces`;
            const outcome = (asked) => asked.then((answer) => answer.type, () => 'refused');
            const socket = new Promise((done) => {
              const opened = new WebSocket(`${base.replace('http', 'ws')}api/v1/live`);
              opened.onopen = () => done('open');
              opened.onerror = () => done('refused');
            });
            const form = document.createElement('form');
            Object.assign(form, { action: to, method: 'post', enctype: 'text/plain', target: 'frame' });
            form.append(Object.assign(document.createElement('input'), { name: body, value: '' }));
            const frame = Object.assign(document.createElement('iframe'), { name: 'frame' });
            document.body.append(frame, form);
            form.submit();
            return {
              asked: await outcome(fetch(to)),
              added: await outcome(fetch(to, { method: 'POST', headers: { 'content-type': 'application/json' }, body })),
              // It is sent, whatever becomes of its answer.
              blind: await outcome(fetch(to, { method: 'POST', mode: 'no-cors', body })),
              socket: await socket,
            };
          },
          [FILLED, id],
        );
        assert.deepEqual(tried, { asked: 'refused', added: 'refused', blind: 'refused', socket: 'refused' });
        // What the form sent has been answered by then, as was everything that was sent behind it.
        await until('the frame shows nothing of it', async () => other.frames().some((frame) => frame.url().startsWith('chrome-error:')));
        assert.equal((await fetch(`${FILLED}api/v1/traces/${id}`)).status, 404);
        const there = await other.goto(FILLED.replace('127.0.0.1', FOREIGN));
        assert.equal(there.status(), 403);
        assert.match(await other.locator('body').innerText(), /this host name is not the server's/);
      } finally {
        await context.close();
        server.close();
      }
    },
  ],
];

// A trace: what a person finds in it, and in how few steps.
import { readFile } from 'node:fs/promises';

import { add, assert, clipboard, FILLED, openFirst, OTLP, PAGE, rows, SHOP, span, until } from './browser.mjs';

export default [
  [
    'trace: a slow query is found with two clicks',
    async (page) => {
      await page.goto(PAGE);
      await page.getByRole('button', { name: /^Sort by duration/ }).click();
      // The first requests of a program that has just started may be slower still.
      await until('the slow one is among the first', async () => (await rows(page)).slice(0, 8).some((row) => row.includes('/report')));
      await page.locator('#traces a.row', { hasText: '/report' }).first().click();
      const query = span(page, 'pg_sleep');
      await query.waitFor();
      assert.match(await query.innerText(), /\d+ ms/);
    },
  ],
  [
    'trace: a query in a loop is one row with its number, marked',
    async (page) => {
      await openFirst(page, 'path:/list*');
      const fold = page.locator('.span-row.fold');
      await fold.waitFor();
      const text = await fold.innerText();
      assert.ok(text.includes('× 37') && text.includes('N+1'), text);
      const before = await page.locator('#spans .span-row').count();
      await page.getByRole('button', { name: 'Repeated × 37' }).click();
      await page.locator('#panel').getByText('One request made this call 37 times').waitFor();
      await fold.getByRole('button', { name: 'Expand' }).click();
      await until('the 37', async () => (await page.locator('#spans .span-row').count()) >= Math.min(before + 20, 38));
    },
  ],
  [
    'trace: a failing call is found with two clicks, its error beside it',
    async (page) => {
      await page.goto(PAGE);
      await page.getByRole('button', { name: 'Failed' }).click();
      await until('the failure', async () => (await rows(page)).some((row) => row.includes('/refund')));
      await page.locator('#traces a.row', { hasText: '/refund' }).first().click();
      await page.getByRole('button', { name: /^Errors \d/ }).click();
      const panel = page.locator('#panel');
      await panel.getByText('relation "refunds" does not exist').or(panel.getByText('42P01')).first().waitFor();
      assert.equal(await page.locator('#spans .span-row.failed.chosen').count(), 1);
    },
  ],
  [
    'trace: one request through four languages, a database, a cache and a queue is one tree',
    async (page) => {
      await openFirst(page, 'path:/checkout* service:prices');
      for (const text of ['GET /checkout', 'INSERT INTO items', '/stock/lantern', '/price/lantern', 'POST /orders', 'orders.placed']) {
        await span(page, text).first().waitFor();
      }
      const levels = await page.locator('#spans .span-row').evaluateAll((all) => all.map((row) => Number(row.getAttribute('aria-level'))));
      assert.ok(Math.max(...levels) >= 3, String(levels));
    },
  ],
  [
    'trace: keys move, collapse, focus, zoom and go back; the address says where one is',
    async (page) => {
      await openFirst(page, 'path:/checkout* service:orders');
      const chosen = () => page.locator('.span-row.chosen').innerText();
      await page.keyboard.press('j');
      const first = await chosen();
      await page.keyboard.press('ArrowDown');
      assert.notEqual(await chosen(), first);
      assert.ok(page.url().includes('span='), page.url());
      await page.keyboard.press('k');
      assert.equal(await chosen(), first);
      const all = await page.locator('#spans .span-row').count();
      await page.keyboard.press('ArrowLeft');
      await until('collapsed', async () => (await page.locator('#spans .span-row').count()) < all);
      await page.keyboard.press('ArrowRight');
      await until('expanded', async () => (await page.locator('#spans .span-row').count()) === all);
      await span(page, 'POST /orders').first().click();
      await page.keyboard.press('f');
      await until('only the subtree', async () => (await page.locator('#spans .span-row').count()) <= 2);
      await page.keyboard.press('f');
      await until('the whole', async () => (await page.locator('#spans .span-row').count()) === all);
      await page.keyboard.press('z');
      await page.getByRole('button', { name: 'Whole time' }).waitFor();
      await page.keyboard.press('Escape');
      await until('the panel is closed', async () => (await page.locator('#panel').count()) === 0);
      await page.keyboard.press('Escape');
      await until('all of the time', async () => (await page.getByRole('button', { name: 'Whole time' }).count()) === 0);
      await page.keyboard.press('?');
      await page.getByRole('dialog', { name: 'Keys and search' }).waitFor();
      await page.keyboard.press('Escape');
      await until('the sheet is gone', async () => (await page.getByRole('dialog').count()) === 0);
      await page.keyboard.press('Escape');
      await page.locator('#traces').waitFor();
    },
  ],
  [
    'trace: finding goes through matches and shows only them',
    async (page) => {
      await openFirst(page, 'path:/list*');
      await page.locator('.span-row.fold').waitFor();
      await page.keyboard.press('/');
      await page.keyboard.type('select name');
      await page.getByText('37', { exact: true }).waitFor();
      await page.keyboard.press('Enter');
      await page.getByText('1 of 37').waitFor();
      await page.getByRole('button', { name: 'Next match' }).click();
      await page.getByText('2 of 37').waitFor();
      await page.getByRole('button', { name: 'Previous match' }).click();
      await page.getByText('1 of 37').waitFor();
      await page.locator('#find').fill('name = 20');
      await page.locator('#find').fill('/list');
      await page.getByRole('button', { name: 'Only matches' }).click();
      await until('what does not match is gone', async () => (await span(page, 'SELECT name').count()) === 0);
    },
  ],
  [
    'trace: pills, hiding and the minimap leave out what is not asked for',
    async (page) => {
      await openFirst(page, 'path:/checkout* service:orders');
      const count = () => page.locator('#spans .span-row').count();
      const all = await count();
      await page.getByRole('button', { name: 'Critical path' }).click();
      assert.ok((await page.locator('.span-row.critical').count()) > 1);
      await page.getByRole('button', { name: 'Critical path' }).click();
      await page.getByRole('button', { name: 'Slowest' }).click();
      await page.getByText(/\(self /).first().waitFor();
      await page.getByRole('button', { name: 'Slowest' }).click();
      await page.getByText('Services', { exact: true }).last().click();
      await page.locator('.menu-sheet label', { hasText: 'orders' }).locator('input').uncheck();
      await until('one service less', async () => (await count()) < all);
      await page.getByRole('button', { name: 'Show all spans' }).click();
      await until('all', async () => (await count()) === all);
      await page.getByText('Kinds', { exact: true }).click();
      await page.locator('.menu-sheet label', { hasText: 'server' }).locator('input').uncheck();
      await until('no servers', async () => (await page.locator('.kind.server').count()) === 0);
      await page.getByRole('button', { name: 'Show all spans' }).click();
      await page.getByLabel('Hide spans below this many milliseconds').fill('100000');
      await until('none is that long', async () => (await count()) === 0);
      await page.getByLabel('Hide spans below this many milliseconds').fill('');
      await until('all', async () => (await count()) === all);
      const box = await page.locator('.minimap').boundingBox();
      const before = await page.locator('.ruler-right').innerText();
      await page.mouse.move(box.x + box.width * 0.3, box.y + 20);
      await page.mouse.down();
      await page.mouse.move(box.x + box.width * 0.5, box.y + 20, { steps: 3 });
      await page.mouse.up();
      assert.notEqual(await page.locator('.ruler-right').innerText(), before);
      await page.locator('.minimap').dblclick();
      assert.equal(await page.locator('.ruler-right').innerText(), before);
    },
  ],
  [
    'trace: the table of operations counts, and leads to the longest',
    async (page) => {
      await openFirst(page, 'path:/list*');
      await page.getByRole('button', { name: 'Operations' }).click();
      const table = page.getByRole('region', { name: 'Operations of this trace' });
      const row = table.locator('tr', { hasText: 'SELECT name' });
      assert.ok((await row.innerText()).includes('37'));
      await row.getByText('N+1').waitFor();
      await row.getByRole('button').click();
      await page.locator('#panel').getByText('SELECT').first().waitFor();
    },
  ],
  [
    'trace: what is saved as OTLP JSON can be imported, and for Perfetto has events',
    async (page) => {
      await openFirst(page, 'path:/list*');
      const save = async (name) => {
        const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name, exact: true }).click()]);
        return await file.path();
      };
      const perfetto = JSON.parse(await readFile(await save('Perfetto'), 'utf8'));
      assert.ok((perfetto.traceEvents ?? perfetto).length > 30);
      const otlp = JSON.parse(await readFile(await save('OTLP'), 'utf8'));
      const spans = otlp.resourceSpans.flatMap((resource) => resource.scopeSpans.flatMap((scope) => scope.spans));
      const id = 'abcdef0123456789abcdef0123456789';
      for (const one of spans) one.traceId = id;
      await page.goto(PAGE);
      await page.locator('.import input').setInputFiles({ name: 'traces.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify(otlp)) });
      await page.getByText(`${spans.length} spans were added`).waitFor();
      await page.goto(`${PAGE}trace/${id}`);
      await page.locator('.span-row.fold').waitFor();
    },
  ],
  [
    'trace: a link to a span shows it again',
    async (page) => {
      await openFirst(page, 'path:/list*');
      await page.locator('.span-row.fold').getByRole('button', { name: 'Expand' }).click();
      await span(page, 'SELECT name').nth(5).click();
      await page.getByRole('button', { name: 'Copy link' }).click();
      const link = await clipboard(page);
      await page.goto(link);
      await page.locator('.span-row.chosen').waitFor();
      assert.match(await page.locator('.span-row.chosen').innerText(), /SELECT/);
    },
  ],
  [
    'trace: a parent that is not here is told, and one that cannot be',
    async (page) => {
      const id = '5a'.repeat(16);
      // Whoever sends this is not traced.
      await fetch(`${SHOP}/list?id=201`, { headers: { traceparent: `00-${id}-00000000000000ff-01` } });
      const banner = (text) => page.locator('.trace > .banner', { hasText: text });
      await until('the trace', async () => (await fetch(`${PAGE}api/v1/traces/${id}`)).status === 200);
      await page.goto(`${PAGE}trace/${id}`);
      await banner('One span names a parent that is not here').waitFor();
      const root = span(page, 'GET /list').first();
      await root.locator('.mark').waitFor();
      await root.click();
      await page.locator('#panel').getByText('Its parent is not among the spans that are here.').waitFor();
      await page.locator('#panel .figures').getByText('not here').waitFor();
      // Where Clew cannot tell whose call it is, it says so.
      const unsure = '5b'.repeat(16);
      await add(`${FILLED}api/v1/traces`, unsure, 'pooled', [{ name: 'GET', kind: 3, attributes: { 'http.request.method': 'GET', 'url.full': 'http://rates/now', 'clew.parent.unknown': 'pool' } }]);
      await page.goto(`${FILLED}trace/${unsure}`);
      await banner('Which request a call here belongs to cannot be told').waitFor();
      await span(page, 'GET /now').locator('.mark').waitFor();
      await span(page, 'GET /now').click();
      await page.locator('#panel').getByText(/cannot be told \(pool\)/).waitFor();
    },
  ],
  [
    'trace: what an SDK tells of a request lies in one tree with what was seen of it',
    async (page) => {
      const id = '5d'.repeat(16);
      await add(`${OTLP}/v1/traces`, id, 'robot', [{ kind: 3, name: 'buy a lantern' }]);
      await fetch(`${SHOP}/checkout?id=202`, { headers: { traceparent: `00-${id}-0000000000000001-01` } });
      await until('both', async () => ((await (await fetch(`${PAGE}api/v1/traces/${id}`)).json()).span_list?.length ?? 0) >= 10);
      await page.goto(`${PAGE}trace/${id}`);
      const level = async (text) => Number(await span(page, text).first().getAttribute('aria-level'));
      assert.deepEqual([await level('buy a lantern'), await level('GET /checkout'), await level('POST /orders')], [1, 2, 3]);
      assert.match(await span(page, 'buy a lantern').innerText(), /robot/);
      assert.equal(await page.locator('.trace .banner').count(), 0);
    },
  ],
  [
    'trace: lanes show who worked when, by thread or task, and lead to spans',
    async (page) => {
      await openFirst(page, 'path:/checkout* service:stock service:orders');
      await page.keyboard.press('v');
      const lanes = page.locator('#spans .lane.first');
      await lanes.first().waitFor();
      const names = await lanes.allInnerTexts();
      assert.ok(names.some((name) => /^stock\s+goroutine \d+, process \d+/.test(name)), names.join('\n'));
      assert.ok(names.some((name) => /thread \d+, process \d+/.test(name)), names.join('\n'));
      // One request at a time: what the shop's thread asks lies beside the request itself.
      const pieces = page.locator('#spans .piece');
      const spans = await pieces.count();
      assert.ok(spans >= 6, String(spans));
      await page.getByRole('button', { name: 'By task' }).click();
      await until('threads alone', async () => (await lanes.allInnerTexts()).every((name) => !name.includes('goroutine')));
      await page.locator('#spans').getByRole('button', { name: 'POST /orders' }).first().click();
      await page.locator('#panel').getByText(/POST http/).waitFor();
      await page.locator('.piece.chosen').first().waitFor();
      await page.keyboard.press('j');
      await until('another', async () => (await page.locator('.piece.chosen').count()) === 1);
      assert.ok(page.url().includes('view=lanes'));
      await page.reload();
      await lanes.first().waitFor();
      await page.getByText('Kinds', { exact: true }).click();
      await page.locator('.menu-sheet label', { hasText: 'server' }).locator('input').uncheck();
      await until('fewer', async () => (await pieces.count()) < spans);
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Lanes' }).click();
      await page.locator('#spans .span-row').first().waitFor();
    },
  ],
];

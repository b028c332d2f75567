// What is around the list: endpoints, failures, the map, runs; and how all of it looks and sounds.
import { createServer } from 'node:http';

import { assert, FILLED, PAGE, rows, SHOP, until } from './browser.mjs';

export default [
  [
    'views: endpoints with rates and times lead to their traces',
    async (page) => {
      await page.goto(`${PAGE}endpoints`);
      await page.getByRole('button', { name: 'client', exact: true }).click();
      const row = page.locator('tbody tr', { hasText: 'SELECT items' }).first();
      await row.waitFor();
      assert.match(await row.innerText(), /ms|µs/);
      await row.getByRole('link').first().click();
      await page.locator('#traces a.row').first().waitFor();
      assert.ok(new URL(page.url()).searchParams.get('q').includes('name:"SELECT items"'), page.url());
    },
  ],
  [
    'views: endpoints have a line of minutes, sort by each figure, and lead to what failed',
    async (page) => {
      await page.goto(`${PAGE}endpoints`);
      const row = page.locator('tbody tr', { hasText: 'GET /refund' }).filter({ hasText: 'server' }).first();
      await row.waitFor();
      const figure = (text) => Number(text.replace(/[^\d.]/g, '')) * ({ 'µs': 1e3, ms: 1e6, s: 1e9 }[text.split(' ').at(-1)] ?? 1);
      const line = row.getByRole('img', { name: /^The last 30 minutes, at most \d+ calls in one$/ });
      const most = Number(/at most (\d+)/.exec(await line.getAttribute('aria-label'))[1]);
      const calls = figure(await row.locator('td').nth(2).innerText());
      assert.ok(most >= 1 && most <= calls, `${most} of ${calls}`);
      // All of them failed: what failed is as high as all.
      const heights = async (which) => await line.locator(which).evaluateAll((bars) => bars.map((bar) => Number(bar.getAttribute('height'))));
      assert.deepEqual(await heights('.spark-bad'), await heights('.spark-all'));
      assert.equal(await page.locator('tbody tr', { hasText: 'GET /report' }).first().locator('.spark-bad').count(), 0);
      for (const [name, at] of Object.entries({ Calls: 2, p50: 4, p90: 5, p99: 6, Max: 7, Total: 8 })) {
        await page.getByRole('button', { name, exact: true }).click();
        await until(`the largest first: ${name}`, async () => {
          const all = (await page.locator(`tbody td:nth-child(${at + 1})`).allInnerTexts()).map(figure);
          return all.length > 5 && all.every((one, at) => at === 0 || one <= all[at - 1]);
        });
      }
      await page.getByRole('button', { name: 'Errors', exact: true }).click();
      await until('what always fails first', async () => (await page.locator('tbody tr').first().locator('td').nth(3).innerText()).endsWith('100 %'));
      // Of a call that was made once all figures are its time.
      const one = page.locator('tbody tr').filter({ has: page.locator('td:nth-child(3)', { hasText: /^1$/ }) }).first();
      const figures = (await one.locator('td').allInnerTexts()).slice(4, 9);
      assert.equal(new Set(figures).size, 1, figures.join(' '));
      await page.getByLabel('Find endpoints').fill('refund');
      await until('only these', async () => (await page.locator('tbody tr').allInnerTexts()).every((text) => text.includes('refund')));
      await row.getByRole('link').nth(1).click();
      await until('what failed', async () => {
        const all = await rows(page);
        return all.length > 0 && all.every((text) => text.includes('/refund'));
      });
      assert.match(new URL(page.url()).searchParams.get('q'), /kind:server error:true/);
    },
  ],
  [
    'views: failures in groups, each with a trace',
    async (page) => {
      await page.goto(`${PAGE}errors`);
      const group = page.locator('.groups li', { hasText: '42P01' }).first();
      await group.locator('.group-title').click();
      await page.locator('.span-row.failed').first().waitFor();
    },
  ],
  [
    'views: the map has services, the database, the cache and the queue, and leads to traces',
    async (page) => {
      await page.goto(`${PAGE}map`);
      for (const name of ['orders', 'stock', 'prices', 'postgresql', 'redis', 'nats']) {
        await page.locator('.map-node', { hasText: name }).first().waitFor();
      }
      assert.ok((await page.getByRole('region', { name: 'Calls' }).locator('tbody tr').count()) >= 6);
      await page.locator('.map-node.service', { hasText: 'orders' }).click();
      await page.locator('#traces a.row').first().waitFor();
    },
  ],
  [
    'views: the map names hosts outside, with rate, failures and time of what is asked of them',
    async (page) => {
      let answered = 0;
      const server = createServer((_, answer) => answer.writeHead(answered++ === 0 ? 503 : 200, { 'content-type': 'application/json' }).end('{"rate":1}'));
      await new Promise((done) => server.listen(0, '127.0.0.1', done));
      const { port } = server.address();
      try {
        assert.equal((await fetch(`${SHOP}/outside?id=${port}`)).status, 500);
        assert.equal((await fetch(`${SHOP}/outside?id=${port}`)).status, 200);
      } finally {
        server.close();
      }
      await page.goto(`${PAGE}map`);
      const host = page.locator('.map-node.host', { hasText: `127.0.0.1:${port}` });
      await host.getByText('not traced').first().waitFor();
      const edge = page.getByRole('region', { name: 'Calls' }).locator('tbody tr', { hasText: `127.0.0.1:${port}` });
      await until('both calls', async () => /\s2\s+1, 50 %\s/.test((await edge.innerText()).replaceAll('\t', ' ')));
      const [from, , rate, , , p50] = await edge.locator('td').allInnerTexts();
      assert.match(`${from} ${rate} ${p50}`, /^shop [\d.]+\/\w+ [\d.]+ (µs|ms|s)$/);
      // On the drawing as well.
      await page.locator('.map-edge.failed', { hasText: '50 % fail' }).first().waitFor();
      await host.focus();
      await page.keyboard.press('Enter');
      await until('its traces', async () => (await rows(page)).some((text) => text.includes('/outside')));
    },
  ],
  [
    'views: each of the three questions takes one click',
    async (page) => {
      const ask = async (question) => {
        await page.goto(PAGE);
        await page.getByRole('link', { name: question }).click();
      };
      await ask('Which outside call is slow?');
      await until('the slow query first, among calls', async () => /SELECT|INSERT|CONNECT/.test(await page.locator('tbody tr').first().innerText()));
      await ask('Where does a call repeat?');
      await until('the loop first', async () => (await page.locator('#traces a.row').first().innerText()).includes('/list'));
      await ask('What changed since the last run?');
      // With what was imported there are two runs; of one alone there is nothing to compare.
      const two = page.getByRole('region', { name: 'Comparison' }).locator('tbody tr').first();
      await two.or(page.getByText('They cannot be compared')).first().waitFor();
    },
  ],
  [
    'views: requests that test cases made are grouped by test, and lead to their traces',
    async (page) => {
      const of = (name) => ({ headers: { baggage: `user=ann,test.case.name=${encodeURIComponent(name)}` } });
      for (const id of [401, 402]) await fetch(`${SHOP}/list?id=${id}`, of('cart "lists" items'));
      await fetch(`${SHOP}/refund?id=403`, of('refunds fail'));
      await page.goto(PAGE);
      await page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: 'Tests' }).click();
      const group = (name) => page.getByRole('region', { name: 'Test cases' }).locator('tbody tr', { hasText: name });
      await until('both requests', async () => /\s2\s+0\s/.test((await group('cart "lists" items').innerText()).replaceAll('\t', ' ')));
      assert.match((await group('refunds fail').innerText()).replaceAll('\t', ' '), /\s1\s+1 100 %/);
      await group('cart "lists" items').getByRole('link').first().click();
      await until('its two traces', async () => {
        const all = await rows(page);
        return all.length === 2 && all.every((row) => row.includes('/list'));
      });
      // The list can be narrowed to a test as well.
      await page.goto(PAGE);
      await page.locator('section[aria-label="Test case"] .facet', { hasText: 'refunds fail' }).click();
      await until('its trace', async () => {
        const all = await rows(page);
        return all.length === 1 && all[0].includes('/refund');
      });
      await page.locator('#traces a.row').first().click();
      await page.locator('#spans .span-row', { hasText: '/refund' }).first().click();
      await page.locator('#panel details.section', { hasText: 'Test case' }).getByText('refunds fail').waitFor();
    },
  ],
  [
    'views: runs are listed',
    async (page) => {
      await page.goto(`${PAGE}runs`);
      await page.locator('tbody tr', { hasText: 'shop.py' }).getByRole('link').first().click();
      await page.locator('#traces a.row').first().waitFor();
    },
  ],
  [
    'views: two runs side by side, by kind of call',
    async (page) => {
      await page.goto(`${FILLED}runs`);
      const run = (number) => page.getByRole('region', { name: 'Runs' }).locator('tbody tr').filter({ has: page.getByRole('link', { name: String(number), exact: true }) });
      await run(1).getByRole('button', { name: 'before' }).click();
      await run(2).getByRole('button', { name: 'after' }).click();
      const table = page.getByRole('region', { name: 'Comparison' });
      const row = table.locator('tbody tr', { hasText: 'cart' }).first();
      // Texts of what is not there yet are none.
      await row.waitFor();
      const cells = await row.locator('td').allInnerTexts();
      const [calls, after] = cells.slice(1, 3).map((text) => Number(text.replaceAll(' ', '')));
      assert.ok(calls > 0 && after > calls, cells.join(' | '));
      const ns = (text) => Number(text.split(' ')[0]) * { ns: 1, 'µs': 1e3, ms: 1e6, s: 1e9 }[text.split(' ')[1]];
      const factor = Number(/^× ([\d.]+)$/.exec(cells[7])[1]);
      // Times are shown with three digits, the factor of the whole times with two after the point.
      const shown = ns(cells[6]) / ns(cells[5]);
      assert.ok(Math.abs(factor - shown) <= 0.005 + 0.011 * shown, cells.join(' | '));
      // Each took a millisecond, then the slowest some ninety.
      assert.ok(ns(cells[9]) > 10 * ns(cells[8]), cells.join(' | '));
      assert.equal(cells[3], '0');
      assert.ok(Number(cells[4]) > 0, 'some failed in the second run');
      await page.reload();
      await row.getByRole('link').click();
      await page.locator('#traces a.row').first().waitFor();
      assert.match(new URL(page.url()).searchParams.get('q'), /service:cart .*run:2/);
    },
  ],
  [
    'views: narrow windows show all of it, and scroll within themselves',
    async (page) => {
      for (const width of [700, 400]) {
        await page.setViewportSize({ width, height: 800 });
        for (const view of ['', 'endpoints', 'errors', 'map', 'runs', 'tests']) {
          await page.goto(PAGE + view);
          await page.locator('.row, tbody tr, .groups li, .empty, .map-node').first().waitFor();
          assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, `${view} at ${width}`);
          // No word stands upright, a letter a line.
          const tall = await page.locator('tbody tr').evaluateAll((all) => all.map((row) => row.offsetHeight).filter((height) => height > 90));
          assert.deepEqual(tall, [], view);
        }
        await page.goto(PAGE);
        const filters = page.getByRole('complementary', { name: 'Filters' });
        assert.ok(!(await filters.isVisible()));
        await page.getByRole('button', { name: 'Filters' }).click();
        await filters.getByRole('button', { name: 'Failed' }).click();
        await page.getByRole('button', { name: 'Filters' }).click();
        assert.ok(!(await filters.isVisible()));
        const row = page.locator('#traces a.row', { hasText: '/refund' }).first();
        assert.ok((await row.locator('.cell.duration').boundingBox()).x + 40 < width);
        await row.click();
        assert.ok((await page.locator('.trace-head h1').boundingBox()).width > 200);
        await page.getByRole('button', { name: /^Errors \d/ }).click();
        const panel = await page.locator('#panel').boundingBox();
        assert.equal(panel.width, width);
        assert.ok(panel.y > 300 && panel.y + panel.height <= 800, JSON.stringify(panel));
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
      }
    },
  ],
  [
    'views: dark and light, each with text that can be read',
    async (page) => {
      await page.goto(FILLED);
      await page.locator('#traces a.row').first().waitFor();
      const contrasts = () =>
        page.evaluate(() => {
          const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
          const light = (color) => {
            const [red, green, blue] = color.match(/[\d.]+/g).map((one) => channel(Number(one) / 255));
            return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
          };
          const style = getComputedStyle(document.documentElement);
          const probe = document.createElement('i');
          document.body.append(probe);
          const of = (name) => {
            probe.style.color = style.getPropertyValue(name);
            return light(getComputedStyle(probe).color);
          };
          const found = [];
          for (const ground of ['--bg', '--panel', '--raised', '--hover', '--chosen']) {
            for (const text of ['--text', '--muted', '--bad', '--accent', '--warn', '--good']) {
              const [one, other] = [of(text), of(ground)].sort((a, b) => b - a);
              found.push([`${text} on ${ground}`, (one + 0.05) / (other + 0.05)]);
            }
          }
          probe.remove();
          return [getComputedStyle(document.body).backgroundColor, found];
        });
      const seen = [];
      for (const theme of ['light', 'dark']) {
        await until(theme, async () => {
          if ((await page.evaluate(() => document.documentElement.dataset.theme)) === theme) return true;
          await page.getByRole('button', { name: /^Theme/ }).click();
          return false;
        });
        const [ground, found] = await contrasts();
        seen.push(ground);
        for (const [what, contrast] of found) assert.ok(contrast >= 4.5, `${theme}: ${what} has ${contrast.toFixed(2)}`);
      }
      assert.notEqual(seen[0], seen[1]);
    },
  ],
  [
    'views: everything that can be pressed has a name',
    async (page) => {
      for (const view of ['', 'endpoints', 'errors', 'map', 'runs', 'tests', `trace/${'ee'.repeat(16)}?span=0000000000000001`]) {
        await page.goto(FILLED + view);
        await page.locator('.row, .span-row, tbody tr, .groups li, .empty').first().waitFor();
        const nameless = await page.evaluate(() =>
          [...document.querySelectorAll('button, a, input, select, summary, [role=separator], [role=img]')]
            .filter((one) => {
              const label = one.closest('label')?.textContent ?? '';
              const name = one.getAttribute('aria-label') ?? '';
              return `${name}${one.textContent}${label}`.trim() === '';
            })
            .map((one) => one.outerHTML.slice(0, 200)),
        );
        assert.deepEqual(nameless, [], view);
      }
    },
  ],
];

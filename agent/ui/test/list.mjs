// The list of traces.
import { assert, BESIDE, FILLED, PAGE, rows, SHOP, until } from './browser.mjs';

export default [
  [
    'list: traces come by themselves, and pause, resume and clear do what they say',
    async (page) => {
      await page.goto(PAGE);
      await until('the shop’s requests are listed', async () => (await rows(page)).some((row) => row.includes('/checkout')));
      await page.getByText('Live', { exact: true }).waitFor();
      await fetch(`${SHOP}/checkout?id=101`);
      const count = () => page.locator('.shown').innerText();
      const before = await until('a number', count);
      await fetch(`${SHOP}/nothing-of-the-kind?id=102`).catch(() => {});
      await fetch(`${SHOP}/list?id=103`);
      await until('a new trace without a refresh', async () => (await rows(page))[0]?.includes('/list'));
      assert.notEqual(before, '');
      await page.keyboard.press('p');
      await page.getByText(/^Paused/).waitFor();
      await fetch(`${SHOP}/report?id=104`);
      await page.getByText(/Paused, \d+ new/).waitFor();
      assert.ok((await rows(page))[0]?.includes('/list'), 'a paused list changes');
      await page.getByRole('button', { name: 'Resume' }).click();
      await until('what came meanwhile', async () => (await rows(page))[0]?.includes('/report'));
      await page.getByRole('button', { name: 'Clear', exact: true }).click();
      await page.getByText('Cleared').waitFor();
      await fetch(`${SHOP}/checkout?id=105`);
      await until('only what is new', async () => {
        const all = await rows(page);
        return all.some((row) => row.includes('/checkout')) && !all.some((row) => row.includes('/report') || row.includes('/list'));
      });
      await page.getByRole('button', { name: 'Show all again' }).click();
      await until('all', async () => (await rows(page)).length > 5);
    },
  ],
  [
    'list: a request in flight is there before its answer',
    async (page) => {
      await page.goto(PAGE);
      await page.getByText('Live', { exact: true }).waitFor();
      const answered = fetch(`${SHOP}/wait?id=106`);
      await page.getByRole('region', { name: 'In flight' }).getByText('/wait').first().waitFor();
      await fetch(`${SHOP}/go?id=107`);
      await answered;
      await until('it has ended', async () => (await page.getByRole('region', { name: 'In flight' }).count()) === 0);
    },
  ],
  [
    'list: the query finds, stands in the address and comes back with it; what is wrong in it is said',
    async (page) => {
      await page.goto(PAGE);
      await page.getByText('Live', { exact: true }).waitFor();
      await page.keyboard.press('/');
      await page.keyboard.type('path:/list* spans:>30');
      await until('only lists', async () => {
        const all = await rows(page);
        return all.length > 0 && all.every((row) => row.includes('/list'));
      });
      assert.ok(page.url().includes('q=path'), page.url());
      await page.reload();
      await until('the same', async () => {
        const all = await rows(page);
        return all.length > 0 && all.every((row) => row.includes('/list'));
      });
      await page.locator('#query').fill('duration:long');
      await page.getByText(/cannot be searched for/).waitFor();
      await page.locator('#query').fill('-service:shop* nobody-says-this');
      await page.getByText('No trace matches').waitFor();
      // A word of a statement, of a header and of a body, and what was logged.
      for (const word of ['pg_sleep', 'Python-urllib', 'lantern', '"was placed"']) {
        await page.locator('#query').fill(word);
        await until(word, async () => (await rows(page)).length > 0);
      }
      await page.locator('#query').fill('ser');
      await page.locator('#offers').getByText('service:').first().click();
      assert.equal(await page.locator('#query').inputValue(), 'service:');
    },
  ],
  [
    'list: facets count and narrow, columns sort, keys choose and open',
    async (page) => {
      await page.goto(PAGE);
      const failed = page.getByRole('button', { name: 'Failed' });
      await failed.click();
      await until('only failures', async () => {
        const all = await rows(page);
        return all.length > 0 && all.every((row) => /\b(500|404|failed)\b/.test(row) || /\d+$/.test(row.trim()));
      });
      assert.equal(await failed.getAttribute('aria-pressed'), 'true');
      await failed.click();
      const service = page.locator('section[aria-label="Service"] .facet', { hasText: 'orders' });
      await service.click();
      await until('only with orders', async () => (await rows(page)).every((row) => row.includes('/checkout') || row.includes('/orders')));
      // Both: traces that touch the one and the other.
      await page.locator('section[aria-label="Service"] .facet', { hasText: 'stock' }).click();
      await until('only with both', async () => {
        const all = await rows(page);
        return all.length > 0 && all.every((row) => row.includes('/checkout'));
      });
      await page.locator('section[aria-label="Service"] .facet', { hasText: 'stock' }).click();
      await service.click();
      await page.getByRole('button', { name: /^Sort by duration/ }).click();
      const lengths = () =>
        page.locator('#traces .cell.duration b').evaluateAll((all) =>
          all.map((one) => {
            const [number, unit] = one.textContent.split(' ');
            return Number(number) * { ns: 1, 'µs': 1e3, ms: 1e6, s: 1e9 }[unit];
          }),
        );
      const ordered = async (sign) => {
        const all = await lengths();
        return all.length > 5 && all.every((one, at) => at === 0 || sign * (one - all[at - 1]) >= 0);
      };
      await until('the slowest first', () => ordered(-1));
      await page.getByRole('button', { name: /^Sort by duration/ }).click();
      await until('the fastest first', () => ordered(1));
      await page.getByRole('button', { name: /^Sort by duration/ }).click();
      await until('the slowest first again', () => ordered(-1));
      await page.keyboard.press('j');
      await page.keyboard.press('j');
      await page.keyboard.press('k');
      assert.equal(await page.locator('#traces a.row[aria-selected="true"]').count(), 1);
      await page.keyboard.press('Enter');
      await page.locator('#spans .span-row').first().waitFor();
      await page.keyboard.press('Escape');
      await page.keyboard.press('Escape');
      await until('the list again', async () => page.url().includes('sort=duration'));
    },
  ],
  [
    'list: every column sorts, the largest or the smallest first',
    async (page) => {
      await page.goto(FILLED);
      await page.locator('#traces a.row').first().waitFor();
      const number = (text) => Number(text.replace(/\D/g, ''));
      const columns = { service: String, title: (text) => text.replace(/\s*process died$/, ''), status: (text) => text.replace('failed', ''), spans: number, errors: number, start: String };
      const names = { title: 'request', start: 'time' };
      for (const [column, value] of Object.entries(columns)) {
        const values = async () => (await page.locator(`#traces .cell.${column}`).allInnerTexts()).slice(0, 30).map(value);
        const ordered = async (sign) => {
          const all = await values();
          return all.length > 5 && all.every((one, at) => at === 0 || one === all[at - 1] || sign * (one > all[at - 1] ? 1 : -1) > 0);
        };
        const head = page.getByRole('button', { name: new RegExp(`^Sort by ${names[column] ?? column}`) });
        await head.click();
        await until(`${column}: the largest first`, async () => (await head.getAttribute('aria-label')).endsWith('largest first') && (await ordered(-1)));
        const largest = (await values())[0];
        await head.click();
        await until(`${column}: the smallest first`, async () => (await head.getAttribute('aria-label')).endsWith('smallest first') && (await ordered(1)));
        const smallest = (await values())[0];
        assert.ok(largest > smallest, `${column}: ${largest} and ${smallest}`);
      }
    },
  ],
  [
    'list: filters by time, duration, operation and run; what is not wanted is left out',
    async (page) => {
      await page.goto(PAGE);
      await page.locator('#traces a.row').first().waitFor();
      const press = (name) => page.getByRole('button', { name, exact: true }).click();
      await press('5 min');
      await press('100ms');
      await until('only what is slow', async () => {
        const all = await page.locator('#traces .cell.duration b').allInnerTexts();
        return all.length > 0 && all.every((text) => / s$/.test(text) || (/ ms$/.test(text) && Number(text.split(' ')[0]) >= 100));
      });
      assert.match(new URL(page.url()).searchParams.get('q'), /age:<5m duration:>100ms/);
      await press('5 min');
      await press('100ms');
      await until('all', async () => new URL(page.url()).searchParams.get('q') === null);
      await press('Without 200');
      await until('none of these', async () => {
        const all = await page.locator('#traces .cell.status').allInnerTexts();
        return all.length > 0 && !all.includes('200');
      });
      await press('Without 200');
      await until('all', async () => (await page.locator('#traces .cell.status').allInnerTexts()).includes('200'));
      const operation = page.locator('section[aria-label="Operation"] .facet', { hasText: 'GET /checkout' });
      await operation.click();
      await until('only this', async () => {
        const all = await rows(page);
        return all.length > 0 && all.every((row) => row.includes('/checkout'));
      });
      await page.goto(FILLED);
      const run = page.locator('section[aria-label="Run"] .facet').filter({ has: page.getByText('1', { exact: true }) });
      const traces = Number((await run.locator('b').innerText()).replace(/\D/g, ''));
      await run.click();
      await page.getByText(`${traces} traces`, { exact: true }).waitFor();
    },
  ],
  [
    'list: a point of the latency plot tells what it is and leads to its trace',
    async (page) => {
      await page.goto(PAGE);
      const box = await page.locator('.scatter canvas').boundingBox();
      await until('a point', async () => {
        for (let y = 6; y < box.height - 16; y += 9) {
          for (let x = 52; x < box.width - 8; x += 14) {
            await page.mouse.move(box.x + x, box.y + y);
            // What is near is told once it is drawn.
            if (x % 4 === 0 && (await page.locator('.scatter-tip').count()) > 0) return true;
          }
        }
        return false;
      });
      assert.match(await page.locator('.scatter-tip').innerText(), /^[\d.]+ (ns|µs|ms|s) \d\d:\d\d:\d\d/);
      await page.mouse.down();
      await page.mouse.up();
      await page.locator('#spans .span-row').first().waitFor();
    },
  ],
  [
    'list: another process shows what the agent writes meanwhile',
    async (page) => {
      await page.goto(BESIDE);
      await page.getByText('Live', { exact: true }).waitFor();
      const before = (await rows(page)).filter((row) => row.includes('/list')).length;
      await fetch(`${SHOP}/list?id=108`);
      await until('it is there without a refresh', async () => (await rows(page)).filter((row) => row.includes('/list')).length === before + 1);
    },
  ],
  [
    'list: a part of the latency plot narrows the list',
    async (page) => {
      await page.goto(FILLED);
      const plot = page.locator('.scatter canvas');
      const box = await plot.boundingBox();
      await page.mouse.move(box.x + box.width * 0.4, box.y + 4);
      await page.mouse.down();
      await page.mouse.move(box.x + box.width * 0.9, box.y + box.height * 0.7, { steps: 4 });
      await page.mouse.up();
      await page.getByText('Only what was marked').waitFor();
      const query = new URL(page.url()).searchParams.get('q');
      assert.match(query, /start:>=20.*start:<=20.*duration:>=.*duration:<=/);
      await page.getByRole('button', { name: 'Whole time' }).click();
      await until('all again', async () => !page.url().includes('start'));
    },
  ],
  [
    'list: scrolling asks for more, and only rows in sight are made',
    async (page) => {
      await page.goto(FILLED);
      await page.locator('#traces a.row').first().waitFor();
      await until('more than two pages', async () =>
        page.evaluate(() => {
          const list = document.getElementById('traces');
          list.scrollTop = list.scrollHeight;
          return list.scrollHeight > 28 * 600;
        }),
      );
      assert.ok((await page.locator('#traces a.row').count()) < 120);
    },
  ],
];

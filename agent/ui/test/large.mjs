// A trace of 50 000 spans, and 1 000 traces a second.
import { add, assert, FILLED, LARGE, rows, SPANS, until } from './browser.mjs';

export default [
  [
    'large: all spans are there, few rows are made, and it stays quick',
    async (page) => {
      await page.goto(LARGE);
      await page.locator('#spans .span-row').first().waitFor({ timeout: 60_000 });
      const spans = SPANS.toString().replace(/\B(?=(\d{3})+$)/g, ' ');
      await page.getByText(`${spans} rows of ${spans} spans`).waitFor();
      assert.ok((await page.locator('#spans .span-row').count()) < 120);
      await page.keyboard.press('G');
      await until('the last row', async () =>
        page.evaluate(() => {
          const list = document.getElementById('spans');
          return list.scrollTop + list.clientHeight > list.scrollHeight - 60;
        }),
      );
      await page.locator('.span-row.chosen').waitFor();
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: /^Errors \d/ }).click();
      await page.locator('.span-row.failed.chosen').waitFor();
      await page.getByRole('button', { name: /^Errors \d/ }).click();
      await page.getByRole('button', { name: 'Collapse all' }).click();
      await until('a few rows', async () => (await page.locator('#spans .span-row').count()) < 12);
      await page.getByRole('button', { name: 'Expand all' }).click();
      await page.locator('#find').fill('shelf is empty');
      await page.keyboard.press('Enter');
      await page.getByText(/^\d of 5$/).waitFor();
    },
  ],
  // Last: of what others look at in this store it leaves little among the latest.
  [
    'list: of 1 000 traces a second all are listed while they come, the newest first',
    async (page) => {
      await page.goto(FILLED);
      await page.getByText('Live', { exact: true }).waitFor();
      const [batches, size] = [10, 200];
      const begun = Date.now();
      for (let batch = 0; batch < batches; batch++) {
        const now = BigInt(Date.now()) * 1_000_000n;
        const spans = Array.from({ length: size }, (_, at) => {
          const number = batch * size + at;
          return {
            traceId: `cc${number.toString(16).padStart(30, '0')}`,
            spanId: (number + 1).toString(16).padStart(16, '0'),
            startTimeUnixNano: String(now + BigInt(at) * 1000n),
            endTimeUnixNano: String(now + BigInt(at) * 1000n + 500n),
            attributes: { 'http.request.method': 'GET', 'url.path': `/poured/${number}` },
          };
        });
        await add(`${FILLED}api/v1/traces`, '', 'poured', spans);
        await new Promise((done) => setTimeout(done, begun + (batch + 1) * size - Date.now()));
      }
      const last = batches * size - 1;
      await until('the last is first', async () => (await rows(page))[0]?.includes(`/poured/${last}`));
      // None was left out on the way: the list was told of each, and asked for no page of its own.
      const listed = () => page.locator('#traces .cell.title').evaluateAll((all) => all.map((cell) => Number(cell.textContent.split('/').at(-1))));
      for (let from = 0; from < batches * size; from += 30) {
        await page.evaluate((top) => (document.getElementById('traces').scrollTop = top), from * 28);
        await until(`rows ${from} and on`, async () => {
          const found = new Set(await listed());
          return Array.from({ length: 30 }, (_, at) => last - from - at).every((number) => number < 0 || found.has(number));
        });
      }
    },
  ],
];

// A trace of 50 000 spans.
import { assert, LARGE, SPANS, until } from './browser.mjs';

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
];

// Figures of the page, as JSON: how soon it is there, how smooth it scrolls, how quick it finds.
import { FILLED, LARGE, launch } from './browser.mjs';

const ROUNDS = 3;

const middle = (values) => [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];

/** The time until something is in the page and was drawn, from when the page was asked for. */
async function shown(page, url, selector) {
  await page.goto('about:blank');
  await page.addInitScript((wanted) => {
    const look = () => {
      // The frame in which it is there, and the one in which it was drawn.
      if (document.querySelector(wanted) === null) requestAnimationFrame(look);
      else requestAnimationFrame(() => (window.shownMs = performance.now()));
    };
    requestAnimationFrame(look);
  }, selector);
  await page.goto(url);
  await page.waitForFunction(() => window.shownMs !== undefined, undefined, { timeout: 120_000 });
  return await page.evaluate(() => window.shownMs);
}

/** Frames a second while it scrolls for a time, and the share of frames that came late. */
async function scroll(page) {
  return await page.evaluate(async () => {
    const list = document.getElementById('spans');
    const times = [];
    const begun = performance.now();
    await new Promise((done) => {
      const step = (now) => {
        times.push(now);
        list.scrollTop += 130;
        if (now - begun < 3000) requestAnimationFrame(step);
        else done();
      };
      requestAnimationFrame(step);
    });
    const gaps = times.slice(1).map((time, at) => time - times[at]);
    return {
      frames_per_second: (1000 * gaps.length) / (times.at(-1) - times[0]),
      late_frames_percent: (100 * gaps.filter((gap) => gap > 25).length) / gaps.length,
    };
  });
}

/** From the last key to the rows that match. */
async function filter(page, query) {
  await page.goto(FILLED);
  await page.locator('#traces a.row').first().waitFor();
  return await page.evaluate(async (text) => {
    const before = document.querySelector('.shown').textContent;
    const begun = performance.now();
    const input = document.getElementById('query');
    input.focus();
    input.value = text;
    input.dispatchEvent(new Event('input', { bubbles: true }));
    input.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }));
    await new Promise((done) => {
      const look = () => {
        const first = document.querySelector('#traces a.row');
        const matches = first !== null && first.querySelector('.cell.status').textContent === '503';
        if (matches && location.search.includes('503')) done();
        else requestAnimationFrame(look);
      };
      look();
    });
    return performance.now() - begun + 0 * before.length;
  }, query);
}

const browser = await launch();
const rounds = [];
for (let round = 0; round < ROUNDS; round++) {
  const page = await (await browser.newContext({ viewport: { width: 1440, height: 860 } })).newPage();
  const load = await shown(page, FILLED, '#traces a.row');
  const other = await (await browser.newContext({ viewport: { width: 1440, height: 860 } })).newPage();
  const paint = await shown(other, LARGE, '#spans .span-row');
  const scrolled = await scroll(other);
  const filtered = await filter(page, 'status:503 duration:>60ms');
  rounds.push({ page_load_ms: load, first_paint_50000_ms: paint, ...scrolled, filter_100000_ms: filtered });
}
await browser.close();
console.log(JSON.stringify(Object.fromEntries(Object.keys(rounds[0]).map((name) => [name, middle(rounds.map((round) => round[name]))]))));

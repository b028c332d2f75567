// Figures of the page, as JSON: how soon it is there, how smooth it scrolls, how quick it finds.
import { FILLED, LARGE, launch } from './browser.mjs';

const ROUNDS = 3;
/** The number of the first trace that is poured while the list is looked at; of all others it is smaller. */
const POURED = 2 ** 40;

const middle = (values) => [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)];

/** What something gives, and how long the page's own thread was on a CPU for it: on a loaded machine the rest is mostly others'. */
async function timed(page, what) {
  await browser.startTracing(page, { categories: ['toplevel'] });
  const given = await what();
  const { traceEvents } = JSON.parse((await browser.stopTracing()).toString());
  const own = new Set(traceEvents.filter((one) => one.name === 'thread_name' && one.args.name === 'CrRendererMain').map((one) => `${one.pid} ${one.tid}`));
  const tasks = traceEvents.filter((one) => one.ph === 'X' && one.name === 'ThreadControllerImpl::RunTask' && own.has(`${one.pid} ${one.tid}`));
  return [given, tasks.reduce((sum, one) => sum + (one.tdur ?? 0), 0) / 1000];
}

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
      frames: gaps.length,
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

/** How far the list is behind while traces come, how it moves, and how many of those that came it does not list. */
async function live(page) {
  await page.goto(FILLED);
  await page.getByText('Live', { exact: true }).waitFor();
  // What was there before is as old as it is.
  await page.waitForFunction((first) => Number(document.querySelector('#traces a.row .cell.title')?.textContent.split('/').at(-1)) >= first, POURED, { timeout: 60_000 });
  const moved = await page.evaluate(async (time) => {
    const ages = [];
    const frames = [];
    const begun = performance.now();
    let sampled = begun;
    await new Promise((done) => {
      const step = (now) => {
        frames.push(now);
        if (now - sampled > 100) {
          sampled = now;
          const row = document.querySelector('#traces a.row .cell.start');
          const [hours, minutes, seconds] = (row?.textContent ?? '').split(' ').at(-1).split(':').map(Number);
          const today = new Date();
          ages.push(today.getTime() - new Date(today.getFullYear(), today.getMonth(), today.getDate(), hours, minutes, 0).getTime() - 1000 * seconds);
        }
        if (now - begun < time) requestAnimationFrame(step);
        else done();
      };
      requestAnimationFrame(step);
    });
    ages.sort((one, other) => one - other);
    return {
      live_behind_ms: ages[Math.floor(ages.length / 2)],
      live_worst_behind_ms: ages.at(-1),
      live_frames_per_second: (1000 * (frames.length - 1)) / (frames.at(-1) - frames[0]),
    };
  }, 10_000);
  await page.getByRole('button', { name: 'Pause' }).click();
  return { ...moved, ...(await walk(page, POURED)) };
}

/** Goes through the list down to the traces before `first`: how many there are from it on, and how many numbers up to the highest are nowhere.
 *  Neighbors alone do not tell: traces that began within the 256 ns to which the page knows a time stand in any order. */
async function walk(page, first) {
  return await page.evaluate(async (first) => {
    const list = document.getElementById('traces');
    const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const found = new Set();
    let older = false;
    list.scrollTop = 0;
    while (!older) {
      await frame();
      for (const cell of list.querySelectorAll('a.row .cell.title')) {
        const number = Number(cell.textContent.split('/').at(-1));
        if (number >= first) found.add(number);
        else older = true;
      }
      const before = list.scrollTop;
      list.scrollTop += list.clientHeight;
      // At the end more is asked for, as long as there is more.
      for (let waited = 0; list.scrollTop === before && !older; waited++) {
        if (waited > 300) throw new Error(`the list ends after ${found.size} of those that came`);
        await frame();
        list.scrollTop += list.clientHeight;
      }
    }
    const highest = [...found].reduce((one, other) => Math.max(one, other), first);
    return { live_listed: found.size, live_missing: highest - first + 1 - found.size };
  }, first);
}

const view = { viewport: { width: 1440, height: 860 } };
const browser = await launch();
if (process.argv[2] === 'live') {
  const page = await (await browser.newContext(view)).newPage();
  console.log(JSON.stringify(await live(page)));
  await browser.close();
  process.exit();
}
const rounds = [];
for (let round = 0; round < ROUNDS; round++) {
  const page = await (await browser.newContext(view)).newPage();
  const load = await shown(page, FILLED, '#traces a.row');
  const other = await (await browser.newContext(view)).newPage();
  const [paint, paintCpu] = await timed(other, () => shown(other, LARGE, '#spans .span-row'));
  const [{ frames, ...scrolled }, scrollCpu] = await timed(other, () => scroll(other));
  const filtered = await filter(page, 'status:503 duration:>60ms');
  rounds.push({
    page_load_ms: load,
    first_paint_50000_ms: paint,
    first_paint_50000_cpu_ms: paintCpu,
    ...scrolled,
    frame_cpu_ms: scrollCpu / frames,
    filter_100000_ms: filtered,
  });
}
await browser.close();
console.log(JSON.stringify(Object.fromEntries(Object.keys(rounds[0]).map((name) => [name, middle(rounds.map((round) => round[name]))]))));

// Every test, in the order in which one meets the page: node test/all.mjs [PART OF A NAME].
import { run } from './browser.mjs';
import access from './access.mjs';
import large from './large.mjs';
import list from './list.mjs';
import panel from './panel.mjs';
import safety from './safety.mjs';
import trace from './trace.mjs';
import views from './views.mjs';
import shots from './shots.mjs';

await run([...list, ...trace, ...panel, ...views, ...access, ...safety, ...large, ...shots]);

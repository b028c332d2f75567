/** What is around every view: where one can go, the theme, the keys. */
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { ComponentChildren, JSX } from 'preact';

import { path } from './base/place';
import { nextTheme, theme } from './base/theme';
import { said } from './base/copy';
import { Empty } from './base/Empty';
import { Icon } from './base/Icon';
import { isTyping } from './base/keys';
import { Keys } from './Keys';
import { ListView } from './list/ListView';
import { TraceView } from './trace/TraceView';
import { EndpointsView } from './other/EndpointsView';
import { ErrorsView } from './other/ErrorsView';
import { MapView } from './other/MapView';
import { RunsView } from './other/RunsView';
import { TestsView } from './other/TestsView';

interface View {
  path: string;
  name: string;
  show: () => JSX.Element;
}

const VIEWS: View[] = [
  { path: '/', name: 'Traces', show: () => <ListView /> },
  { path: '/endpoints', name: 'Endpoints', show: () => <EndpointsView /> },
  { path: '/errors', name: 'Errors', show: () => <ErrorsView /> },
  { path: '/map', name: 'Map', show: () => <MapView /> },
  { path: '/runs', name: 'Runs', show: () => <RunsView /> },
  { path: '/tests', name: 'Tests', show: () => <TestsView /> },
];

const showsKeys = signal(false);

export function Shell(): JSX.Element {
  const trace = /^\/trace\/([0-9a-f]{8,32})$/i.exec(path.value)?.[1];
  const view = VIEWS.find((one) => one.path === path.value);

  useEffect(() => {
    document.title = trace === undefined ? `${view?.name ?? 'Nothing here'} - Clew` : `Trace ${trace.slice(0, 8)} - Clew`;
  }, [trace, view?.name]);

  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      if (event.key === '?') showsKeys.value = !showsKeys.value;
      else if (event.key === 'Escape' && showsKeys.value) showsKeys.value = false;
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    };
    addEventListener('keydown', keys, { capture: true });
    return () => removeEventListener('keydown', keys, { capture: true });
  }, []);

  let shown: ComponentChildren = <Empty title="There is nothing here">The address names no view.</Empty>;
  if (trace !== undefined) shown = <TraceView key={trace} id={trace} />;
  else if (view !== undefined) shown = view.show();
  const inList = trace !== undefined || view?.path === '/';

  return (
    <>
      <header class="top">
        <a class="brand" href="/" aria-label="Clew: all traces">
          <img src="/favicon.svg" alt="" width="18" height="18" />
          <span>clew</span>
        </a>
        <nav aria-label="Views">
          {VIEWS.map((one) => {
            const current = one === view || (one.path === '/' && inList);
            return (
              <a key={one.path} href={one.path} aria-current={current ? 'page' : undefined}>
                {one.name}
              </a>
            );
          })}
        </nav>
        <span class="grow" />
        <button type="button" class="quiet" title={`Theme: ${theme.value}`} aria-label={`Theme: ${theme.value}. Change it`} onClick={nextTheme}>
          <Icon name={theme.value === 'light' ? 'sun' : theme.value === 'dark' ? 'moon' : 'half'} />
        </button>
        <button type="button" class="quiet" title="Keys (?)" aria-label="Show keys" onClick={() => (showsKeys.value = true)}>
          <Icon name="keyboard" />
        </button>
      </header>
      <main>
        {trace === undefined && <h1 class="off-screen">{view?.name ?? 'Nothing here'}</h1>}
        {shown}
      </main>
      <div class={said.value === '' ? 'toast' : 'toast on'} role="status">
        {said.value}
      </div>
      {showsKeys.value && <Keys close={() => (showsKeys.value = false)} />}
    </>
  );
}

/** One trace. */
import { useEffect, useLayoutEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { ask, follow, Problem, save } from '../base/api';
import { copy } from '../base/copy';
import { Empty } from '../base/Empty';
import { count, duration, fullTime } from '../base/format';
import { Icon } from '../base/Icon';
import { isTyping } from '../base/keys';
import { type Packed, unpacked } from '../base/packed';
import { go, listOf } from '../base/place';
import { FoldPanel } from '../panel/FoldPanel';
import { SpanPanel } from '../panel/SpanPanel';
import { LogTable } from './LogTable';
import { Minimap } from './Minimap';
import { Operations } from './Operations';
import { Toolbar } from './Toolbar';
import { Viewer } from './viewer';
import { Waterfall } from './Waterfall';

/** A trace that is older than this does not grow any more. */
const GROWS_MS = 120_000;

export function TraceView(props: { id: string }): JSX.Element {
  const [viewer, setViewer] = useState<Viewer | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);

  // Before it is drawn for the first time: the answer comes meanwhile.
  useLayoutEffect(() => {
    const abort = new AbortController();
    let current: Viewer | null = null;
    let asking = false;
    let again = false;
    const load = async () => {
      again = asking;
      if (asking) return;
      asking = true;
      try {
        const trace = unpacked(await ask<Packed>(`traces/${props.id}/columns`, abort.signal));
        if (current === null) {
          current = new Viewer(trace);
          setViewer(current);
          if (Date.now() - trace.start_unix_ns / 1e6 < GROWS_MS) void grow();
        } else current.grow(trace);
      } catch (error) {
        if (error instanceof Problem && current === null) setProblem(error);
      }
      asking = false;
      // What was told meanwhile may not have been in that answer.
      if (again && !abort.signal.aborted) await load();
    };
    const grow = () =>
      follow(
        `trace:${props.id}`,
        {
          // What came between the first answer and this is told by nobody.
          begun: () => void load(),
          refresh: () => void load(),
          failed: () => {},
          traces: (rows) => rows.some((row) => row.spans !== current?.model.value.nodes.length) && void load(),
        },
        abort.signal,
      );
    void load();
    return () => abort.abort();
  }, [props.id]);

  if (problem !== null) {
    return (
      <Empty title={problem.code === 404 ? 'This trace is not here' : 'The trace cannot be shown'}>
        {problem.code === 404 ? 'The oldest traces go when the store is full.' : problem.message} <a href="/">All traces</a>
      </Empty>
    );
  }
  return viewer === null ? <Empty title="Loading">The trace is read.</Empty> : <Shown viewer={viewer} />;
}

function Shown(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  useEffect(() => {
    const keys = (event: KeyboardEvent) => pressed(event, viewer);
    addEventListener('keydown', keys);
    document.getElementById('spans')?.focus({ preventScroll: true });
    return () => removeEventListener('keydown', keys);
  }, [viewer]);

  const node = viewer.node.value;
  return (
    <div class="trace">
      <Head viewer={viewer} />
      {viewer.model.value.banners.map((banner) => (
        <p class="banner warn" role="note" key={banner}>
          <Icon name="warn" /> {banner}
        </p>
      ))}
      <Toolbar viewer={viewer} />
      <div class="trace-body">
        <div class="trace-main">
          <Minimap viewer={viewer} />
          {viewer.table.value && <Operations viewer={viewer} />}
          {viewer.showsLogs.value && viewer.logRows.value.length > 0 && <LogTable viewer={viewer} />}
          <Waterfall viewer={viewer} />
        </div>
        {node !== null && <SpanPanel node={node} viewer={viewer} />}
        {node === null && viewer.fold.value !== null && <FoldPanel fold={viewer.fold.value} viewer={viewer} />}
      </div>
    </div>
  );
}

function Head(props: { viewer: Viewer }): JSX.Element {
  const model = props.viewer.model.value;
  const { trace } = model;
  const json = () => copy(JSON.stringify(trace, null, 2), 'The trace as JSON');
  return (
    <div class="trace-head">
      <a class="back" href="/" onClick={back} aria-label="Back to the list">
        <Icon name="left" />
      </a>
      <h1 title={trace.title}>
        <span class="muted">{trace.service}</span> {trace.title}
      </h1>
      {trace.status !== '' && <b class={trace.error ? 'code bad' : 'code'}>{trace.status}</b>}
      <dl class="figures">
        <div>
          <dt>Duration</dt>
          <dd>{duration(model.end)}</dd>
        </div>
        <div>
          <dt>Spans</dt>
          <dd>{count(model.nodes.length)}</dd>
        </div>
        <div>
          <dt>Services</dt>
          <dd>{model.services.size}</dd>
        </div>
        <div>
          <dt>Errors</dt>
          <dd class={model.failed.length > 0 ? 'bad' : ''}>{count(model.failed.length)}</dd>
        </div>
        <div>
          <dt>Start</dt>
          <dd>{fullTime(trace.start_unix_ns).replace(' UTC', '').slice(5)}</dd>
        </div>
        <div>
          <dt>Trace</dt>
          <dd>
            <code title={trace.trace_id}>{trace.trace_id.slice(0, 12)}</code>
          </dd>
        </div>
      </dl>
      <button type="button" title="Save as OTLP JSON" onClick={() => void save(`traces/${trace.trace_id}/otlp`, `${trace.trace_id}.otlp.json`)}>
        OTLP
      </button>
      <button type="button" title="Save for ui.perfetto.dev" onClick={() => void save(`traces/${trace.trace_id}/perfetto`, `${trace.trace_id}.perfetto.json`)}>
        Perfetto
      </button>
      <button type="button" class="quiet" title="Copy a link to this view" aria-label="Copy a link to this view" onClick={() => copy(location.href, 'The link')}>
        <Icon name="link" />
      </button>
      <button type="button" class="quiet" title="Copy the trace as JSON" aria-label="Copy the trace as JSON" onClick={json}>
        <Icon name="copy" />
      </button>
    </div>
  );
}

/** To the list as it was, where one came from it. */
function back(event: Event): void {
  event.preventDefault();
  leave();
}

function leave(): void {
  const query = sessionStorage.getItem('clew.list') ?? '';
  go(query === '' ? listOf('') : `/${query}`);
}

function pressed(event: KeyboardEvent, viewer: Viewer): void {
  if (isTyping(event) || document.querySelector('dialog[open]') !== null) return;
  // Buttons and what can be moved have keys of their own.
  const own = event.target instanceof Element && event.target.closest('button, summary, .panel, .operations') !== null;
  if (own && ['Enter', 'ArrowUp', 'ArrowDown', 'ArrowLeft', 'ArrowRight', 'PageUp', 'PageDown', 'Home', 'End'].includes(event.key)) return;
  const does: Record<string, () => void> = {
    j: () => viewer.move(1),
    ArrowDown: () => viewer.move(1),
    k: () => viewer.move(-1),
    ArrowUp: () => viewer.move(-1),
    PageDown: () => viewer.move(20),
    PageUp: () => viewer.move(-20),
    Home: () => viewer.edge(false),
    g: () => viewer.edge(false),
    End: () => viewer.edge(true),
    G: () => viewer.edge(true),
    ArrowRight: () => viewer.right(),
    ArrowLeft: () => viewer.left(),
    l: () => viewer.right(),
    h: () => viewer.left(),
    Enter: () => document.getElementById('panel')?.focus(),
    '/': () => document.getElementById('find')?.focus(),
    n: () => viewer.step(true),
    N: () => viewer.step(false),
    e: () => viewer.step(true, viewer.model.value.failed),
    c: () => viewer.show(viewer.pill.value === 'critical' ? '' : 'critical'),
    s: () => viewer.show(viewer.pill.value === 'slowest' ? '' : 'slowest'),
    m: () => viewer.toggleOnly(),
    f: () => viewer.toggleFocus(),
    z: () => viewer.toggleZoom(),
    v: () => viewer.toggleLanes(),
    L: () => (viewer.showsLogs.value = !viewer.showsLogs.value),
    t: () => (viewer.table.value = !viewer.table.value),
    Escape: () => {
      if (viewer.table.value) viewer.table.value = false;
      else if (viewer.showsLogs.value) viewer.showsLogs.value = false;
      else if (viewer.selected.value !== '') viewer.select('');
      else if (viewer.zoom.value !== null) viewer.zoom.value = null;
      else if (viewer.isFiltered.value) viewer.reset();
      else leave();
    },
  };
  const action = does[event.key];
  if (action === undefined) return;
  event.preventDefault();
  action();
}

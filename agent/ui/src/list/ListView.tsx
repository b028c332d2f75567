/** All traces, as they come. */
import { signal } from '@preact/signals';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { ask, importTraces, parameters } from '../base/api';
import { color } from '../base/color';
import { say } from '../base/copy';
import { Empty } from '../base/Empty';
import { ago, clock, count, duration, fullTime } from '../base/format';
import { Icon } from '../base/Icon';
import { isTyping } from '../base/keys';
import { go, parameter, set, traceOf } from '../base/place';
import type { Facets as Counts, Point, TraceRow } from '../base/types';
import { Virtual } from '../base/Virtual';
import { Facets } from './Facets';
import { Flight } from './Flight';
import { type Column, Live, readSort } from './live';
import { isNarrowed, narrowed, Scatter, widened } from './Scatter';
import { SearchBox } from './SearchBox';

const ROW = 28;
/** The trace one came from, to be found again. */
const chosen = signal('');
/** Where there is no room for them beside the list, filters are shown when asked for. */
const showsFilters = signal(false);
const showsPlot = signal(localStorage.getItem('clew.plot') !== 'off');

let kept: Live | null = null;

/** The list that was there before, where it answers the same question. */
function live(query: string, sort: string): Live {
  const wanted = readSort(sort);
  if (kept === null || kept.query !== query || JSON.stringify(kept.sort) !== JSON.stringify(wanted)) kept = new Live(query, wanted);
  return kept;
}

export function ListView(): JSX.Element {
  const query = parameter('q');
  const sort = parameter('sort');
  const list = useMemo(() => live(query, sort), [query, sort]);
  const [counts, points] = useSummary(query, list);

  useEffect(() => {
    // Where the way back from a trace leads.
    sessionStorage.setItem('clew.list', location.search);
  });

  // Before it is drawn for the first time: the answer comes meanwhile.
  useLayoutEffect(() => {
    list.open();
    return () => list.close();
  }, [list]);

  const rows = list.shown.value;
  const at = rows.findIndex((row) => row.trace_id === chosen.value);
  const search = (text: string) => set({ q: text }, true);
  const open = (id: string) => {
    chosen.value = id;
    go(traceOf(id));
  };

  useEffect(() => {
    const keys = (event: KeyboardEvent) => {
      if (isTyping(event)) return;
      // What is chosen and shown now: the key before this one may have changed it since the last drawing.
      const rows = list.shown.value;
      const at = rows.findIndex((row) => row.trace_id === chosen.value);
      const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, PageDown: 20, PageUp: -20 }[event.key];
      if (step !== undefined) {
        const next = rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + step))];
        if (next !== undefined) chosen.value = next.trace_id;
        // Enter is for the row from here on, and not for what was pressed before.
        document.getElementById('traces')?.focus({ preventScroll: true });
      } else if (event.key === 'Enter' && at >= 0 && !(event.target instanceof HTMLButtonElement)) open(chosen.value);
      else if (event.key === '/') document.getElementById('query')?.focus();
      else if (event.key === 'p') list.paused.value ? list.resume() : list.pause();
      else if (event.key === 'c') list.clear();
      else if (event.key === 'Escape' && isNarrowed(query)) search(widened(query));
      else return;
      event.preventDefault();
    };
    addEventListener('keydown', keys);
    return () => removeEventListener('keydown', keys);
  }, [query, list]);

  const problem = list.problem.value;
  const longest = useMemo(() => rows.reduce((most, row) => Math.max(most, row.duration_ns), 1), [rows]);
  const names = useMemo(() => counts?.fields.find((one) => one.field === 'service')?.values.map((one) => one.value) ?? [], [counts]);
  const active = rows[at];

  return (
    <div class={showsFilters.value ? 'list filtering' : 'list'}>
      <Facets query={query} counts={counts} onQuery={search} />
      <div class="list-main">
        <div class="bar">
          <button type="button" class="narrow-only" aria-pressed={showsFilters.value} onClick={() => (showsFilters.value = !showsFilters.value)}>
            Filters
          </button>
          <SearchBox query={query} problem={problem?.code === 400 ? problem.message : null} services={names} onQuery={search} />
          <State list={list} />
          <Import />
          <button type="button" class="quiet" title="Latency plot" aria-label="Latency plot" aria-pressed={showsPlot.value} onClick={togglePlot}>
            <Icon name="chart" />
          </button>
        </div>
        {problem !== null && problem.code !== 400 && (
          <p class="banner bad" role="alert">
            <Icon name="warn" /> {problem.code === 401 ? 'A token is wanted: open the address that clew printed.' : problem.message}
          </p>
        )}
        {isNarrowed(query) && (
          <p class="banner">
            Only what was marked in the plot is shown.
            <button type="button" class="small" onClick={() => search(widened(query))}>
              Whole time (Esc)
            </button>
          </p>
        )}
        {showsPlot.value && points.length > 0 && (
          <Scatter points={points} onOpen={open} onArea={(area) => search(narrowed(query, area))} />
        )}
        <Head list={list} shown={rows.length} matching={counts} />
        <Flight requests={list.inFlight.value} />
        {rows.length === 0 ? (
          <Nothing list={list} query={query} />
        ) : (
          <Virtual
            id="traces"
            label="Traces"
            count={rows.length}
            height={ROW}
            reveal={at < 0 ? undefined : at}
            active={active === undefined ? undefined : `trace-${active.trace_id}`}
            onEnd={() => void list.more()}
            row={(index) => {
              const row = rows[index];
              return row === undefined ? null : <Row key={row.trace_id} row={row} longest={longest} chosen={index === at} />;
            }}
          />
        )}
      </div>
    </div>
  );
}

const POINTS = 4000;
const SUMMARY_MS = 2000;

/** What all that match have in common, asked again while there is news. */
function useSummary(query: string, list: Live): [Counts | null, Point[]] {
  const [state, setState] = useState<[Counts | null, Point[]]>([null, []]);
  const changes = useRef<unknown>(null);
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    changes.current = null;
    const load = async () => {
      const rows = list.rows.peek();
      // The rows come first.
      if (list.loading.peek()) {
        timer = setTimeout(load, 30);
        return;
      }
      if (changes.current !== rows && !list.paused.peek() && !document.hidden) {
        changes.current = rows;
        try {
          const [counts, found] = await Promise.all([
            ask<Counts>(`facets${parameters({ q: query })}`, abort.signal),
            ask<{ points: Point[] }>(`points${parameters({ q: query, limit: POINTS })}`, abort.signal),
          ]);
          setState([counts, found.points]);
        } catch {
          // The list says what is wrong.
          if (abort.signal.aborted) return;
        }
      }
      timer = setTimeout(load, SUMMARY_MS);
    };
    void load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [query, list]);
  return state;
}

function togglePlot(): void {
  showsPlot.value = !showsPlot.value;
  localStorage.setItem('clew.plot', showsPlot.value ? 'on' : 'off');
}

function State(props: { list: Live }): JSX.Element {
  const { list } = props;
  const paused = list.paused.value;
  const word = paused ? 'Paused' : list.connected.value ? 'Live' : 'Not connected';
  return (
    <div class="state">
      <span class={`lamp ${paused ? 'paused' : list.connected.value ? 'on' : 'off'}`} role="status">
        {word}
        {paused && list.waiting.value > 0 && `, ${count(list.waiting.value)} new`}
      </span>
      <button type="button" onClick={() => (paused ? list.resume() : list.pause())} title={paused ? 'Resume (p)' : 'Pause (p)'}>
        <Icon name={paused ? 'play' : 'pause'} />
        {paused ? 'Resume' : 'Pause'}
      </button>
      <button type="button" onClick={() => list.clear()} title="Hide what is shown and wait for what comes (c)">
        <Icon name="clear" />
        Clear
      </button>
      {list.since.value > 0 && (
        <button type="button" onClick={() => list.showAll()}>
          Show all again
        </button>
      )}
    </div>
  );
}

function Import(): JSX.Element {
  const take = async (input: HTMLInputElement) => {
    const [file] = input.files ?? [];
    if (file === undefined) return;
    input.value = '';
    await importTraces(file).then(
      ({ spans }) => say(`${count(spans)} spans were added`),
      (error: Error) => say(error.message),
    );
  };
  return (
    <label class="import" title="Add traces of a file of OTLP JSON">
      Import
      <input type="file" accept=".json,.jsonl,application/json" onChange={(event) => void take(event.currentTarget)} />
    </label>
  );
}

const COLUMNS: [Column, string][] = [
  ['start', 'Time'],
  ['service', 'Service'],
  ['title', 'Request'],
  ['status', 'Status'],
  ['duration', 'Duration'],
  ['spans', 'Spans'],
  ['errors', 'Errors'],
];

function Head(props: { list: Live; shown: number; matching: Counts | null }): JSX.Element {
  const { sort } = props.list;
  return (
    <div class="row head">
      {COLUMNS.map(([column, name]) => {
        const on = sort.column === column;
        const next = on && !sort.ascending ? `-${column}` : column;
        return (
          <button
            type="button"
            key={column}
            class={`cell ${column}`}
            aria-pressed={on}
            aria-label={`Sort by ${name.toLowerCase()}${on ? (sort.ascending ? ', smallest first' : ', largest first') : ''}`}
            onClick={() => set({ sort: next === 'start' ? '' : next })}
          >
            {name}
            {on && <Icon name={sort.ascending ? 'up' : 'down'} />}
          </button>
        );
      })}
      <span class="shown" role="status">
        {props.matching === null || props.list.since.value > 0
          ? count(props.shown)
          : `${count(Math.max(props.matching.traces, props.shown))}${props.matching.cut ? ' and more' : ''}`}{' '}
        {props.shown === 1 ? 'trace' : 'traces'}
      </span>
    </div>
  );
}

function Row(props: { row: TraceRow; longest: number; chosen: boolean }): JSX.Element {
  const { row } = props;
  // By its square root: else one slow trace makes lines of all others.
  const length = Math.sqrt(row.duration_ns / props.longest) * 100;
  return (
    <a
      id={`trace-${row.trace_id}`}
      class={row.errors > 0 ? 'row failed' : 'row'}
      role="option"
      aria-selected={props.chosen}
      tabIndex={-1}
      href={traceOf(row.trace_id)}
      onClick={() => (chosen.value = row.trace_id)}
    >
      <span class="cell start" title={`${fullTime(row.start_unix_ns)}, ${ago(row.start_unix_ns)}`}>
        {clock(row.start_unix_ns)}
      </span>
      <span class="cell service">
        <i class="dot" style={{ background: color(row.service) }} />
        <span class="cut">{row.service}</span>
      </span>
      <span class="cell title" title={row.title}>
        {row.title}
        {row.died && (
          <b class="died" title="A process ended in the midst of it">
            process died
          </b>
        )}
      </span>
      <span class={`cell status ${statusClass(row)}`}>{row.status === '' ? (row.error ? 'failed' : '') : row.status}</span>
      <span class="cell duration">
        <i class="length" style={{ width: `${length}%` }} />
        <b>{duration(row.duration_ns)}</b>
      </span>
      <span class="cell spans">{count(row.spans)}</span>
      <span class="cell errors">{row.errors > 0 ? count(row.errors) : ''}</span>
    </a>
  );
}

function statusClass(row: TraceRow): string {
  const code = Number(row.status);
  if (row.error || code >= 500) return 'bad';
  return code >= 400 ? 'warn' : '';
}

function Nothing(props: { list: Live; query: string }): JSX.Element {
  if (props.list.loading.value) return <Empty title="Looking">The store is asked.</Empty>;
  if (props.list.since.value > 0) return <Empty title="Cleared">What comes from here on is shown.</Empty>;
  if (props.query !== '') {
    return (
      <Empty title="No trace matches">
        <button type="button" onClick={() => set({ q: '' }, true)}>
          Show all
        </button>
      </Empty>
    );
  }
  return <Empty title="No traces yet">Send a request to what clew runs: its trace appears here.</Empty>;
}

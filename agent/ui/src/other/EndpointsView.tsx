/** What services answer and ask: how often, how long, how often it failed. */
import { useMemo } from 'preact/hooks';
import type { JSX } from 'preact';

import { parameters } from '../base/api';
import { useAsked } from '../base/asked';
import { color } from '../base/color';
import { Empty } from '../base/Empty';
import { count, duration, percent, rate } from '../base/format';
import { Icon } from '../base/Icon';
import { listOf, parameter, set } from '../base/place';
import { quote } from '../base/term';
import type { Bin, Endpoint } from '../base/types';
import { Find } from './Find';
import { Runs } from './Runs';

type Key = 'name' | 'count' | 'errors' | 'p50' | 'p90' | 'p99' | 'max' | 'sum';

const COLUMNS: [Key, string, (one: Endpoint) => number][] = [
  ['count', 'Calls', (one) => one.count],
  ['errors', 'Errors', (one) => one.errors / Math.max(one.count, 1)],
  ['p50', 'p50', (one) => one.p50_ns],
  ['p90', 'p90', (one) => one.p90_ns],
  ['p99', 'p99', (one) => one.p99_ns],
  ['max', 'Max', (one) => one.max_ns],
  ['sum', 'Total', (one) => one.sum_ns],
];
const EVERY_MS = 3000;

export function EndpointsView(): JSX.Element {
  const run = parameter('run');
  const kind = parameter('kind');
  const words = parameter('find').toLowerCase();
  const sort = (parameter('sort') || 'sum') as Key;
  const [all, problem] = useAsked<Endpoint[]>(`endpoints${parameters({ run })}`, EVERY_MS);
  const rows = useMemo(() => {
    const column = COLUMNS.find(([key]) => key === sort);
    const matching = (all ?? []).filter(
      (one) => (kind === '' || one.kind === kind) && `${one.service} ${one.name}`.toLowerCase().includes(words),
    );
    return matching.sort((one, other) =>
      column === undefined ? `${one.service} ${one.name}`.localeCompare(`${other.service} ${other.name}`) : column[2](other) - column[2](one),
    );
  }, [all, kind, words, sort]);

  // The same minute of all stands in the same place.
  const last = (all ?? []).reduce((latest, one) => Math.max(latest, one.bins.at(-1)?.unix_s ?? 0), 0);

  return (
    <div class="view">
      <div class="bar">
        <Find label="Find endpoints" placeholder="Service or name" />
        <div class="pills" role="group" aria-label="Kind">
          {['', 'server', 'client', 'producer', 'consumer'].map((one) => (
            <button type="button" class="pill" key={one} aria-pressed={kind === one} onClick={() => set({ kind: one })}>
              {one === '' ? 'all' : one}
            </button>
          ))}
        </div>
        <span class="grow" />
        <Runs />
      </div>
      {problem !== null && <p class="banner bad" role="alert">{problem}</p>}
      {all !== null && rows.length === 0 ? (
        <Empty title="No endpoints">{all.length === 0 ? 'Nothing was called yet.' : 'None of them matches.'}</Empty>
      ) : (
        <div class="table-box" tabIndex={0} role="region" aria-label="Endpoints">
          <table class="table">
            <thead>
              <tr>
                <th class="text" aria-sort={sort === 'name' ? 'ascending' : 'none'}>
                  <button type="button" onClick={() => set({ sort: 'name' })}>
                    Endpoint
                  </button>
                </th>
                <th>Rate</th>
                {COLUMNS.map(([key, name]) => (
                  <th key={key} aria-sort={sort === key ? 'descending' : 'none'}>
                    <button type="button" onClick={() => set({ sort: key === 'sum' ? '' : key })}>
                      {name}
                      {sort === key && <Icon name="down" />}
                    </button>
                  </th>
                ))}
                <th class="text">By minute</th>
              </tr>
            </thead>
            <tbody>
              {rows.slice(0, 500).map((one) => (
                <tr key={`${one.service}\n${one.kind}\n${one.name}`}>
                  <td class="text">
                    <a href={listOf(termsOf(one, run))}>
                      <i class="dot" style={{ background: color(one.service) }} />
                      <span class="service">{one.service}</span> <span class="kind">{one.kind}</span> {one.name}
                    </a>
                  </td>
                  <td>{rate(one.per_second)}</td>
                  <td>{count(one.count)}</td>
                  <td class={one.errors > 0 ? 'bad' : 'muted'}>
                    {one.errors > 0 ? (
                      <a href={listOf(`${termsOf(one, run)} error:true`)}>
                        {count(one.errors)} <small>{percent(one.errors, one.count)}</small>
                      </a>
                    ) : (
                      '0'
                    )}
                  </td>
                  <td>{duration(one.p50_ns)}</td>
                  <td>{duration(one.p90_ns)}</td>
                  <td>{duration(one.p99_ns)}</td>
                  <td>{duration(one.max_ns)}</td>
                  <td>{duration(one.sum_ns)}</td>
                  <td class="text">
                    <Sparkline bins={one.bins} last={last} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

/** What finds an endpoint's traces. */
function termsOf(one: Endpoint, run: string): string {
  return `service:${quote(one.service)} name:${quote(one.name)} kind:${one.kind}${run === '' ? '' : ` run:${run}`}`;
}

const MINUTES = 30;

/** Calls in each of the last minutes up to `last`, those that failed from below. */
function Sparkline(props: { bins: Bin[]; last: number }): JSX.Element {
  const { last } = props;
  const shown = props.bins.filter((bin) => bin.unix_s > last - MINUTES * 60);
  const most = shown.reduce((largest, bin) => Math.max(largest, bin.count), 0);
  return (
    <svg class="spark" viewBox={`0 0 ${MINUTES * 4} 20`} width={MINUTES * 4} height="20" role="img" aria-label={`The last ${MINUTES} minutes, at most ${count(most)} calls in one`}>
      {shown.map((bin) => {
        const x = (MINUTES - 1 - (last - bin.unix_s) / 60) * 4;
        const height = Math.max(1, (18 * bin.count) / most);
        const failed = (height * bin.errors) / Math.max(bin.count, 1);
        return (
          <g key={bin.unix_s}>
            <rect x={x} y={20 - height} width="3" height={height} class="spark-all" />
            {failed > 0 && <rect x={x} y={20 - failed} width="3" height={failed} class="spark-bad" />}
          </g>
        );
      })}
    </svg>
  );
}

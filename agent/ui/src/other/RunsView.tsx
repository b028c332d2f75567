/** Each `clew run`, and what two of them differ in. */
import type { JSX } from 'preact';

import { parameters } from '../base/api';
import { useAsked } from '../base/asked';
import { color } from '../base/color';
import { Empty } from '../base/Empty';
import { count, duration, fullTime } from '../base/format';
import { listOf, parameter, set } from '../base/place';
import { quote } from '../base/term';
import type { Compared, Comparison, Figures, Run } from '../base/types';

export function RunsView(): JSX.Element {
  const [runs, problem] = useAsked<Run[]>('runs', 3000);
  const before = parameter('before');
  const after = parameter('after');
  if (problem !== null && runs === null) return <p class="banner bad" role="alert">{problem}</p>;
  if (runs?.length === 0) return <Empty title="No runs yet">Each `clew run` is one.</Empty>;
  return (
    <div class="view">
      <div class="table-box runs" tabIndex={0} role="region" aria-label="Runs">
        <table class="table">
          <thead>
            <tr>
              <th class="text">Run</th>
              <th class="text">Command</th>
              <th class="text">Began</th>
              <th>Lasted</th>
              <th>Traces</th>
              <th class="text">Compare</th>
            </tr>
          </thead>
          <tbody>
            {(runs ?? []).map((run) => (
              <tr key={run.id}>
                <td class="text">
                  <a href={listOf(`run:${run.id}`)}>{run.id}</a>
                </td>
                <td class="text command" title={run.command}>
                  <a href={listOf(`run:${run.id}`)}>
                    <code>{run.command === '' ? 'attach' : run.command}</code>
                  </a>
                </td>
                <td class="text">{fullTime(run.start_unix_ns)}</td>
                <td>{run.end_unix_ns === null ? 'running, or cut off' : duration(run.end_unix_ns - run.start_unix_ns)}</td>
                <td>{count(run.traces)}</td>
                <td class="text choices">
                  {(['before', 'after'] as const).map((side) => (
                    <button
                      type="button"
                      key={side}
                      class="choice"
                      aria-pressed={parameter(side) === String(run.id)}
                      onClick={() => set({ ...(before === 'last' && { before: '' }), [side]: parameter(side) === String(run.id) ? '' : String(run.id) })}
                    >
                      {side}
                    </button>
                  ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {before === '' && after === '' && (runs?.length ?? 0) > 1 && (
        <p class="pad">
          <button type="button" onClick={() => set({ before: 'last' })}>
            What changed since the last run?
          </button>
        </p>
      )}
      {before === 'last' ? (
        <Compare before="" after="" />
      ) : before !== '' && after !== '' ? (
        <Compare before={before} after={after} />
      ) : (
        <p class="muted pad">Choose one run as “before” and one as “after” to see what changed.</p>
      )}
    </div>
  );
}

function Compare(props: { before: string; after: string }): JSX.Element {
  const [found, problem] = useAsked<Comparison>(`compare${parameters({ base: props.before, run: props.after })}`, 5000);
  if (problem !== null && found === null) return <Empty title="They cannot be compared">{problem}</Empty>;
  if (found === null) return <Empty title="Comparing">Both runs are read.</Empty>;
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Comparison">
      <table class="table compare">
        <thead>
          <tr>
            <th class="text" rowSpan={2}>
              What changed from run {found.base.id} to run {found.run.id}
            </th>
            <th colSpan={2}>Calls</th>
            <th colSpan={2}>Errors</th>
            <th colSpan={3}>p50</th>
            <th colSpan={2}>p99</th>
            <th colSpan={2}>All a trace needs</th>
          </tr>
          <tr>
            {['before', 'after', 'before', 'after', 'before', 'after', 'factor', 'before', 'after', 'before', 'after'].map((name, at) => (
              <th key={at}>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {found.rows.slice(0, 500).map((row) => (
            <Line key={`${row.service}\n${row.kind}\n${row.name}`} row={row} base={found.base} run={found.run} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Line(props: { row: Compared; base: Run; run: Run }): JSX.Element {
  const { row } = props;
  const { base, run } = row;
  const factor = base === null || run === null ? null : run.p50_ns / Math.max(base.p50_ns, 1);
  const both = (of: (figures: Figures) => string) => [base === null ? '-' : of(base), run === null ? '-' : of(run)];
  const [callsBefore, callsAfter] = both((one) => count(one.count));
  const [errorsBefore, errorsAfter] = both((one) => count(one.errors));
  const [p50Before, p50After] = both((one) => duration(one.p50_ns));
  const [p99Before, p99After] = both((one) => duration(one.p99_ns));
  const share = (figures: Figures | null, of: Run) => (figures === null ? '-' : duration(Math.round(figures.sum_ns / Math.max(of.traces, 1))));
  const word = base === null ? 'new' : run === null ? 'gone' : `× ${(factor ?? 1).toFixed(2)}`;
  return (
    <tr>
      <td class="text">
        <a href={listOf(`service:${quote(row.service)} name:${quote(row.name)} run:${props.run.id}`)}>
          <i class="dot" style={{ background: color(row.service) }} />
          <span class="service">{row.service}</span> <span class="kind">{row.kind}</span> {row.name}
        </a>
      </td>
      <td>{callsBefore}</td>
      <td>{callsAfter}</td>
      <td>{errorsBefore}</td>
      <td class={(run?.errors ?? 0) > (base?.errors ?? 0) ? 'bad' : ''}>{errorsAfter}</td>
      <td>{p50Before}</td>
      <td>{p50After}</td>
      <td class={factor === null ? 'warn' : factor > 1.25 ? 'bad' : factor < 0.8 ? 'good' : 'muted'}>{word}</td>
      <td>{p99Before}</td>
      <td>{p99After}</td>
      <td>{share(base, props.base)}</td>
      <td>{share(run, props.run)}</td>
    </tr>
  );
}

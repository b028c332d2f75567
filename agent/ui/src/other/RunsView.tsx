/** Each `clew run`, and what two of them differ in. */
import type { JSX } from 'preact';

import { ask } from '../base/api';
import { Empty } from '../base/Empty';
import { count, duration, fullTime } from '../base/format';
import { listOf, parameter, set } from '../base/place';
import type { Endpoint, Run } from '../base/types';
import { useAsked } from './EndpointsView';
import { useEffect, useState } from 'preact/hooks';

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
                <td class="text">
                  <a href={listOf(`run:${run.id}`)}>
                    <code class="cut">{run.command === '' ? 'attach' : run.command}</code>
                  </a>
                </td>
                <td class="text">{fullTime(run.start_unix_ns)}</td>
                <td>{run.end_unix_ns === null ? 'goes on, or was cut off' : duration(run.end_unix_ns - run.start_unix_ns)}</td>
                <td>{count(run.traces)}</td>
                <td class="text choices">
                  {(['before', 'after'] as const).map((side) => (
                    <button
                      type="button"
                      key={side}
                      class="choice"
                      aria-pressed={parameter(side) === String(run.id)}
                      onClick={() => set({ [side]: parameter(side) === String(run.id) ? '' : String(run.id) })}
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
      {before !== '' && after !== '' ? (
        <Comparison before={before} after={after} />
      ) : (
        <p class="muted pad">Choose one run as “before” and one as “after” to see what changed.</p>
      )}
    </div>
  );
}

interface Change {
  key: string;
  one: Endpoint | undefined;
  other: Endpoint | undefined;
  /** How much more time its median takes, as a factor. */
  factor: number;
}

function Comparison(props: { before: string; after: string }): JSX.Element {
  const [changes, setChanges] = useState<Change[] | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    const of = (run: string) => ask<Endpoint[]>(`endpoints?run=${encodeURIComponent(run)}`, abort.signal);
    void Promise.all([of(props.before), of(props.after)]).then(
      ([one, other]) => setChanges(compared(one, other)),
      () => {},
    );
    return () => abort.abort();
  }, [props.before, props.after]);
  if (changes === null) return <Empty title="Comparing">Both runs are read.</Empty>;
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Comparison">
      <table class="table">
        <thead>
          <tr>
            <th class="text">Call</th>
            <th colSpan={2}>Calls: before, after</th>
            <th colSpan={2}>Errors: before, after</th>
            <th colSpan={2}>p50: before, after</th>
            <th colSpan={2}>p99: before, after</th>
            <th>p50</th>
          </tr>
        </thead>
        <tbody>
          {changes.map(({ key, one, other, factor }) => {
            const known = (one ?? other) as Endpoint;
            return (
              <tr key={key}>
                <td class="text">
                  <span class="service">{known.service}</span> <span class="kind">{known.kind}</span> {known.name}
                </td>
                <td>{one === undefined ? '-' : count(one.count)}</td>
                <td>{other === undefined ? '-' : count(other.count)}</td>
                <td>{one === undefined ? '-' : count(one.errors)}</td>
                <td class={(other?.errors ?? 0) > (one?.errors ?? 0) ? 'bad' : ''}>{other === undefined ? '-' : count(other.errors)}</td>
                <td>{one === undefined ? '-' : duration(one.p50_ns)}</td>
                <td>{other === undefined ? '-' : duration(other.p50_ns)}</td>
                <td>{one === undefined ? '-' : duration(one.p99_ns)}</td>
                <td>{other === undefined ? '-' : duration(other.p99_ns)}</td>
                <td class={factor > 1.2 ? 'bad' : factor < 0.8 ? 'good' : 'muted'}>
                  {one === undefined ? 'new' : other === undefined ? 'gone' : `× ${factor.toFixed(2)}`}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** What changed most comes first: what is new or gone, then by how much longer or shorter all calls take together. */
function compared(before: Endpoint[], after: Endpoint[]): Change[] {
  const key = (one: Endpoint) => `${one.service}\n${one.kind}\n${one.name}`;
  const [ones, others] = [new Map(before.map((one) => [key(one), one])), new Map(after.map((one) => [key(one), one]))];
  const changes = [...new Set([...ones.keys(), ...others.keys()])].map((name): Change => {
    const [one, other] = [ones.get(name), others.get(name)];
    const factor = one === undefined || other === undefined ? Infinity : other.p50_ns / Math.max(one.p50_ns, 1);
    return { key: name, one, other, factor };
  });
  const weight = (change: Change) => Math.abs((change.other?.p50_ns ?? 0) - (change.one?.p50_ns ?? 0));
  return changes.sort((one, other) => weight(other) - weight(one)).slice(0, 500);
}

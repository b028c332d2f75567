/** What the trace did, by operation: how often, how long. */
import { useMemo, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { variable } from '../base/color';
import { count, duration, percent } from '../base/format';
import { Icon } from '../base/Icon';
import type { Model, Node } from './model';
import { FOLD_FROM } from './model';
import type { Viewer } from './viewer';

interface Operation {
  service: string;
  kind: string;
  name: string;
  nodes: Node[];
  total: number;
  self: number;
  least: number;
  most: number;
  failed: number;
  /** The most of them that one span asked for. */
  repeated: number;
}

type Key = 'name' | 'count' | 'total' | 'self' | 'least' | 'most' | 'failed';

const COLUMNS: [Key, string, (one: Operation) => number][] = [
  ['count', 'Count', (one) => one.nodes.length],
  ['total', 'Total', (one) => one.total],
  ['self', 'Self', (one) => one.self],
  ['least', 'Min', (one) => one.least],
  ['most', 'Max', (one) => one.most],
  ['failed', 'Errors', (one) => one.failed],
];

export function Operations(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  const model = viewer.model.value;
  const all = useMemo(() => operations(model), [model]);
  const [sort, setSort] = useState<Key>('self');
  const column = COLUMNS.find(([key]) => key === sort);
  const sorted = useMemo(
    () =>
      [...all].sort((one, other) =>
        column === undefined ? one.name.localeCompare(other.name) : column[2](other) - column[2](one),
      ),
    [all, sort],
  );
  return (
    <div class="operations" role="region" aria-label="Operations of this trace" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th class="text" aria-sort={sort === 'name' ? 'ascending' : 'none'}>
              <button type="button" onClick={() => setSort('name')}>
                Operation
              </button>
            </th>
            {COLUMNS.map(([key, name]) => (
              <th key={key} aria-sort={sort === key ? 'descending' : 'none'}>
                <button type="button" onClick={() => setSort(key)}>
                  {name}
                  {sort === key && <Icon name="down" />}
                </button>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {sorted.slice(0, 500).map((one) => (
            <tr key={`${one.service}\n${one.kind}\n${one.name}`}>
              <td class="text">
                <button
                  type="button"
                  class="plain"
                  onClick={() => {
                    const longest = one.nodes.reduce((most, node) => (node.end - node.start > most.end - most.start ? node : most));
                    viewer.reveal(longest);
                  }}
                >
                  <i class="dot" style={{ background: variable(viewer.colors.value.get(one.service) ?? 0) }} />
                  <span class="service">{one.service}</span> <span class="kind">{one.kind}</span> {one.name}
                </button>
                {one.repeated >= FOLD_FROM && one.kind === 'client' && <b class="n-plus-one" title={`${one.repeated} times for one request`}>N+1</b>}
              </td>
              <td>{count(one.nodes.length)}</td>
              <td>{duration(one.total)}</td>
              <td>
                {duration(one.self)} <small>{percent(one.self, model.end)}</small>
              </td>
              <td>{duration(one.least)}</td>
              <td>{duration(one.most)}</td>
              <td class={one.failed > 0 ? 'bad' : ''}>{one.failed > 0 ? count(one.failed) : ''}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function operations(model: Model): Operation[] {
  const all = new Map<string, Operation>();
  const perParent = new Map<Operation, Map<Node | null, number>>();
  for (const node of model.nodes) {
    // As rows are folded: by what they do, not by which numbers they name.
    const key = node.group;
    const length = node.end - node.start;
    let one = all.get(key);
    if (one === undefined) {
      const name = node.group.split('\n').slice(2).join(' ');
      one = { service: node.span.service, kind: node.span.kind, name, nodes: [], total: 0, self: 0, least: Infinity, most: 0, failed: 0, repeated: 0 };
      all.set(key, one);
      perParent.set(one, new Map());
    }
    one.nodes.push(node);
    one.total += length;
    one.self += node.self;
    one.least = Math.min(one.least, length);
    one.most = Math.max(one.most, length);
    if (node.failed) one.failed += 1;
    const parents = perParent.get(one) as Map<Node | null, number>;
    const times = (parents.get(node.parent) ?? 0) + 1;
    parents.set(node.parent, times);
    if (node.parent !== null) one.repeated = Math.max(one.repeated, times);
  }
  return [...all.values()];
}

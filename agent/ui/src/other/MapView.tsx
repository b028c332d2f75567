/** Who calls whom, from the traces that match. */
import { useMemo, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { parameters } from '../base/api';
import { useAsked } from '../base/asked';
import { color } from '../base/color';
import { Empty } from '../base/Empty';
import { count, duration, percent, rate } from '../base/format';
import { go, listOf, parameter, set } from '../base/place';
import { quote } from '../base/term';
import type { MapEdge, MapNode, ServiceMap } from '../base/types';
import { SearchBox } from '../list/SearchBox';
import { type Box, type Layout, layout } from './layout';

export function MapView(): JSX.Element {
  const query = parameter('q');
  const [map, problem] = useAsked<ServiceMap>(`map${parameters({ q: query })}`, 4000);
  const [near, setNear] = useState('');
  const drawn = useMemo(() => (map === null ? null : layout(map)), [map]);
  const services = map?.nodes.filter((node) => node.kind === 'service').map((node) => node.name) ?? [];
  return (
    <div class="view">
      <div class="bar">
        <SearchBox query={query} problem={problem} services={services} onQuery={(text) => set({ q: text }, true)} />
        <span class="muted" role="status">
          {map !== null && `${map.cut ? 'the latest ' : ''}${count(map.traces)} traces within ${duration(map.span_ns)}`}
        </span>
      </div>
      {drawn === null || map === null ? (
        <Empty title="Looking">The store is asked.</Empty>
      ) : drawn.boxes.length === 0 ? (
        <Empty title="No calls yet">What calls what is drawn here from traces.</Empty>
      ) : (
        <>
          <div class="map" tabIndex={0} role="region" aria-label="Service map">
            <Drawing layout={drawn} near={near} onNear={setNear} />
          </div>
          <Edges map={map} near={near} onNear={setNear} />
        </>
      )}
    </div>
  );
}

const WIDTH = 168;
const HEIGHT = 46;

function Drawing(props: { layout: Layout; near: string; onNear: (id: string) => void }): JSX.Element {
  const { layout: drawn, near } = props;
  const at = new Map(drawn.boxes.map((box) => [box.node.id, box]));
  const isNear = (edge: MapEdge) => near === '' || edge.from === near || edge.to === near;
  const most = drawn.edges.reduce((largest, edge) => Math.max(largest, edge.count), 1);
  return (
    <svg width={drawn.width} height={drawn.height} viewBox={`0 0 ${drawn.width} ${drawn.height}`} role="group" aria-label={`${drawn.boxes.length} services, databases, queues and hosts`}>
      <defs>
        <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" markerUnits="userSpaceOnUse">
          <path class="map-tip" d="M0 0L8 4L0 8z" />
        </marker>
      </defs>
      {drawn.edges.map((edge) => {
        const [from, to] = [at.get(edge.from), at.get(edge.to)];
        if (from === undefined || to === undefined) return null;
        const path = curve(from, to);
        return (
          <g key={`${edge.from} ${edge.to}`} class={`map-edge${edge.errors > 0 ? ' failed' : ''}${isNear(edge) ? '' : ' far'}`}>
            <path d={path.line} stroke-width={1 + 2.5 * Math.sqrt(edge.count / most)} marker-end="url(#tip)" />
            <text x={path.x} y={path.y - 4}>
              {rate(edge.per_second)} · {duration(edge.p50_ns)}
            </text>
            {edge.errors > 0 && (
              <text class="map-bad" x={path.x} y={path.y + 9}>
                {percent(edge.errors, edge.count)} fail
              </text>
            )}
          </g>
        );
      })}
      {drawn.boxes.map((box) => (
        <NodeBox key={box.node.id} box={box} far={near !== '' && near !== box.node.id && !drawn.edges.some((edge) => isNear(edge) && (edge.from === box.node.id || edge.to === box.node.id))} onNear={props.onNear} />
      ))}
    </svg>
  );
}

function NodeBox(props: { box: Box; far: boolean; onNear: (id: string) => void }): JSX.Element {
  const { node, x, y } = props.box;
  const of = queryOf(node);
  const open = () => of !== '' && go(listOf(of));
  const [name, kind] = words(node);
  return (
    <g
      class={`map-node ${node.kind}${props.far ? ' far' : ''}`}
      transform={`translate(${x} ${y})`}
      tabIndex={0}
      role="link"
      onClick={open}
      onKeyDown={(event) => event.key === 'Enter' && open()}
      onPointerEnter={() => props.onNear(node.id)}
      onPointerLeave={() => props.onNear('')}
      onFocus={() => props.onNear(node.id)}
      onBlur={() => props.onNear('')}
    >
      <rect width={WIDTH} height={HEIGHT} rx={node.kind === 'database' || node.kind === 'queue' ? 14 : 6} />
      {node.kind === 'service' && <rect class="map-paint" width="5" height={HEIGHT} rx="2" style={{ fill: color(node.name) }} />}
      <text x="14" y="19">
        {name.length > 21 ? `${name.slice(0, 20)}…` : name}
      </text>
      <text class="map-kind" x="14" y="35">
        {kind}
      </text>
      <title>{`${name}, ${kind}: show its traces`}</title>
    </g>
  );
}

/** What a node is called, and what it is. */
function words(node: MapNode): [string, string] {
  switch (node.kind) {
    case 'service':
      return [node.name, 'service'];
    case 'database':
      return [node.system === '' ? node.name : node.system, node.name === '' || node.name === node.system ? 'database' : `database ${node.name}`];
    case 'queue':
      return [node.name, node.system === '' ? 'queue' : node.system];
    case 'host':
      return [node.name, 'not traced'];
    case 'caller':
      return ['callers', 'not traced'];
  }
}

/** What finds a node's traces. */
function queryOf(node: MapNode): string {
  switch (node.kind) {
    case 'service':
      return `service:${quote(node.name)}`;
    case 'database':
      return `db.system.name:${quote(node.system)}`;
    case 'queue':
      return `messaging.system:${quote(node.system)}`;
    case 'host':
      return `server.address:${quote(node.name.replace(/:\d+$/, ''))}`;
    case 'caller':
      return '';
  }
}

/** How much each of a cubic curve's four points has of the place at a share of it. */
function shares(at: number): [number, number, number, number] {
  return [(1 - at) ** 3, 3 * (1 - at) ** 2 * at, 3 * (1 - at) * at ** 2, at ** 3];
}

function curve(from: Box, to: Box): { line: string; x: number; y: number } {
  const [fromY, toY] = [from.y + HEIGHT / 2, to.y + HEIGHT / 2];
  if (to.x > from.x) {
    const [x1, x2] = [from.x + WIDTH, to.x - 2];
    const bend = (x2 - x1) / 2;
    // The label is nearer to the end, where edges are apart.
    const at = 0.66;
    const [p, q, r, s] = shares(at);
    return {
      line: `M${x1} ${fromY}C${x1 + bend} ${fromY} ${x2 - bend} ${toY} ${x2} ${toY}`,
      x: p * x1 + q * (x1 + bend) + r * (x2 - bend) + s * x2,
      y: (p + q) * fromY + (r + s) * toY,
    };
  }
  // Back, or to itself: around below.
  const [x1, x2] = [from.x + WIDTH / 2 + 20, to.x + WIDTH / 2 - 20];
  const deep = Math.max(from.y, to.y) + HEIGHT + 34;
  // Its label is near the end, where what goes the other way has none.
  const at = 0.9;
  const [p, q, r, s] = shares(at);
  return { line: `M${x1} ${from.y + HEIGHT}C${x1} ${deep} ${x2} ${deep} ${x2} ${to.y + HEIGHT + 2}`, x: p * x1 + q * x1 + r * x2 + s * x2, y: p * (from.y + HEIGHT) + (q + r) * deep + s * (to.y + HEIGHT) + 14 };
}

/** The same as a table, which says more. */
function Edges(props: { map: ServiceMap; near: string; onNear: (id: string) => void }): JSX.Element {
  const { map, near } = props;
  const names = new Map(map.nodes.map((node) => [node.id, node]));
  const named = (id: string) => {
    const node = names.get(id);
    return node === undefined ? id : words(node).join(', ').replace(', service', '');
  };
  const edges = [...map.edges].sort((one, other) => other.sum_ns - one.sum_ns);
  return (
    <div class="table-box edges" tabIndex={0} role="region" aria-label="Calls">
      <table class="table">
        <thead>
          <tr>
            <th class="text">From</th>
            <th class="text">To</th>
            <th>Rate</th>
            <th>Calls</th>
            <th>Errors</th>
            <th>p50</th>
            <th>p90</th>
            <th>p99</th>
            <th>Max</th>
            <th>Total</th>
          </tr>
        </thead>
        <tbody>
          {edges.map((edge) => (
            <tr key={`${edge.from} ${edge.to}`} class={near !== '' && edge.from !== near && edge.to !== near ? 'far' : ''}>
              <td class="text">{named(edge.from)}</td>
              <td class="text">{named(edge.to)}</td>
              <td>{rate(edge.per_second)}</td>
              <td>{count(edge.count)}</td>
              <td class={edge.errors > 0 ? 'bad' : 'muted'}>{edge.errors > 0 ? `${count(edge.errors)}, ${percent(edge.errors, edge.count)}` : '0'}</td>
              <td>{duration(edge.p50_ns)}</td>
              <td>{duration(edge.p90_ns)}</td>
              <td>{duration(edge.p99_ns)}</td>
              <td>{duration(edge.max_ns)}</td>
              <td>{duration(edge.sum_ns)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

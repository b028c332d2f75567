/** Where the boxes of a map are: callers left of whom they call, and neighbors near each other. */
import type { MapEdge, MapNode, ServiceMap } from '../base/types';

export interface Box {
  node: MapNode;
  x: number;
  y: number;
}

export interface Layout {
  boxes: Box[];
  edges: MapEdge[];
  width: number;
  height: number;
}

const COLUMN = 300;
const ROW = 78;
const MARGIN = 24;
/** Times that boxes are put in the order of their neighbors. */
const SWEEPS = 6;

export function layout(map: ServiceMap): Layout {
  const depth = depths(map);
  const columns: MapNode[][] = [];
  for (const node of map.nodes) (columns[depth.get(node.id) ?? 0] ??= []).push(node);
  for (let at = 0; at < columns.length; at++) columns[at] ??= [];

  const place = new Map<string, number>();
  const put = (column: MapNode[]) => column.forEach((node, at) => place.set(node.id, at - column.length / 2));
  columns.forEach(put);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const forward = sweep % 2 === 0;
    for (const column of forward ? columns : [...columns].reverse()) {
      const middle = new Map(column.map((node) => [node.id, around(map.edges, node.id, place, forward)]));
      column.sort((one, other) => (middle.get(one.id) ?? 0) - (middle.get(other.id) ?? 0));
      put(column);
    }
  }
  const tallest = columns.reduce((most, column) => Math.max(most, column.length), 1);
  const boxes = columns.flatMap((column, at) =>
    column.map((node, row) => ({ node, x: MARGIN + at * COLUMN, y: MARGIN + (row + (tallest - column.length) / 2) * ROW })),
  );
  return { boxes, edges: map.edges, width: 2 * MARGIN + columns.length * COLUMN - COLUMN + 190, height: 2 * MARGIN + tallest * ROW };
}

/** The mean place of those that call a node, or that it calls. */
function around(edges: MapEdge[], id: string, place: Map<string, number>, callers: boolean): number {
  let [sum, neighbors] = [0, 0];
  for (const edge of edges) {
    const other = callers && edge.to === id ? edge.from : !callers && edge.from === id ? edge.to : null;
    if (other === null || other === id) continue;
    sum += place.get(other) ?? 0;
    neighbors += 1;
  }
  return neighbors === 0 ? (place.get(id) ?? 0) : sum / neighbors;
}

/** How far each is from where requests come in, along the longest way that does not go in circles. */
function depths(map: ServiceMap): Map<string, number> {
  const called = new Map<string, string[]>();
  const callers = new Set<string>();
  for (const edge of map.edges) {
    if (edge.from === edge.to) continue;
    called.set(edge.from, [...(called.get(edge.from) ?? []), edge.to]);
    callers.add(edge.to);
  }
  const depth = new Map<string, number>();
  const order: string[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const back = new Set<string>();
  const starts = [...map.nodes.filter((node) => !callers.has(node.id)), ...map.nodes];
  for (const start of starts) {
    const open: { id: string; next: number }[] = state.has(start.id) ? [] : [{ id: start.id, next: 0 }];
    if (open.length > 0) state.set(start.id, 'open');
    while (open.length > 0) {
      const top = open[open.length - 1] as { id: string; next: number };
      const child = called.get(top.id)?.[top.next++];
      if (child === undefined) {
        state.set(top.id, 'done');
        order.push(top.id);
        open.pop();
      } else if (state.get(child) === 'open') back.add(`${top.id} ${child}`);
      else if (!state.has(child)) {
        state.set(child, 'open');
        open.push({ id: child, next: 0 });
      }
    }
  }
  for (const id of order.reverse()) {
    const here = depth.get(id) ?? 0;
    depth.set(id, here);
    for (const child of called.get(id) ?? []) {
      if (!back.has(`${id} ${child}`)) depth.set(child, Math.max(depth.get(child) ?? 0, here + 1));
    }
  }
  return depth;
}

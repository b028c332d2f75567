/** A trace by who worked: the threads or tasks of each process, and what they did side by side. */
import type { Node } from './model';

export interface Lane {
  key: string;
  service: string;
  /** The thread or task, and its process. */
  name: string;
  spans: number;
  /** Nanoseconds in which something of it ran. */
  busy: number;
  failed: number;
  /** Spans that do not overlap share one, by their starts. */
  tracks: Node[][];
}

export interface Track {
  lane: Lane;
  /** The first of its lane has its name. */
  first: boolean;
  nodes: Node[];
}

/** Spans, in the order of their starts, by task where one is known or by thread alone. */
export function lanes(nodes: readonly Node[], byTask: boolean): Lane[] {
  const all = new Map<string, Lane>();
  const until = new Map<Lane, number>();
  for (const node of nodes) {
    const name = worker(node, byTask);
    const key = `${node.span.service}\n${name}`;
    let lane = all.get(key);
    if (lane === undefined) {
      lane = { key, service: node.span.service, name, spans: 0, busy: 0, failed: 0, tracks: [] };
      all.set(key, lane);
    }
    lane.spans += 1;
    if (node.failed) lane.failed += 1;
    const covered = until.get(lane) ?? 0;
    lane.busy += Math.max(0, node.end - Math.max(node.start, covered));
    until.set(lane, Math.max(covered, node.end));
    const track = lane.tracks.find((one) => (one.at(-1) as Node).end <= node.start);
    if (track !== undefined) track.push(node);
    else if (lane.tracks.length < MOST_TRACKS) lane.tracks.push([node]);
    // Deeper than anyone can look at: what is left over lies over the last.
    else (lane.tracks.at(-1) as Node[]).push(node);
  }
  return [...all.values()];
}

export function tracks(all: readonly Lane[]): Track[] {
  return all.flatMap((lane) => lane.tracks.map((nodes, at) => ({ lane, first: at === 0, nodes })));
}

const MOST_TRACKS = 64;

function worker(node: Node, byTask: boolean): string {
  const { span } = node;
  const task = span.get('clew.task');
  const thread = span.get('thread.id');
  const process = span.pid === null ? '' : `, process ${span.pid}`;
  if (byTask && typeof task === 'string') return `${task}${process}`;
  if (typeof thread === 'number') return `thread ${thread}${process}`;
  return span.pid === null ? 'thread not known' : `process ${span.pid}`;
}

export interface Piece {
  from: number;
  to: number;
  node: Node;
  /** More than one where they lie too near to be told apart. */
  count: number;
  failed: boolean;
}

/** What of a track is seen between two moments, at most `most` pieces. */
export function pieces(nodes: readonly Node[], low: number, high: number, most: number): Piece[] {
  const gap = (high - low) / most;
  const found: Piece[] = [];
  for (let at = firstEndingAfter(nodes, low); at < nodes.length; at++) {
    const node = nodes[at] as Node;
    if (node.start > high) break;
    const last = found.at(-1);
    const short = node.end - node.start < gap;
    if (last !== undefined && short && last.to - last.from < gap * 4 && node.start - last.to < gap) {
      last.to = Math.max(last.to, node.end);
      last.count += 1;
      last.failed ||= node.failed;
    } else found.push({ from: node.start, to: node.end, node, count: 1, failed: node.failed });
  }
  return found;
}

/** Spans of a track end in the order in which they begin. */
function firstEndingAfter(nodes: readonly Node[], time: number): number {
  let [from, to] = [0, nodes.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if ((nodes[middle] as Node).end < time) from = middle + 1;
    else to = middle;
  }
  return from;
}

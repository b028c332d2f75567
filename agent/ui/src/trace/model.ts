/** A trace as a tree, with what is reckoned from it once. No recursion: a chain of 50 000 spans is a trace too. */
import type { Kind, Span, Trace } from '../base/types';
import { describe } from './title';

export interface Node {
  index: number;
  span: Span;
  parent: Node | null;
  children: Node[];
  /** From the start of the trace, nanoseconds. */
  start: number;
  end: number;
  /** Time in which none of its children ran. */
  self: number;
  /** What it did, in a line. */
  title: string;
  status: string;
  failed: boolean;
  /** Spans below it. */
  below: number;
  failedBelow: number;
  /** Parts of it that the end of the trace waited for. */
  critical: [number, number][];
  marks: Mark[];
  /** Siblings that do the same have the same. */
  group: string;
}

/** What is not as sure, or not as whole, as it looks. */
export interface Mark {
  kind: 'orphan' | 'cut' | 'peer' | 'adjusted' | 'unsure' | 'open' | 'lost';
  text: string;
}

export interface Model {
  trace: Trace;
  nodes: Node[];
  roots: Node[];
  byId: Map<string, Node>;
  services: Map<string, { spans: number; failed: number }>;
  kinds: Map<Kind, number>;
  /** The end of its last span. */
  end: number;
  failed: Node[];
  /** The spans that took the most time themselves, the longest first. */
  slowest: Node[];
  /** Nanoseconds that each span has of the critical path. */
  criticalTime: Map<Node, number>;
  banners: string[];
  /** Calls that one span made again and again, those most often first. */
  repeated: Repeated[];
}

export interface Repeated {
  /** Of the row they are folded into. */
  key: string;
  nodes: Node[];
}

/** Spans that do the same, from here on shown as one row. */
export const FOLD_FROM = 5;
const SLOWEST = 10;

export function build(trace: Trace): Model {
  const byId = new Map<string, Node>();
  const nodes = trace.span_list.map((span, index): Node => {
    const { title, status } = describe(span);
    const node: Node = {
      index,
      span,
      parent: null,
      children: [],
      start: span.offset_ns,
      end: span.offset_ns + span.duration_ns,
      self: span.duration_ns,
      title,
      status,
      failed: span.error !== null,
      below: 0,
      failedBelow: 0,
      critical: [],
      marks: [],
      group: '',
    };
    if (!byId.has(span.span_id)) byId.set(span.span_id, node);
    return node;
  });
  const roots: Node[] = [];
  for (const node of nodes) {
    const parent = node.span.parent_id === null ? undefined : byId.get(node.span.parent_id);
    if (parent === undefined || parent === node) roots.push(node);
    else {
      node.parent = parent;
      parent.children.push(node);
    }
  }
  const order = fromTop(roots);
  // Spans that are each other's parents are reached from nowhere: the first of each ring becomes a root.
  if (order.length < nodes.length) breakRings(nodes, roots, order);
  for (let at = order.length - 1; at >= 0; at--) {
    const node = order[at];
    if (node === undefined) continue;
    for (const child of node.children) {
      node.below += child.below + 1;
      node.failedBelow += child.failedBelow + (child.failed ? 1 : 0);
    }
    node.self = selfTime(node);
  }
  for (const node of nodes) {
    node.group = `${node.span.service}\n${node.span.kind}\n${sameness(node)}`;
    node.marks = marks(node);
  }
  const end = nodes.reduce((latest, node) => Math.max(latest, node.end), 0);
  const criticalTime = critical(roots);
  const services = new Map<string, { spans: number; failed: number }>();
  const kinds = new Map<Kind, number>();
  for (const node of nodes) {
    const service = services.get(node.span.service) ?? { spans: 0, failed: 0 };
    service.spans += 1;
    if (node.failed) service.failed += 1;
    services.set(node.span.service, service);
    kinds.set(node.span.kind, (kinds.get(node.span.kind) ?? 0) + 1);
  }
  const slowest = [...nodes].sort((one, other) => other.self - one.self).slice(0, SLOWEST);
  return {
    trace,
    nodes,
    roots,
    byId,
    services,
    kinds,
    end: Math.max(end, 1),
    failed: order.filter((node) => node.failed),
    slowest,
    criticalTime,
    repeated: repeated(nodes),
    banners: banners(trace, nodes),
  };
}

/** Parents before their children, in the order of rows. */
export function fromTop(roots: Node[]): Node[] {
  const order: Node[] = [];
  const open = [...roots].reverse();
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    order.push(node);
    for (let at = node.children.length - 1; at >= 0; at--) open.push(node.children[at] as Node);
  }
  return order;
}

function breakRings(nodes: Node[], roots: Node[], order: Node[]): void {
  const reached = new Set(order);
  for (const node of nodes) {
    if (reached.has(node)) continue;
    if (node.parent !== null) node.parent.children.splice(node.parent.children.indexOf(node), 1);
    node.parent = null;
    roots.push(node);
    for (const found of fromTop([node])) {
      reached.add(found);
      order.push(found);
    }
  }
}

/** The row that siblings which do the same are folded into. */
export function foldKey(parent: Node | null, group: string): string {
  return `${parent === null ? '' : parent.span.span_id}\n${group}`;
}

/** Whether calls were made one after the other, as in a loop, and not side by side. */
export function isLoop(nodes: Node[]): boolean {
  let [behind, until] = [0, -1];
  for (const node of nodes) {
    if (node.start >= until) behind += 1;
    until = Math.max(until, node.end);
  }
  return nodes[0]?.span.kind === 'client' && behind > nodes.length / 2;
}

function repeated(nodes: Node[]): Repeated[] {
  const found: Repeated[] = [];
  for (const parent of nodes) {
    if (parent.children.length < FOLD_FROM) continue;
    const groups = new Map<string, Node[]>();
    for (const child of parent.children) {
      if (child.span.kind !== 'client') continue;
      const group = groups.get(child.group);
      if (group === undefined) groups.set(child.group, [child]);
      else group.push(child);
    }
    for (const [group, members] of groups) {
      if (members.length >= FOLD_FROM && isLoop(members)) found.push({ key: foldKey(parent, group), nodes: members });
    }
  }
  return found.sort((one, other) => other.nodes.length - one.nodes.length);
}

/** Its time without the time in which any of its children ran. */
function selfTime(node: Node): number {
  let covered = 0;
  let until = node.start;
  // They are in the order of their starts.
  for (const child of node.children) {
    const from = Math.max(child.start, until);
    const to = Math.min(child.end, node.end);
    if (to > from) {
      covered += to - from;
      until = to;
    }
  }
  return Math.max(0, node.end - node.start - covered);
}

/** Goes back from each root's end: whichever child ended last before there is what was waited for. */
function critical(roots: Node[]): Map<Node, number> {
  const times = new Map<Node, number>();
  const longest = roots.reduce<Node | null>((found, root) => (found === null || root.end - root.start > found.end - found.start ? root : found), null);
  if (longest === null) return times;
  const open: [Node, number][] = [[longest, longest.end]];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [node, until] = next;
    const limit = Math.min(node.end, until);
    let at = limit;
    const byEnd = node.children.length > 1 ? [...node.children].sort((one, other) => other.end - one.end) : node.children;
    let own = 0;
    for (const child of byEnd) {
      // The other end of a call may say a moment later that it is over.
      const end = Math.min(child.end, limit);
      // What ran beside a later one was not waited for.
      if (end > at || child.start >= end || end <= node.start) continue;
      if (at > end) {
        node.critical.push([end, at]);
        own += at - end;
      }
      open.push([child, end]);
      at = Math.max(child.start, node.start);
      if (at <= node.start) break;
    }
    if (at > node.start) {
      node.critical.push([node.start, at]);
      own += at - node.start;
    }
    times.set(node, own);
  }
  return times;
}

/** What siblings must have in common to be the same call again: texts without their numbers and literals. */
function sameness(node: Node): string {
  const query = node.span.attributes['db.query.text'];
  const text = typeof query === 'string' ? query : node.title;
  return text.replace(/'(?:[^']|'')*'|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[0-9a-f]{16,}\b|\d+/gi, '?').replace(/\(\s*\?(?:\s*,\s*\?)*\s*\)/g, '(?)');
}

function marks(node: Node): Mark[] {
  const { span } = node;
  const found: Mark[] = [];
  const has = (name: string) => span.attributes[name];
  if (span.parent_id !== null && node.parent === null) {
    found.push({ kind: 'orphan', text: 'Its parent is not among the spans that are here.' });
  }
  if (has('clew.http.request.body.truncated') === true || has('clew.http.response.body.truncated') === true || has('clew.db.query.cut') === true) {
    found.push({ kind: 'cut', text: 'A body or statement was longer than what is kept.' });
  }
  const outcome = has('clew.exchange.outcome');
  if (outcome === 'in_flight') found.push({ kind: 'open', text: 'It had not ended when this was written.' });
  else if (typeof outcome === 'string') found.push({ kind: 'lost', text: `It did not end as it should: ${outcome}.` });
  if (has('clew.encrypted') === true) found.push({ kind: 'lost', text: 'Its content is encrypted and was not seen.' });
  if (has('clew.websocket.incomplete') === true || has('clew.http.fields.unknown') !== undefined) {
    found.push({ kind: 'lost', text: 'A part of it was not seen.' });
  }
  if (has('clew.time.adjusted') === true) {
    found.push({ kind: 'adjusted', text: 'Its start was moved to where its other end began: clocks tell of a later one.' });
  }
  return found;
}

function banners(trace: Trace, nodes: Node[]): string[] {
  const found: string[] = [];
  if (trace.cut) found.push('More spans are stored than are shown here.');
  const of = (kind: Mark['kind']) => nodes.filter((node) => node.marks.some((mark) => mark.kind === kind)).length;
  const orphans = of('orphan');
  if (orphans > 0) {
    found.push(`${orphans === 1 ? 'One span names a parent' : `${orphans} spans name parents`} that is not here: a program that is not traced, or a span that was lost.`);
  }
  const lost = nodes.filter((node) => 'clew.lost' in node.span.attributes).length;
  if (lost > 0) found.push(`Events were dropped while ${lost === 1 ? 'one span' : `${lost} spans`} ran.`);
  return found;
}

/** A node and all below it. */
export function subtree(node: Node): Node[] {
  return fromTop([node]);
}

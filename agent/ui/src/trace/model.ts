/** A trace as a tree, with what is reckoned from it once. No recursion: a chain of 50 000 spans is a trace too. */
import { count, duration } from '../base/format';
import type { Kind, Span, Trace } from '../base/types';
import { describe } from './title';

/** What most of very many have. */
const NONE: readonly never[] = [];
/** Never added to: who gets a child gets a list of its own. */
const NO_NODES: Node[] = [];

/** A span among the others. What only rows in sight need is reckoned when it is asked for. */
export class Node {
  parent: Node | null = null;
  /** By their starts. */
  children: Node[] = NO_NODES;
  /** From the start of the trace, nanoseconds. */
  readonly start: number;
  readonly end: number;
  /** Time in which none of its children ran. */
  self: number;
  readonly failed: boolean;
  /** Spans below it. */
  below = 0;
  failedBelow = 0;
  /** Parts of it that the end of the trace waited for. */
  critical: readonly [number, number][] = NONE;
  marks: readonly Mark[] = NONE;
  private described: { title: string; status: string } | null = null;
  private same: string | null = null;

  constructor(
    readonly index: number,
    readonly span: Span,
  ) {
    this.start = span.offset_ns;
    this.end = span.offset_ns + span.duration_ns;
    this.self = span.duration_ns;
    this.failed = span.error !== null;
  }

  /** What it did, in a line. */
  get title(): string {
    this.described ??= describe(this.span);
    return this.described.title;
  }

  get status(): string {
    this.described ??= describe(this.span);
    return this.described.status;
  }

  /** Siblings that do the same have the same. */
  get group(): string {
    this.same ??= `${this.span.service}\n${this.span.kind}\n${sameness(this)}`;
    return this.same;
  }
}

/** What is not as sure, or not as whole, as it looks. */
export interface Mark {
  kind: 'orphan' | 'unsure' | 'cut' | 'peer' | 'adjusted' | 'open' | 'lost' | 'new';
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
  /** When processes began, by `processKey`, in Unix time. */
  began: Map<string, number>;
}

/** A process within a trace. */
export function processKey(service: string, pid: number | null): string {
  return `${pid}\n${service}`;
}

export interface Repeated {
  /** Of the row they are folded into. */
  key: string;
  nodes: Node[];
}

/** Spans that do the same, from here on shown as one row. */
export const FOLD_FROM = 5;
const SLOWEST = 10;
/** From here on what can wait comes behind the rows. */
export const MANY = 5000;

export function build(trace: Trace): Model {
  const byId = new Map<string, Node>();
  const nodes = trace.span_list.map((span, index): Node => {
    const node = new Node(index, span);
    if (!byId.has(span.span_id)) byId.set(span.span_id, node);
    return node;
  });
  const roots: Node[] = [];
  for (const node of nodes) {
    const parent = node.span.parent_id === null ? undefined : byId.get(node.span.parent_id);
    if (parent === undefined || parent === node) roots.push(node);
    else {
      node.parent = parent;
      if (parent.children.length === 0) parent.children = [node];
      else parent.children.push(node);
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
    node.marks = marks(node);
  }
  const began = new Map(trace.processes.map((one) => [processKey(one.service, one.pid), one.start_unix_ns]));
  markNew(nodes, trace.start_unix_ns, began);
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
  return {
    trace,
    nodes,
    roots,
    byId,
    services,
    kinds,
    end: Math.max(end, 1),
    failed: order.filter((node) => node.failed),
    slowest: slowest(nodes),
    criticalTime,
    banners: banners(trace, nodes),
    began,
  };
}

/** A process is young for so long: what it does for the first time takes longer. */
const YOUNG_NS = 2e9;

/** Marks the first span of each process that had just begun. */
function markNew(nodes: Node[], start: number, began: Map<string, number>): void {
  const left = new Map([...began].filter(([, time]) => start - time < YOUNG_NS));
  // Spans are in the order of their starts.
  for (const node of left.size === 0 ? [] : nodes) {
    const key = processKey(node.span.service, node.span.pid);
    const time = left.get(key);
    if (time === undefined) continue;
    left.delete(key);
    const age = start + node.start - time;
    if (age < YOUNG_NS) node.marks = [...node.marks, { kind: 'new', text: `Its process had begun ${duration(Math.max(0, age))} before: what is done for the first time takes longer.` }];
  }
}

/** Those that took most time themselves. */
function slowest(nodes: Node[]): Node[] {
  const found: Node[] = [];
  for (const node of nodes) {
    if (found.length === SLOWEST && (found.at(-1) as Node).self >= node.self) continue;
    const at = found.findIndex((other) => other.self < node.self);
    found.splice(at < 0 ? found.length : at, 0, node);
    found.length = Math.min(found.length, SLOWEST);
  }
  return found;
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

/** Calls that one span made again and again, those most often first. */
export function repeated(nodes: Node[]): Repeated[] {
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
    const parts: [number, number][] = [];
    node.critical = parts;
    for (const child of byEnd) {
      // The other end of a call may say a moment later that it is over.
      const end = Math.min(child.end, limit);
      // What ran beside a later one was not waited for.
      if (end > at || child.start >= end || end <= node.start) continue;
      if (at > end) {
        parts.push([end, at]);
        own += at - end;
      }
      open.push([child, end]);
      at = Math.max(child.start, node.start);
      if (at <= node.start) break;
    }
    if (at > node.start) {
      parts.push([node.start, at]);
      own += at - node.start;
    }
    times.set(node, own);
  }
  return times;
}

/** What siblings must have in common to be the same call again: texts without their numbers and literals. */
function sameness(node: Node): string {
  const query = node.span.get('db.query.text');
  const text = typeof query === 'string' ? query : node.title;
  // Most have nothing to replace, and there may be very many.
  if (!/['\d(]|[a-f]{16}/i.test(text)) return text;
  return text.replace(/'(?:[^']|'')*'|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b[0-9a-f]{16,}\b|\d+/gi, '?').replace(/\(\s*\?(?:\s*,\s*\?)*\s*\)/g, '(?)');
}

function marks(node: Node): readonly Mark[] {
  const { span } = node;
  const found: Mark[] = [];
  const has = (name: string) => span.get(name);
  if (span.parent_id !== null && node.parent === null) {
    found.push({ kind: 'orphan', text: 'Its parent is not among the spans that are here.' });
  }
  const unknown = has('clew.parent.unknown');
  if (unknown !== undefined) found.push({ kind: 'unsure', text: `Which request it was made for cannot be told (${String(unknown)}): it has no parent rather than a wrong one.` });
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
  if (span.kind === 'client' && node.children.length === 0 && (has('http.request.method') ?? has('rpc.method')) !== undefined) {
    found.push({ kind: 'peer', text: 'Its other end was not seen: what answers is not traced, or not here.' });
  }
  if (has('clew.time.adjusted') === true) {
    found.push({ kind: 'adjusted', text: 'Its start was moved to where its other end began: clocks tell of a later one.' });
  }
  return found.length === 0 ? NONE : found;
}

function banners(trace: Trace, nodes: Node[]): string[] {
  const found: string[] = [];
  if (trace.cut) found.push('More spans are stored than are shown here.');
  const of = (kind: Mark['kind']) => nodes.filter((node) => node.marks.some((mark) => mark.kind === kind)).length;
  const orphans = of('orphan');
  if (orphans > 0) {
    found.push(`${orphans === 1 ? 'One span names a parent' : `${orphans} spans name parents`} that is not here: a program that is not traced, or a span that was lost.`);
  }
  const unsure = of('unsure');
  if (unsure > 0) found.push(`Which request ${unsure === 1 ? 'a call' : `${unsure} calls`} here belongs to cannot be told: Clew guesses no parent.`);
  const lost = trace.lost_events;
  if (lost > 0) found.push(`${lost === 1 ? 'One event was' : `${count(lost)} events were`} dropped while it ran, or about then, since more came than could be taken: calls may be missing here.`);
  return found;
}

/** A node and all below it. */
export function subtree(node: Node): Node[] {
  return fromTop([node]);
}

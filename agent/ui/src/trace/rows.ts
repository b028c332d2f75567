/** Which rows a trace is shown as: what is collapsed, hidden, folded or not found is left out. */
import type { Kind } from '../base/types';
import { FOLD_FROM, foldKey, isLoop, type Model, type Node } from './model';

export interface SpanRow {
  type: 'span';
  key: string;
  node: Node;
  depth: number;
  /** Whether something is below it, and whether that is shown. */
  open: boolean | null;
  /** It is here for what is below it. */
  faint: boolean;
}

export interface FoldRow {
  type: 'fold';
  key: string;
  nodes: Node[];
  depth: number;
  open: boolean;
  total: number;
  failed: number;
  /** One behind the other: a query in a loop, and not a fan-out. */
  repeated: boolean;
}

export type Row = SpanRow | FoldRow;

export interface Options {
  collapsed: ReadonlySet<string>;
  /** Folds that are open. */
  unfolded: ReadonlySet<string>;
  hiddenServices: ReadonlySet<string>;
  hiddenKinds: ReadonlySet<Kind>;
  /** Shorter spans are hidden. */
  leastNs: number;
  focus: Node | null;
  /** Only these, and what they are below of. */
  only: ReadonlySet<Node> | null;
  /** None are folded where single spans are asked for. */
  folds: boolean;
}

export const NO_OPTIONS: Options = {
  collapsed: new Set(),
  unfolded: new Set(),
  hiddenServices: new Set(),
  hiddenKinds: new Set(),
  leastNs: 0,
  focus: null,
  only: null,
  folds: true,
};

export function rows(model: Model, options: Options): Row[] {
  const above = options.only === null ? null : ancestors(options.only);
  const isHidden = (node: Node) =>
    options.hiddenServices.has(node.span.service) ||
    options.hiddenKinds.has(node.span.kind) ||
    node.end - node.start < options.leastNs;
  const isOut = (node: Node) => above !== null && !above.has(node);
  const anyHidden = options.hiddenServices.size + options.hiddenKinds.size > 0 || options.leastNs > 0;

  /** What is shown below a node: what is hidden stands aside for what is below it. */
  const shown = (nodes: Node[]): Node[] => {
    if (!anyHidden && above === null) return nodes;
    const found: Node[] = [];
    const open = [...nodes].reverse();
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      if (isOut(node)) continue;
      if (!isHidden(node)) found.push(node);
      else for (let at = node.children.length - 1; at >= 0; at--) open.push(node.children[at] as Node);
    }
    return found;
  };

  const result: Row[] = [];
  /** What is still to come, the next one last. */
  const open: (FoldRow | { node: Node; depth: number })[] = [];
  const push = (nodes: Node[], depth: number, parent: Node | null) => {
    const entries = options.folds ? folded(nodes, depth, parent, options) : nodes.map((node) => ({ node, depth }));
    for (let at = entries.length - 1; at >= 0; at--) open.push(entries[at] as FoldRow);
  };
  push(options.focus === null ? shown(model.roots) : [options.focus], 0, null);
  for (let entry = open.pop(); entry !== undefined; entry = open.pop()) {
    if ('type' in entry) {
      result.push(entry);
      if (entry.open) for (let at = entry.nodes.length - 1; at >= 0; at--) open.push({ node: entry.nodes[at] as Node, depth: entry.depth + 1 });
      continue;
    }
    const { node, depth } = entry;
    const children = node.children.length === 0 ? [] : shown(node.children);
    const isOpen = children.length > 0 && !options.collapsed.has(node.span.span_id);
    result.push({
      type: 'span',
      key: node.span.span_id,
      node,
      depth,
      open: children.length === 0 ? null : isOpen,
      faint: options.only !== null && !options.only.has(node),
    });
    if (isOpen) push(children, depth + 1, node);
  }
  return result;
}

function ancestors(nodes: ReadonlySet<Node>): Set<Node> {
  const all = new Set<Node>();
  for (const node of nodes) {
    for (let at: Node | null = node; at !== null && !all.has(at); at = at.parent) all.add(at);
  }
  return all;
}

function folded(nodes: Node[], depth: number, parent: Node | null, options: Options): (FoldRow | { node: Node; depth: number })[] {
  if (nodes.length < FOLD_FROM) return nodes.map((node) => ({ node, depth }));
  const groups = new Map<string, Node[]>();
  for (const node of nodes) {
    const group = groups.get(node.group);
    if (group === undefined) groups.set(node.group, [node]);
    else group.push(node);
  }
  const entries: (FoldRow | { node: Node; depth: number })[] = [];
  for (const node of nodes) {
    const group = groups.get(node.group) ?? [];
    if (group.length < FOLD_FROM) entries.push({ node, depth });
    // Where its first one is.
    else if (group[0] === node) entries.push(fold(group, depth, foldKey(parent, node.group), options));
  }
  return entries;
}

function fold(nodes: Node[], depth: number, key: string, options: Options): FoldRow {
  let [total, failed] = [0, 0];
  for (const node of nodes) {
    total += node.end - node.start;
    if (node.failed || node.failedBelow > 0) failed += 1;
  }
  return {
    type: 'fold',
    key,
    nodes,
    depth,
    open: options.unfolded.has(key),
    total,
    failed,
    repeated: isLoop(nodes),
  };
}

/** The keys of all folds a node is in, so that it can be shown. */
export function foldsAbove(model: Model, node: Node): string[] {
  const keys: string[] = [];
  for (let at: Node | null = node; at !== null; at = at.parent) {
    const parent: Node | null = at.parent;
    const siblings = parent === null ? model.roots : parent.children;
    const group = at.group;
    if (siblings.length >= FOLD_FROM && siblings.filter((other) => other.group === group).length >= FOLD_FROM) {
      keys.push(foldKey(parent, group));
    }
  }
  return keys;
}

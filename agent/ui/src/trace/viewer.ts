/** What one looks at of a trace, and how: all that the views share. */
import { batch, computed, signal } from '@preact/signals';

import { colors } from '../base/color';
import { parameter, set } from '../base/place';
import type { Kind, SpanLog, Trace } from '../base/types';
import { type LogRow, logRows } from './logs';
import { build, MANY, type Model, type Node, type Repeated, repeated, subtree } from './model';
import { type FoldRow, foldsAbove, type Row, rows } from './rows';
import { searchable } from './title';

export type Pill = '' | 'errors' | 'critical' | 'slowest';

export class Viewer {
  readonly model;
  readonly colors;
  /** The key of a row. */
  readonly selected = signal(parameter('span'));
  readonly collapsed = signal<ReadonlySet<string>>(new Set());
  readonly unfolded = signal<ReadonlySet<string>>(new Set());
  readonly hiddenServices = signal<ReadonlySet<string>>(new Set());
  readonly hiddenKinds = signal<ReadonlySet<Kind>>(new Set());
  readonly leastNs = signal(0);
  readonly focusId = signal(parameter('focus'));
  readonly find = signal(parameter('find'));
  readonly only = signal(parameter('only') === 'yes');
  readonly pill = signal<Pill>(readPill(parameter('show')));
  readonly table = signal(false);
  /** All that was logged, in a table. */
  readonly showsLogs = signal(false);
  /** The line that was gone to. */
  readonly log = signal<SpanLog | null>(null);
  /** Who worked when, instead of who called whom. */
  readonly lanes = signal(parameter('view') === 'lanes');
  readonly byTask = signal(true);
  /** What of the time is seen; all of it unless zoomed. */
  readonly zoom = signal<[number, number] | null>(null);

  /** Calls that one span made again and again. Of very many spans it is known a moment later than the rows are there. */
  readonly repeated = signal<Repeated[]>([]);
  private texts: { model: Model; all: string[] } | null = null;

  constructor(trace: Trace) {
    this.model = signal(build(trace));
    this.lookForRepeated();
    this.colors = computed(() => colors(this.model.value.services.keys()));
    const node = this.model.value.byId.get(this.selected.value);
    if (node !== undefined) this.reveal(node);
  }

  /** The same trace with more spans. */
  grow(trace: Trace): void {
    this.model.value = build(trace);
    this.lookForRepeated();
  }

  private lookForRepeated(): void {
    const { nodes } = this.model.value;
    const look = () => (this.repeated.value = repeated(nodes));
    if (nodes.length < MANY) look();
    else setTimeout(look, 100);
  }

  readonly window = computed((): [number, number] => this.zoom.value ?? [0, this.model.value.end]);
  readonly focus = computed((): Node | null => this.model.value.byId.get(this.focusId.value) ?? null);

  readonly matches = computed((): Node[] => {
    const words = this.find.value.toLowerCase().split(/\s+/).filter((word) => word !== '');
    if (words.length === 0) return [];
    const model = this.model.value;
    if (this.texts?.model !== model) this.texts = { model, all: model.nodes.map((node) => searchable(node.span, node.title)) };
    const { all } = this.texts;
    return model.nodes.filter((node) => words.every((word) => all[node.index]?.includes(word)));
  });
  readonly matching = computed((): ReadonlySet<Node> => new Set(this.matches.value));

  /** Those that a pill is about. */
  readonly chosen = computed((): ReadonlySet<Node> | null => {
    const model = this.model.value;
    switch (this.pill.value) {
      case 'errors':
        return new Set(model.failed);
      case 'critical':
        return new Set(model.criticalTime.keys());
      case 'slowest':
        return new Set(model.slowest);
      case '':
        return null;
    }
  });

  /** What pill and search leave over; null for all. */
  private readonly asked = computed((): ReadonlySet<Node> | null => {
    const only = this.chosen.value;
    if (!this.only.value || this.find.value.trim() === '') return only;
    const matching = this.matching.value;
    return only === null ? matching : new Set([...only].filter((node) => matching.has(node)));
  });

  /** Spans that are not left out, by start. */
  readonly visible = computed((): Node[] => {
    const asked = this.asked.value;
    const [services, kinds, least, focus] = [this.hiddenServices.value, this.hiddenKinds.value, this.leastNs.value, this.focus.value];
    const below = focus === null ? null : new Set(subtree(focus));
    return this.model.value.nodes.filter(
      (node) =>
        (asked === null || asked.has(node)) &&
        (below === null || below.has(node)) &&
        !services.has(node.span.service) &&
        !kinds.has(node.span.kind) &&
        node.end - node.start >= least,
    );
  });

  readonly rows = computed((): Row[] => {
    const only = this.asked.value;
    return rows(this.model.value, {
      collapsed: this.collapsed.value,
      unfolded: this.unfolded.value,
      hiddenServices: this.hiddenServices.value,
      hiddenKinds: this.hiddenKinds.value,
      leastNs: this.leastNs.value,
      focus: this.focus.value,
      only,
      folds: this.pill.value !== 'slowest',
    });
  });

  readonly at = computed(() => this.rows.value.findIndex((row) => row.key === this.selected.value));
  readonly node = computed((): Node | null => this.model.value.byId.get(this.selected.value) ?? null);
  readonly isFiltered = computed(
    () =>
      this.hiddenServices.value.size + this.hiddenKinds.value.size > 0 ||
      this.leastNs.value > 0 ||
      this.pill.value !== '' ||
      this.focusId.value !== '' ||
      this.only.value,
  );

  select(key: string): void {
    this.selected.value = key;
    set({ span: this.model.value.byId.has(key) ? key : '' });
  }

  move(step: number): void {
    if (this.lanes.value) {
      const all = this.visible.value;
      const at = this.node.value === null ? -1 : all.indexOf(this.node.value);
      const next = all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + step))];
      if (next !== undefined) this.select(next.span.span_id);
      return;
    }
    const all = this.rows.value;
    const at = this.at.value;
    const next = all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + step))];
    if (next !== undefined) this.select(next.key);
  }

  edge(last: boolean): void {
    const row = this.rows.value.at(last ? -1 : 0);
    if (row !== undefined) this.select(row.key);
  }

  /** Shows a span, whatever hid it. */
  reveal(node: Node): void {
    batch(() => {
      const collapsed = new Set(this.collapsed.value);
      for (let at = node.parent; at !== null; at = at.parent) collapsed.delete(at.span.span_id);
      this.collapsed.value = collapsed;
      this.unfolded.value = new Set([...this.unfolded.value, ...foldsAbove(this.model.value, node)]);
      this.select(node.span.span_id);
      if (this.rows.value.every((row) => row.key !== node.span.span_id)) this.reset();
    });
  }

  /** Shows calls that repeat, as the row they are folded into. */
  showRepeated(one: Repeated): void {
    batch(() => {
      const [first] = one.nodes;
      if (first === undefined) return;
      this.reveal(first);
      const unfolded = new Set(this.unfolded.value);
      unfolded.delete(one.key);
      this.unfolded.value = unfolded;
      this.select(one.key);
    });
  }

  /** What is folded into the row that is chosen. */
  readonly fold = computed((): FoldRow | null => {
    const row = this.rows.value[this.at.value];
    return row?.type === 'fold' ? row : null;
  });

  reset(): void {
    batch(() => {
      this.hiddenServices.value = new Set();
      this.hiddenKinds.value = new Set();
      this.leastNs.value = 0;
      this.only.value = false;
      this.focusOn(null);
      this.show('');
      set({ only: '' });
    });
  }

  /** Opens or closes what is below a row. */
  toggle(row: Row, open = !row.open): void {
    const of = row.type === 'fold' ? this.unfolded : this.collapsed;
    const keys = new Set(of.value);
    // What is remembered of folds is that they are open, of spans that they are not.
    if (open === (row.type === 'fold')) keys.add(row.key);
    else keys.delete(row.key);
    of.value = keys;
  }

  /** Opens, or goes to the first below. */
  right(): void {
    const row = this.rows.value[this.at.value];
    if (row === undefined || row.open === null) return;
    if (row.open) this.move(1);
    else this.toggle(row, true);
  }

  /** Closes, or goes to what it is below of. */
  left(): void {
    const all = this.rows.value;
    const at = this.at.value;
    const row = all[at];
    if (row === undefined) return;
    if (row.open === true) {
      this.toggle(row, false);
      return;
    }
    for (let above = at - 1; above >= 0; above--) {
      const other = all[above];
      if (other !== undefined && other.depth < row.depth) {
        this.select(other.key);
        return;
      }
    }
  }

  collapseAll(): void {
    const all = this.model.value.nodes.filter((node) => node.children.length > 0 && node.parent !== null);
    batch(() => {
      this.collapsed.value = new Set(all.map((node) => node.span.span_id));
      this.unfolded.value = new Set();
    });
  }

  expandAll(): void {
    this.collapsed.value = new Set();
  }

  search(text: string): void {
    this.find.value = text;
    set({ find: text.trim() });
  }

  readonly logRows = computed(() => logRows(this.model.value));

  /** A line among all that was logged. */
  showLog(log: SpanLog): void {
    batch(() => {
      this.showsLogs.value = true;
      this.log.value = log;
    });
  }

  /** The span of a line, and the line in it. */
  revealLog(row: LogRow): void {
    batch(() => {
      this.log.value = row.log;
      this.reveal(row.node);
    });
  }

  toggleLanes(): void {
    this.lanes.value = !this.lanes.value;
    set({ view: this.lanes.value ? 'lanes' : '' });
  }

  toggleOnly(): void {
    this.only.value = !this.only.value;
    set({ only: this.only.value ? 'yes' : '' });
  }

  /** The next of what is found, or the one before. */
  step(forward: boolean, of = this.matches.value): void {
    if (of.length === 0) return;
    const here = this.node.value;
    const at = here === null ? -1 : of.indexOf(here);
    let next = at + (forward ? 1 : -1);
    if (at < 0 && here !== null) {
      const behind = of.findIndex((node) => node.index > here.index);
      next = forward ? behind : behind - 1;
      if (behind < 0) next = forward ? 0 : of.length - 1;
    }
    const node = of[(next + of.length) % of.length];
    if (node !== undefined) this.reveal(node);
  }

  show(pill: Pill): void {
    this.pill.value = pill;
    set({ show: pill });
  }

  focusOn(node: Node | null): void {
    this.focusId.value = node?.span.span_id ?? '';
    set({ focus: this.focusId.value });
  }

  toggleFocus(): void {
    if (this.focusId.value !== '') this.focusOn(null);
    else if (this.node.value !== null) this.focusOn(this.node.value);
  }

  toggleZoom(): void {
    const node = this.node.value;
    if (this.zoom.value !== null || node === null) this.zoom.value = null;
    else this.zoomTo(node.start, node.end);
  }

  zoomTo(from: number, to: number): void {
    const end = this.model.value.end;
    const least = Math.min(end, 1000);
    const [low, high] = [Math.max(0, Math.min(from, to)), Math.min(end, Math.max(from, to))];
    if (high - low < least) this.zoom.value = [Math.max(0, Math.min(low, end - least)), Math.min(end, low + least)];
    else this.zoom.value = low <= 0 && high >= end ? null : [low, high];
  }
}

function readPill(text: string): Pill {
  return text === 'errors' || text === 'critical' || text === 'slowest' ? text : '';
}

/** The traces of a query: a page at a time, and those that come while one looks. */
import { computed, signal } from '@preact/signals';

import { ask, follow, parameters, Problem } from '../base/api';
import type { InFlight, TraceList, TraceRow } from '../base/types';

/** Rows asked for at once. */
const PAGE = 200;
/** Rows that are held: what is older than these is asked for again. */
const MOST = 20_000;
/** A list that lost news is asked for anew at most this often. */
const REFRESH_MS = 1000;

export type Column = 'start' | 'service' | 'title' | 'status' | 'duration' | 'spans' | 'errors';

const COLUMNS: Column[] = ['start', 'service', 'title', 'status', 'duration', 'spans', 'errors'];

export interface Sort {
  column: Column;
  ascending: boolean;
}

export function readSort(text: string): Sort {
  const ascending = text.startsWith('-');
  const column = (ascending ? text.slice(1) : text) as Column;
  return { column: COLUMNS.includes(column) ? column : 'start', ascending };
}

function compare(sort: Sort): (one: TraceRow, other: TraceRow) => number {
  const sign = sort.ascending ? 1 : -1;
  const number = (of: (row: TraceRow) => number) => (one: TraceRow, other: TraceRow) =>
    sign * (of(one) - of(other)) || other.start_unix_ns - one.start_unix_ns;
  const text = (of: (row: TraceRow) => string) => (one: TraceRow, other: TraceRow) =>
    sign * (of(one) < of(other) ? -1 : of(one) > of(other) ? 1 : 0) || other.start_unix_ns - one.start_unix_ns;
  switch (sort.column) {
    case 'start':
      return number((row) => row.start_unix_ns);
    case 'duration':
      return number((row) => row.duration_ns);
    case 'spans':
      return number((row) => row.spans);
    case 'errors':
      return number((row) => row.errors);
    case 'service':
      return text((row) => row.service);
    case 'title':
      return text((row) => row.title);
    case 'status':
      return text((row) => row.status);
  }
}

export class Live {
  readonly rows = signal<TraceRow[]>([]);
  readonly problem = signal<Problem | null>(null);
  readonly loading = signal(true);
  readonly paused = signal(false);
  readonly connected = signal(false);
  readonly inFlight = signal<InFlight[]>([]);
  /** Traces that came while it was paused. */
  readonly waiting = signal(0);
  /** Before this nothing is shown; 0 unless the list was cleared. */
  readonly since = signal(0);
  readonly shown = computed(() => {
    const since = this.since.value;
    return since === 0 ? this.rows.value : this.rows.value.filter((row) => row.start_unix_ns >= since);
  });

  private byId = new Map<string, TraceRow>();
  private held = new Map<string, TraceRow>();
  private next: string | null = null;
  private asking = false;
  private refreshAt = 0;
  private refreshSoon = 0;
  private abort: AbortController | null = null;

  constructor(
    readonly query: string,
    readonly sort: Sort,
  ) {}

  /** Asks and follows until it is closed. */
  open(): void {
    this.close();
    const abort = new AbortController();
    this.abort = abort;
    void follow(
      this.query,
      {
        begun: () => {
          this.connected.value = true;
          // What came between two connections is asked for; the rest is told.
          void this.load();
        },
        traces: (rows) => this.take(rows),
        refresh: () => this.refresh(),
        inFlight: (requests) => {
          if (!this.paused.value) this.inFlight.value = requests;
        },
        failed: (problem) => {
          this.connected.value = false;
          this.problem.value = problem;
          this.loading.value = false;
        },
      },
      abort.signal,
    );
    // Not to wait for the stream, which stands a moment later and tells of changes alone.
    void this.load();
    void ask<InFlight[]>('inflight', abort.signal).then(
      (requests) => (this.inFlight.value = requests),
      () => {},
    );
  }

  close(): void {
    this.abort?.abort();
    this.abort = null;
    clearTimeout(this.refreshSoon);
  }

  pause(): void {
    this.paused.value = true;
  }

  resume(): void {
    this.paused.value = false;
    const held = [...this.held.values()];
    this.held.clear();
    this.waiting.value = 0;
    this.add(held);
    this.refresh();
  }

  /** Hides all there is, and shows what begins from now on. */
  clear(): void {
    const newest = this.rows.value.reduce((latest, row) => Math.max(latest, row.start_unix_ns), 0);
    this.since.value = Math.max(newest + 256, this.since.value);
  }

  showAll(): void {
    this.since.value = 0;
  }

  /** The first page again. */
  private async load(): Promise<void> {
    try {
      const page = await this.page(null);
      if (page === null) return;
      this.problem.value = null;
      this.forgetBehind(page);
      if (this.next === null || this.byId.size <= page.traces.length) this.next = page.next;
      if (this.paused.value) this.hold(page.traces);
      else this.add(page.traces);
    } catch (error) {
      this.fail(error);
    }
    this.loading.value = false;
  }

  /** Lets go of rows that more than a page has come after: between them and the page some would be missing, and are asked for again. */
  private forgetBehind(page: TraceList): void {
    const oldest = page.traces.at(-1);
    const newestFirst = this.sort.column === 'start' && !this.sort.ascending;
    if (!newestFirst || page.next === null || oldest === undefined || this.paused.value) return;
    if (page.traces.some((row) => this.byId.has(row.trace_id))) return;
    for (const [id, row] of this.byId) if (row.start_unix_ns < oldest.start_unix_ns) this.byId.delete(id);
    this.next = page.next;
  }

  /** A page more, where there is one. */
  async more(): Promise<void> {
    if (this.next === null || this.asking || this.byId.size >= MOST || this.since.value > 0) return;
    this.asking = true;
    try {
      const page = await this.page(this.next);
      if (page !== null) {
        this.next = page.next;
        this.add(page.traces);
      }
    } catch (error) {
      this.fail(error);
    }
    this.asking = false;
  }

  private page(after: string | null): Promise<TraceList | null> {
    const abort = this.abort;
    if (abort === null) return Promise.resolve(null);
    const order = this.sort.ascending ? 'asc' : 'desc';
    const asked = parameters({ q: this.query, sort: this.sort.column, order, limit: PAGE, after });
    return ask<TraceList>(`traces${asked}`, abort.signal);
  }

  private fail(error: unknown): void {
    if (error instanceof Problem) this.problem.value = error;
  }

  private refresh(): void {
    if (this.paused.value) return;
    const now = Date.now();
    clearTimeout(this.refreshSoon);
    if (now - this.refreshAt >= REFRESH_MS) {
      this.refreshAt = now;
      void this.load();
    } else {
      this.refreshSoon = setTimeout(() => this.refresh(), this.refreshAt + REFRESH_MS - now);
    }
  }

  private take(rows: TraceRow[]): void {
    if (this.paused.value) this.hold(rows);
    else this.add(rows);
  }

  private hold(rows: TraceRow[]): void {
    for (const row of rows) if (this.held.size < MOST && !this.same(row)) this.held.set(row.trace_id, row);
    this.waiting.value = this.held.size;
  }

  private same(row: TraceRow): boolean {
    const old = this.byId.get(row.trace_id);
    return old !== undefined && old.spans === row.spans && old.errors === row.errors && old.duration_ns === row.duration_ns;
  }

  private add(rows: TraceRow[]): void {
    if (rows.every((row) => this.same(row))) return;
    for (const row of rows) this.byId.set(row.trace_id, row);
    const all = [...this.byId.values()].sort(compare(this.sort));
    for (const gone of all.splice(MOST)) this.byId.delete(gone.trace_id);
    this.rows.value = all;
  }
}

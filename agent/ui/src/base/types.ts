/** What the API answers: see openapi.json. */

export interface TraceRow {
  trace_id: string;
  start_unix_ns: number;
  duration_ns: number;
  service: string;
  title: string;
  status: string;
  error: boolean;
  spans: number;
  errors: number;
  /** A process ended in the midst of it. */
  died: boolean;
  run: number;
  /** The test case that made its requests; empty where none is named. */
  test: string;
}

/** A request that has no answer yet. */
export interface InFlight {
  span_id: string;
  service: string;
  kind: Kind;
  title: string;
  pid: number;
  start_unix_ns: number;
  run: number;
  /** Whoever traced it is gone. */
  lost: boolean;
}

export interface TraceList {
  traces: TraceRow[];
  next: string | null;
}

export type Kind = 'server' | 'client' | 'producer' | 'consumer' | 'internal';

export type Value = string | number | boolean | null | Value[] | { [key: string]: Value };

export type Attributes = Record<string, Value>;

export interface SpanEvent {
  name: string;
  offset_ns: number;
  attributes: Attributes;
}

/** What was logged for a span. */
export interface SpanLog {
  offset_ns: number;
  /** Empty where it says none. */
  severity: string;
  body: string;
  attributes: Attributes;
}

export interface SpanLink {
  trace_id: string;
  span_id: string;
  attributes: Attributes;
}

export interface Span {
  span_id: string;
  parent_id: string | null;
  parent_is_remote: boolean;
  name: string;
  kind: Kind;
  service: string;
  pid: number | null;
  offset_ns: number;
  duration_ns: number;
  error: string | null;
  /** All of them: made when asked for, so of many spans single ones are asked for by name. */
  attributes: Attributes;
  get(name: string): Value | undefined;
  events: SpanEvent[];
  logs: SpanLog[];
  links: SpanLink[];
}

export interface Trace extends TraceRow {
  span_list: Span[];
  cut: boolean;
  /** When the processes of its spans began, where it is known. */
  processes: ProcessBegan[];
  /** Events that were lost while it ran, or about then. */
  lost_events: number;
}

export interface ProcessBegan {
  service: string;
  pid: number;
  start_unix_ns: number;
}

/** The requests of a test case. */
export interface TestCase {
  name: string;
  traces: number;
  failed: number;
  sum_ns: number;
  most_ns: number;
  last_unix_ns: number;
}

export interface Service {
  name: string;
  requests: number;
  errors: number;
  spans: number;
}

export interface Bin {
  unix_s: number;
  count: number;
  errors: number;
}

/** How calls of a kind went. */
export interface Figures {
  count: number;
  errors: number;
  per_second: number;
  p50_ns: number;
  p90_ns: number;
  p99_ns: number;
  max_ns: number;
  sum_ns: number;
}

export interface Endpoint extends Figures {
  service: string;
  kind: Kind;
  name: string;
  bins: Bin[];
}

export interface Facet {
  field: 'service' | 'status' | 'kind' | 'name' | 'error' | 'run' | 'test';
  values: { value: string; traces: number }[];
  more: boolean;
}

export interface Facets {
  traces: number;
  cut: boolean;
  fields: Facet[];
}

export interface Point {
  trace_id: string;
  start_unix_ns: number;
  duration_ns: number;
  status: string;
  error: boolean;
}

export interface MapNode {
  id: string;
  kind: 'service' | 'database' | 'queue' | 'host' | 'caller';
  name: string;
  system: string;
}

export interface MapEdge extends Figures {
  from: string;
  to: string;
}

export interface ServiceMap {
  traces: number;
  cut: boolean;
  span_ns: number;
  nodes: MapNode[];
  edges: MapEdge[];
}

export interface Compared {
  service: string;
  kind: Kind;
  name: string;
  base: Figures | null;
  run: Figures | null;
}

export interface Comparison {
  base: Run;
  run: Run;
  rows: Compared[];
}

export interface ErrorGroup {
  service: string;
  name: string;
  status: string;
  message: string;
  count: number;
  first_unix_ns: number;
  last_unix_ns: number;
  trace_id: string;
}

export interface Run {
  id: number;
  command: string;
  start_unix_ns: number;
  end_unix_ns: number | null;
  traces: number;
}

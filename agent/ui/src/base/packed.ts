/** A trace as the API tells it by column, and its spans: attributes become objects only where someone asks for them. */
import type { Attributes, Kind, ProcessBegan, Span, SpanEvent, SpanLink, SpanLog, Trace, TraceRow, Value } from './types';

export interface Packed extends TraceRow {
  cut: boolean;
  processes: ProcessBegan[];
  lost_events: number;
  strings: string[];
  /** Names of attributes, each with 0 where its value is a text and 1 where it is any other. */
  shapes: number[][];
  ids: string;
  /** -1 for none, -2 for one that is not here. */
  parents: number[];
  absent: [number, string][];
  remote: number[];
  names: number[];
  kinds: number[];
  services: number[];
  pids: (number | null)[];
  offsets: number[];
  durations: number[];
  failed: [number, number][];
  shape: number[];
  values: Value[];
  events: [number, SpanEvent[]][];
  logs: [number, SpanLog[]][];
  links: [number, SpanLink[]][];
}

const ID = 16;

export function unpacked(packed: Packed): Trace {
  const { strings } = packed;
  const shapes = packed.shapes.map((pairs) => new Shape(pairs, strings));
  const text = (at: number | undefined) => strings[at as number] as string;
  const id = (at: number) => packed.ids.slice(at * ID, at * ID + ID);
  const absent = new Map(packed.absent);
  const errors = new Map(packed.failed);
  const remote = new Set(packed.remote);
  const [events, logs, links] = [new Map(packed.events), new Map(packed.logs), new Map(packed.links)];
  let first = 0;
  const span_list = packed.offsets.map((offset, at): Span => {
    const shape = shapes[packed.shape[at] as number] as Shape;
    const parent = packed.parents[at] as number;
    const error = errors.get(at);
    const span = new PackedSpan(
      id(at),
      parent >= 0 ? id(parent) : (absent.get(at) ?? null),
      remote.has(at),
      text(packed.names[at]),
      text(packed.kinds[at]) as Kind,
      text(packed.services[at]),
      packed.pids[at] as number | null,
      offset,
      packed.durations[at] as number,
      error === undefined ? null : text(error),
      events.get(at) ?? NONE,
      logs.get(at) ?? NONE,
      links.get(at) ?? NONE,
      shape,
      first,
      packed,
    );
    first += shape.names.length;
    return span;
  });
  const { trace_id, start_unix_ns, duration_ns, service, title, status, error, spans, errors: failures, died, run, test, cut, processes, lost_events } = packed;
  return { trace_id, start_unix_ns, duration_ns, service, title, status, error, spans, errors: failures, died, run, test, cut, processes, lost_events, span_list };
}

const NONE: never[] = [];

/** Names of attributes that spans have in common. */
class Shape {
  readonly names: string[] = [];
  readonly isText: boolean[] = [];
  readonly places = new Map<string, number>();

  constructor(pairs: number[], strings: string[]) {
    for (let at = 0; at < pairs.length; at += 2) {
      const name = strings[pairs[at] as number] as string;
      this.places.set(name, this.names.length);
      this.names.push(name);
      this.isText.push(pairs[at + 1] === 0);
    }
  }
}

class PackedSpan implements Span {
  readonly #shape: Shape;
  readonly #first: number;
  readonly #packed: Packed;
  #attributes: Attributes | null = null;

  constructor(
    readonly span_id: string,
    readonly parent_id: string | null,
    readonly parent_is_remote: boolean,
    readonly name: string,
    readonly kind: Kind,
    readonly service: string,
    readonly pid: number | null,
    readonly offset_ns: number,
    readonly duration_ns: number,
    readonly error: string | null,
    readonly events: SpanEvent[],
    readonly logs: SpanLog[],
    readonly links: SpanLink[],
    shape: Shape,
    first: number,
    packed: Packed,
  ) {
    this.#shape = shape;
    this.#first = first;
    this.#packed = packed;
  }

  get(name: string): Value | undefined {
    const place = this.#shape.places.get(name);
    return place === undefined ? undefined : this.#value(place);
  }

  #value(place: number): Value {
    const value = this.#packed.values[this.#first + place] as Value;
    return this.#shape.isText[place] ? (this.#packed.strings[value as number] as string) : value;
  }

  get attributes(): Attributes {
    this.#attributes ??= Object.fromEntries(this.#shape.names.map((name, place) => [name, this.#value(place)]));
    return this.#attributes;
  }

  /** As the API tells a span by itself. */
  toJSON(): object {
    const { span_id, parent_id, parent_is_remote, name, kind, service, pid, offset_ns, duration_ns, error, attributes, events, logs, links } = this;
    return { span_id, parent_id, parent_is_remote, name, kind, service, pid, offset_ns, duration_ns, error, attributes, events, logs, links };
  }
}

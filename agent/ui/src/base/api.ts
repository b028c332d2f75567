/** Asks the API, with the token where one is wanted. */
import type { InFlight, TraceRow } from './types';

const TOKEN = 'clew.token';

/** Takes the token that stands behind `#`, and keeps it for this tab alone. */
export function takeToken(): void {
  const token = /^#token=([0-9a-f]+)$/.exec(location.hash)?.[1];
  if (token !== undefined) {
    sessionStorage.setItem(TOKEN, token);
    history.replaceState(null, '', location.pathname + location.search);
  }
}

function headers(): Record<string, string> {
  const token = sessionStorage.getItem(TOKEN);
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

/** Why there is no answer, in words of the server's where it said some. */
export class Problem extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

async function request(path: string, signal?: AbortSignal, body?: Blob): Promise<Response> {
  let response: Response;
  try {
    const sent = body === undefined ? {} : { method: 'POST', body };
    response = await fetch(`/api/v1/${path}`, { headers: { ...headers(), ...kind(body) }, signal: signal ?? null, ...sent });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, 'Clew does not answer. Has it ended?');
  }
  if (response.ok) return response;
  const said: unknown = await response.json().catch(() => null);
  const text = typeof said === 'object' && said !== null && 'error' in said ? String(said.error) : response.statusText;
  throw new Problem(response.status, text);
}

function kind(body?: Blob): Record<string, string> {
  return body === undefined ? {} : { 'content-type': 'application/json' };
}

/** Saves what the API answers as a file. */
export async function save(path: string, name: string): Promise<void> {
  const content = URL.createObjectURL(await (await request(path)).blob());
  const link = document.createElement('a');
  link.href = content;
  link.download = name;
  link.click();
  URL.revokeObjectURL(content);
}

/** Adds the traces of a file. */
export async function importTraces(file: Blob): Promise<Imported> {
  return (await (await request('traces', undefined, file)).json()) as Imported;
}

export interface Imported {
  spans: number;
}

export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await request(path, signal)).json()) as T;
}

export async function post<T>(path: string, what: unknown): Promise<T> {
  return (await (await request(path, undefined, new Blob([JSON.stringify(what)]))).json()) as T;
}

/** Parameters behind `?`; what is empty is left out. */
export function parameters(all: Record<string, string | number | null | undefined>): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(all)) {
    if (value !== undefined && value !== null && value !== '') given.set(name, String(value));
  }
  const text = given.toString();
  return text === '' ? '' : `?${text}`;
}

export interface Follower {
  /** The stream stands: what comes from here on is told. */
  begun(): void;
  traces(rows: TraceRow[]): void;
  /** All requests that have no answer yet. */
  inFlight?(requests: InFlight[]): void;
  /** Some were left out. */
  refresh(): void;
  failed(problem: Problem): void;
}

/** Follows traces until it is aborted. It begins again by itself where the connection ends. */
export async function follow(query: string, to: Follower, signal: AbortSignal): Promise<void> {
  for (let pause = 500; !signal.aborted; pause = Math.min(pause * 2, 8000)) {
    try {
      const response = await request(`live${parameters({ q: query })}`, signal);
      pause = 500;
      await events(response, to);
    } catch (error) {
      if (signal.aborted) return;
      to.failed(error instanceof Problem ? error : new Problem(0, 'The connection to Clew ended.'));
      // What was asked is wrong and stays so.
      if (error instanceof Problem && error.code === 400) return;
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}

/** Server-sent events, read by hand: EventSource sends no token. */
async function events(response: Response, to: Follower): Promise<void> {
  if (response.body === null) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let begun = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const whole = (rest + value).split('\n\n');
    rest = whole.pop() ?? '';
    if (!begun && whole.length > 0) {
      begun = true;
      to.begun();
    }
    for (const message of whole) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(message) ?? [];
      if (data === undefined) continue;
      if (name === 'traces') to.traces(JSON.parse(data) as TraceRow[]);
      else if (name === 'inflight') to.inFlight?.(JSON.parse(data) as InFlight[]);
      else if (name === 'refresh') to.refresh();
    }
  }
}

/** Where the time of a span's thread went. */
import type { Span } from '../base/types';

export interface Share {
  id: 'cpu' | 'runqueue' | 'network' | 'disk' | 'lock' | 'sleep' | 'fault' | 'other';
  name: string;
  ns: number;
}

const SHARES: [Share['id'], string, string][] = [
  ['cpu', 'on CPU', 'clew.time.cpu'],
  ['runqueue', 'waiting for a CPU', 'clew.time.runqueue'],
  ['network', 'blocked: network', 'clew.time.blocked.network'],
  ['disk', 'blocked: disk', 'clew.time.blocked.disk'],
  ['lock', 'blocked: lock', 'clew.time.blocked.lock'],
  ['sleep', 'asleep', 'clew.time.blocked.sleep'],
  ['fault', 'blocked: memory', 'clew.time.blocked.fault'],
  ['other', 'blocked otherwise', 'clew.time.blocked.other'],
];

/** Its parts; none where they are not known. */
export function shares(span: Span): Share[] {
  if (span.get('clew.time.cpu') === undefined) return [];
  return SHARES.flatMap(([id, name, attribute]) => {
    const ns = span.get(attribute);
    return typeof ns === 'number' && ns > 0 ? [{ id, name, ns }] : [];
  });
}

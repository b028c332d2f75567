/** What is asked again and again while it is shown. */
import { useEffect, useState } from 'preact/hooks';

import { ask } from './api';

/** An answer of the API, asked for again and again. */
export function useAsked<T>(path: string, everyMs: number): [T | null, string | null] {
  const [state, setState] = useState<[T | null, string | null]>([null, null]);
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const load = async () => {
      try {
        const answer = await ask<T>(path, abort.signal);
        setState([answer, null]);
      } catch (error) {
        if (abort.signal.aborted) return;
        setState((old) => [old[0], error instanceof Error ? error.message : String(error)]);
      }
      timer = setTimeout(load, everyMs);
    };
    void load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [path]);
  return state;
}

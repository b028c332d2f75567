/** Chooses a run. */
import type { JSX } from 'preact';

import { useAsked } from '../base/asked';
import { clock } from '../base/format';
import { parameter, set } from '../base/place';
import type { Run } from '../base/types';

export function Runs(): JSX.Element | null {
  const [runs] = useAsked<Run[]>('runs', 10_000);
  if (runs === null || runs.length < 2) return null;
  return (
    <label class="select">
      Run
      <select value={parameter('run')} onChange={(event) => set({ run: event.currentTarget.value })}>
        <option value="">all</option>
        {runs.map((run) => (
          <option key={run.id} value={String(run.id)}>
            {`${run.id}: ${run.command === '' ? 'attach' : run.command.slice(0, 60)}, ${clock(run.start_unix_ns)}`}
          </option>
        ))}
      </select>
    </label>
  );
}

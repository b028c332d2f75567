/** Where a call's time went on the network. */
import type { JSX } from 'preact';

import { duration } from '../base/format';
import type { Node } from '../trace/model';
import { Section, type Seen } from './parts';

const PHASES: [string, string, string][] = [
  ['dns', 'DNS', 'clew.network.dns_ns'],
  ['connect', 'Connect', 'clew.network.connect_ns'],
  ['tls', 'TLS', 'clew.network.tls_ns'],
  ['send', 'Send', 'clew.network.send_ns'],
  ['wait', 'Wait for the first byte', 'clew.network.wait_ns'],
  ['receive', 'Receive', 'clew.network.receive_ns'],
];

export function Phases(props: { node: Node; seen: Seen }): JSX.Element | null {
  const { seen } = props;
  const phases = PHASES.flatMap(([id, name, attribute]) => {
    const ns = seen.number(attribute);
    return ns === undefined ? [] : [{ id, name, ns }];
  });
  const reused = seen.take('clew.network.connection.reused');
  if (phases.length === 0) return null;
  const total = phases.reduce((sum, phase) => sum + phase.ns, 0);
  const note = reused === true ? 'connection reused' : reused === false ? 'new connection' : undefined;
  return (
    <Section title="Network" note={note}>
      <div class="phases" role="img" aria-label={phases.map((phase) => `${phase.name} ${duration(phase.ns)}`).join(', ')}>
        {phases.map((phase) => (
          <i key={phase.id} class={`phase ${phase.id}`} style={{ flexGrow: Math.max(phase.ns / Math.max(total, 1), 0.004) }} />
        ))}
      </div>
      <ul class="phase-list">
        {phases.map((phase) => (
          <li key={phase.id}>
            <i class={`phase ${phase.id}`} /> {phase.name} <b>{duration(phase.ns)}</b>
          </li>
        ))}
      </ul>
    </Section>
  );
}

/** The keys, on a sheet of their own. */
import { useEffect, useRef } from 'preact/hooks';
import type { JSX } from 'preact';

const GROUPS: [string, [string, string][]][] = [
  [
    'Everywhere',
    [
      ['?', 'These keys'],
      ['/', 'Search, or find in the trace'],
      ['Esc', 'One step back'],
    ],
  ],
  [
    'Traces',
    [
      ['j k', 'Next, previous trace'],
      ['Enter', 'Open it'],
      ['p', 'Pause, resume'],
      ['c', 'Clear what is shown'],
    ],
  ],
  [
    'A trace',
    [
      ['j k ↓ ↑', 'Next, previous span'],
      ['→ ←', 'Expand, collapse; to the first child, to the parent'],
      ['n N', 'Next, previous match'],
      ['Enter', 'Into the span’s details'],
      ['f', 'Focus on the subtree; again to leave it'],
      ['z', 'Zoom to the span; again for the whole trace'],
      ['e', 'Next error'],
      ['c', 'Critical path'],
      ['s', 'Slowest spans'],
      ['m', 'Only matches'],
      ['t', 'Table of operations'],
      ['g G', 'First, last span'],
    ],
  ],
];

export function Keys(props: { close: () => void }): JSX.Element {
  const sheet = useRef<HTMLDialogElement>(null);
  useEffect(() => sheet.current?.showModal(), []);
  return (
    <dialog class="keys" ref={sheet} aria-label="Keys" onClose={props.close} onClick={(event) => event.target === sheet.current && props.close()}>
      <h2>Keys</h2>
      <div class="key-groups">
        {GROUPS.map(([name, keys]) => (
          <section key={name}>
            <h3>{name}</h3>
            <dl>
              {keys.map(([key, what]) => (
                <div key={key}>
                  <dt>
                    {key.split(' ').map((one) => (
                      <kbd key={one}>{one}</kbd>
                    ))}
                  </dt>
                  <dd>{what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <button type="button" onClick={props.close}>
        Close
      </button>
    </dialog>
  );
}

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
      ['L', 'All that was logged'],
      ['v', 'Lanes of threads and tasks, instead of the tree'],
      ['g G', 'First, last span'],
    ],
  ],
];

/** What is asked, and what it means. */
const SEARCH: [string, string][] = [
  ['lantern "out of stock"', 'Words in paths, SQL, headers, bodies, logs'],
  ['service:cart status:>=500', 'Cart answered so: both are of one span'],
  ['service:cart service:stock', 'Traces that touch both'],
  ['-name:health*', 'None such; * stands for anything'],
  ['test:"cart empties"', 'What a test case asked for'],
  ['duration:>1s', 'The whole trace; span.duration: any span'],
  ['db.query.text:*orders*', 'Any attribute has a dot'],
];

export function Keys(props: { close: () => void }): JSX.Element {
  const sheet = useRef<HTMLDialogElement>(null);
  useEffect(() => sheet.current?.showModal(), []);
  return (
    <dialog class="keys" ref={sheet} aria-label="Keys and search" onClose={props.close} onClick={(event) => event.target === sheet.current && props.close()}>
      <h2>Keys and search</h2>
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
      <section class="search-help">
        <h3>Search: all terms must hold</h3>
        <dl>
          {SEARCH.map(([query, what]) => (
            <div key={query}>
              <dt>
                <code>{query}</code>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </section>
      <button type="button" onClick={props.close}>
        Close
      </button>
    </dialog>
  );
}

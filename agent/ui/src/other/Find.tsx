/** Where one says what a view shows, of all it could. */
import type { JSX } from 'preact';

import { Icon } from '../base/Icon';
import { parameter, set } from '../base/place';

export function Find(props: { label: string; placeholder: string }): JSX.Element {
  return (
    <div class="find">
      <Icon name="search" />
      <input
        id="query"
        type="text"
        placeholder={props.placeholder}
        aria-label={props.label}
        value={parameter('find')}
        onInput={(event) => set({ find: event.currentTarget.value })}
      />
    </div>
  );
}

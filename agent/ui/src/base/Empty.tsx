import type { ComponentChildren, JSX } from 'preact';

/** Says why there is nothing to see. */
export function Empty(props: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty" role="status">
      <h2>{props.title}</h2>
      <div>{props.children}</div>
    </div>
  );
}

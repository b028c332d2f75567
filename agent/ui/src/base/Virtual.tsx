/** Rows of one height, of which only those in sight are made. */
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { JSX, Ref, VNode } from 'preact';

interface Props {
  count: number;
  height: number;
  /** The row to be kept in sight when it changes. */
  reveal?: number | undefined;
  label: string;
  role?: 'listbox' | 'tree' | 'list';
  id: string;
  active?: string | undefined;
  onKeyDown?: (event: KeyboardEvent) => void;
  /** Near the end: more may be wanted. */
  onEnd?: () => void;
  row: (index: number) => VNode | null;
}

/** Rows made beyond what is in sight, so that scrolling finds them there. */
const BEYOND = 12;

export function Virtual(props: Props): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState({ from: 0, to: 60 });
  const { count, height } = props;

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    let asked = 0;
    const look = () => {
      asked = 0;
      // Steps of a few rows: most scroll events change nothing at all.
      const from = Math.max(0, Math.floor(element.scrollTop / height / 4) * 4 - BEYOND);
      const to = Math.ceil((element.scrollTop + element.clientHeight) / height / 4) * 4 + BEYOND;
      setSeen((old) => (old.from === from && old.to === to ? old : { from, to }));
    };
    const soon = () => {
      if (asked === 0) asked = requestAnimationFrame(look);
    };
    look();
    element.addEventListener('scroll', soon, { passive: true });
    const size = new ResizeObserver(soon);
    size.observe(element);
    return () => {
      element.removeEventListener('scroll', soon);
      size.disconnect();
      cancelAnimationFrame(asked);
    };
  }, [height]);

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null || props.reveal === undefined || props.reveal < 0) return;
    const top = props.reveal * height;
    // Two rows of what comes before and behind stay in sight.
    const edge = Math.min(2 * height, element.clientHeight / 4);
    if (top < element.scrollTop + edge) element.scrollTop = Math.max(0, top - edge);
    else if (top + height > element.scrollTop + element.clientHeight - edge) {
      element.scrollTop = top + height + edge - element.clientHeight;
    }
  }, [props.reveal, height]);

  const to = Math.min(count, seen.to);
  const from = Math.min(seen.from, to);
  const ended = to >= count - 1;
  useLayoutEffect(() => {
    if (ended) props.onEnd?.();
  }, [ended, count]);

  const rows: VNode[] = [];
  for (let index = from; index < to; index++) {
    const row = props.row(index);
    // Each has its place in the whole: what stays in sight is neither moved nor painted again.
    rows.push(
      <div class="virtual-row" role="presentation" key={row?.key ?? index} style={{ top: `${index * height}px` }}>
        {row}
      </div>,
    );
  }
  return (
    <div
      ref={box as Ref<HTMLDivElement>}
      id={props.id}
      class="virtual"
      tabIndex={0}
      role={props.role ?? 'listbox'}
      aria-label={props.label}
      aria-activedescendant={props.active}
      onKeyDown={props.onKeyDown}
    >
      <div class="virtual-all" style={{ height: `${count * height}px` }}>
        {rows}
      </div>
    </div>
  );
}

import { useEffect, useRef } from 'preact/hooks';
import type { JSX } from 'preact';

/** Its edge, by which it is made wider. */
export function Grip(): JSX.Element {
  const handle = useRef<HTMLDivElement>(null);
  const put = (width: number) => {
    const least = Math.max(300, Math.min(innerWidth - 400, width));
    (handle.current?.parentElement as HTMLElement | null)?.style.setProperty('width', `${least}px`);
    localStorage.setItem('clew.panel', String(least));
  };
  useEffect(() => put(Number(localStorage.getItem('clew.panel') ?? 460)), []);
  return (
    <div
      ref={handle}
      class="grip"
      role="separator"
      aria-orientation="vertical"
      aria-label="Width of the details"
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={(event) => event.currentTarget.hasPointerCapture(event.pointerId) && put(innerWidth - event.clientX)}
    />
  );
}

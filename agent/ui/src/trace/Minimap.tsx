/** The whole trace in a strip; what is marked in it is what the rows show. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { JSX, TargetedKeyboardEvent, TargetedPointerEvent } from 'preact';

import { themed } from '../base/color';
import { painted } from '../base/theme';
import { fromTop, MANY, type Node } from './model';
import type { Viewer } from './viewer';

const HEIGHT = 56;

export function Minimap(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [drag, setDrag] = useState<{ from: number; to: number; moved: boolean } | null>(null);
  const model = viewer.model.value;
  const paint = painted.value;

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const resized = new ResizeObserver(() => setWidth(element.clientWidth));
    resized.observe(element);
    return () => resized.disconnect();
  }, []);

  useLayoutEffect(() => {
    const paintAll = () => {
      if (canvas.current !== null && width > 0) draw(canvas.current, width, viewer);
    };
    // Of very many spans the rows come first.
    if (model.nodes.length < MANY) {
      paintAll();
      return;
    }
    const soon = setTimeout(paintAll, 50);
    return () => clearTimeout(soon);
  }, [width, model, paint]);

  const timeAt = (event: PointerEvent) => {
    const place = (box.current as HTMLDivElement).getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - place.left) / place.width)) * model.end;
  };
  const down = (event: TargetedPointerEvent<HTMLDivElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    const edge = event.target instanceof HTMLElement ? event.target.dataset['edge'] : undefined;
    const time = timeAt(event);
    const [from, to] = viewer.window.value;
    // An edge is moved; the other one stays.
    setDrag({ from: edge === 'from' ? to : edge === 'to' ? from : time, to: time, moved: edge !== undefined });
  };
  const move = (event: TargetedPointerEvent<HTMLDivElement>) => {
    if (drag === null) return;
    const to = timeAt(event);
    const moved = drag.moved || Math.abs(to - drag.from) > model.end / 200;
    setDrag({ ...drag, to, moved });
    if (moved) viewer.zoomTo(drag.from, to);
  };
  const keys = (event: TargetedKeyboardEvent<HTMLDivElement>) => {
    const [from, to] = viewer.window.value;
    const step = (to - from) / 4;
    if (event.key === 'ArrowLeft' && from > 0) viewer.zoomTo(from - Math.min(step, from), to - Math.min(step, from));
    else if (event.key === 'ArrowRight' && to < model.end) {
      const room = Math.min(step, model.end - to);
      viewer.zoomTo(from + room, to + room);
    } else if (event.key === '+') viewer.zoomTo(from + step / 2, to - step / 2);
    else if (event.key === '-') viewer.zoomTo(from - step, to + step);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const [from, to] = viewer.window.value;
  const left = (100 * from) / model.end;
  const right = 100 - (100 * to) / model.end;
  return (
    <div
      ref={box}
      class="minimap"
      role="group"
      tabIndex={0}
      aria-label="The whole trace. Drag to zoom; + and - zoom, arrows move, double click shows all"
      onPointerDown={down}
      onPointerMove={move}
      onPointerUp={() => setDrag(null)}
      onDblClick={() => (viewer.zoom.value = null)}
      onKeyDown={keys}
    >
      <canvas ref={canvas} />
      {viewer.zoom.value !== null && (
        <>
          <div class="veil" style={{ left: 0, width: `${left}%` }} />
          <div class="veil" style={{ right: 0, width: `${right}%` }} />
          <div class="edge" data-edge="from" style={{ left: `${left}%` }} />
          <div class="edge" data-edge="to" style={{ left: `${100 - right}%` }} />
        </>
      )}
    </div>
  );
}

function draw(canvas: HTMLCanvasElement, width: number, viewer: Viewer): void {
  const ratio = devicePixelRatio;
  canvas.width = width * ratio;
  canvas.height = HEIGHT * ratio;
  const context = canvas.getContext('2d');
  if (context === null) return;
  const model = viewer.model.value;
  const order = fromTop(model.roots);
  const paints = new Map<string, number>();
  for (const [service, slot] of viewer.colors.value) paints.set(service, pixel(themed(`--s${slot}`)));
  const bad = pixel(themed('--bad'));
  const step = canvas.height / Math.max(order.length, 8);
  const height = Math.max(1, Math.floor(step - (step > 4 ? ratio : 0)));
  const scale = canvas.width / model.end;
  // Pixel by pixel: a canvas takes its time for each of very many rectangles.
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < order.length; at++) {
    const node = order[at] as Node;
    const top = Math.floor(at * step);
    const from = Math.min(Math.floor(node.start * scale), canvas.width - 1);
    const to = Math.min(from + Math.max(Math.ceil(ratio), Math.ceil((node.end - node.start) * scale)), canvas.width);
    const paint = node.failed ? bad : (paints.get(node.span.service) ?? bad);
    for (let y = top; y < Math.min(top + height, canvas.height); y++) pixels.fill(paint, y * canvas.width + from, y * canvas.width + to);
  }
  context.putImageData(image, 0, 0);
}

/** `#rrggbb` as it lies in an image. */
function pixel(color: string): number {
  const value = Number.parseInt(color.slice(1), 16);
  return (0xff000000 | ((value & 0xff) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
}

/** Each trace as a dot: when it began, and how long it took. What is marked with the mouse filters the list. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { CSSProperties, JSX, TargetedPointerEvent } from 'preact';

import { themed } from '../base/color';
import { clock, duration, searchTime } from '../base/format';
import { read, split } from '../base/term';
import { painted } from '../base/theme';
import type { Point } from '../base/types';

/** A part of the plot: times and durations. */
export interface Area {
  fromNs: number;
  toNs: number;
  leastNs: number;
  mostNs: number;
}

/** The query for what lies in a part of the plot. */
export function narrowed(query: string, area: Area): string {
  const moment = (ns: number) => new Date(ns / 1e6).toISOString();
  const others = split(query).filter((raw) => !['start', 'duration'].includes(read(raw).field));
  return [
    ...others,
    `start:>=${moment(area.fromNs)}`,
    // A millisecond more: what is marked shall not be cut off by rounding.
    `start:<=${moment(area.toNs + 1e6)}`,
    `duration:>=${searchTime(area.leastNs)}`,
    `duration:<=${searchTime(area.mostNs)}`,
  ].join(' ');
}

export function isNarrowed(query: string): boolean {
  return split(query).some((raw) => read(raw).field === 'start');
}

/** The query without what a part of the plot said. */
export function widened(query: string): string {
  return split(query)
    .filter((raw) => !['start', 'duration'].includes(read(raw).field))
    .join(' ');
}

interface Props {
  points: Point[];
  onArea: (area: Area) => void;
  onOpen: (id: string) => void;
}

interface Scale {
  width: number;
  height: number;
  fromNs: number;
  toNs: number;
  low: number;
  high: number;
}

/** What is shorter is drawn as this: a scale of powers has no place for nothing. */
const SHORTEST_NS = 1000;
const LEFT = 52;
const BOTTOM = 16;
const TOP = 6;
const RIGHT = 8;

export function Scatter(props: Props): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  const [drag, setDrag] = useState<{ x0: number; y0: number; x1: number; y1: number } | null>(null);
  const [near, setNear] = useState<Point | null>(null);
  const scale = scaleOf(props.points, size.width, size.height);
  const paint = painted.value;

  useEffect(() => {
    const element = canvas.current;
    if (element === null) return;
    const resized = new ResizeObserver(() => setSize({ width: element.clientWidth, height: element.clientHeight }));
    resized.observe(element);
    return () => resized.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = canvas.current;
    if (element !== null && size.width > 0) draw(element, scale, props.points, near);
  }, [props.points, size, near, paint]);

  const at = (event: MouseEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const down = (event: TargetedPointerEvent<HTMLCanvasElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    const { x, y } = at(event);
    setDrag({ x0: x, y0: y, x1: x, y1: y });
  };
  const move = (event: TargetedPointerEvent<HTMLCanvasElement>) => {
    const { x, y } = at(event);
    if (drag !== null) setDrag({ ...drag, x1: x, y1: y });
    else setNear(nearest(scale, props.points, x, y));
  };
  const up = () => {
    if (drag === null) return;
    setDrag(null);
    if (Math.abs(drag.x1 - drag.x0) + Math.abs(drag.y1 - drag.y0) < 6) {
      if (near !== null) props.onOpen(near.trace_id);
      return;
    }
    props.onArea({
      fromNs: timeAt(scale, Math.min(drag.x0, drag.x1)),
      toNs: timeAt(scale, Math.max(drag.x0, drag.x1)),
      leastNs: lengthAt(scale, Math.max(drag.y0, drag.y1)),
      mostNs: lengthAt(scale, Math.min(drag.y0, drag.y1)),
    });
  };

  return (
    <div class="scatter">
      <canvas
        ref={canvas}
        role="img"
        aria-label={`Durations of ${props.points.length} traces over time. Drag to filter the list.`}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerLeave={() => setNear(null)}
      />
      {drag !== null && (
        <div
          class="scatter-drag"
          style={{
            left: `${Math.min(drag.x0, drag.x1)}px`,
            top: `${Math.min(drag.y0, drag.y1)}px`,
            width: `${Math.abs(drag.x1 - drag.x0)}px`,
            height: `${Math.abs(drag.y1 - drag.y0)}px`,
          }}
        />
      )}
      {near !== null && drag === null && (
        <div class="scatter-tip" style={tipPlace(scale, near)}>
          <b>{duration(near.duration_ns)}</b> {clock(near.start_unix_ns)} {near.status}
        </div>
      )}
    </div>
  );
}

function scaleOf(rows: Point[], width: number, height: number): Scale {
  let [fromNs, toNs, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const row of rows) {
    fromNs = Math.min(fromNs, row.start_unix_ns);
    toNs = Math.max(toNs, row.start_unix_ns);
    low = Math.min(low, Math.max(row.duration_ns, SHORTEST_NS));
    high = Math.max(high, row.duration_ns);
  }
  if (rows.length === 0) [fromNs, toNs, low, high] = [0, 1, 1e6, 1e9];
  if (toNs - fromNs < 1e9) [fromNs, toNs] = [fromNs - 5e8, toNs + 5e8];
  return { width, height, fromNs, toNs, low: Math.log10(low) - 0.1, high: Math.max(Math.log10(high), Math.log10(low) + 0.5) + 0.1 };
}

const xOf = (scale: Scale, ns: number) =>
  LEFT + ((ns - scale.fromNs) / (scale.toNs - scale.fromNs)) * (scale.width - LEFT - RIGHT);
const yOf = (scale: Scale, ns: number) =>
  TOP + (1 - (Math.log10(Math.max(ns, SHORTEST_NS)) - scale.low) / (scale.high - scale.low)) * (scale.height - TOP - BOTTOM);
const timeAt = (scale: Scale, x: number) =>
  scale.fromNs + ((x - LEFT) / (scale.width - LEFT - RIGHT)) * (scale.toNs - scale.fromNs);
const lengthAt = (scale: Scale, y: number) =>
  10 ** (scale.low + (1 - (y - TOP) / (scale.height - TOP - BOTTOM)) * (scale.high - scale.low));

function tipPlace(scale: Scale, row: Point): CSSProperties {
  const x = xOf(scale, row.start_unix_ns);
  const y = `${Math.max(0, yOf(scale, row.duration_ns) - 26)}px`;
  return x > scale.width / 2 ? { right: `${scale.width - x + 8}px`, top: y } : { left: `${x + 8}px`, top: y };
}

function nearest(scale: Scale, rows: Point[], x: number, y: number): Point | null {
  let found: Point | null = null;
  let best = 10;
  for (const row of rows) {
    const away = Math.hypot(xOf(scale, row.start_unix_ns) - x, yOf(scale, row.duration_ns) - y);
    if (away < best) [found, best] = [row, away];
  }
  return found;
}

function draw(canvas: HTMLCanvasElement, scale: Scale, rows: Point[], near: Point | null): void {
  const ratio = devicePixelRatio;
  canvas.width = scale.width * ratio;
  canvas.height = scale.height * ratio;
  const context = canvas.getContext('2d');
  if (context === null) return;
  context.scale(ratio, ratio);
  const muted = themed('--muted');
  context.font = `10px ${themed('--font')}`;
  context.fillStyle = muted;
  context.strokeStyle = themed('--line');
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  const every = Math.ceil((scale.high - scale.low) / 5);
  for (let power = Math.ceil(scale.low); power <= scale.high; power += every) {
    const y = Math.round(yOf(scale, 10 ** power)) + 0.5;
    context.beginPath();
    context.moveTo(LEFT, y);
    context.lineTo(scale.width - RIGHT, y);
    context.stroke();
    context.fillText(duration(10 ** power).replace('.00', '').replace('.0', ''), LEFT - 6, y);
  }
  context.textBaseline = 'bottom';
  for (let step = 0; step <= 4; step++) {
    const ns = scale.fromNs + ((scale.toNs - scale.fromNs) * step) / 4;
    context.textAlign = step === 0 ? 'left' : step === 4 ? 'right' : 'center';
    const time = scale.toNs - scale.fromNs < 20e9 ? clock(ns).slice(0, -2) : clock(ns).replace(/\.\d+$/, '');
    context.fillText(time, xOf(scale, ns), scale.height - 1);
  }
  const [fine, bad] = [themed('--accent'), themed('--bad')];
  // Failures last, on top.
  for (const failed of [false, true]) {
    context.fillStyle = failed ? bad : fine;
    for (const row of rows) {
      if (row.error !== failed) continue;
      context.globalAlpha = 0.65;
      const size = row === near ? 4 : 2;
      context.fillRect(xOf(scale, row.start_unix_ns) - size, yOf(scale, row.duration_ns) - size, 2 * size, 2 * size);
    }
  }
  context.globalAlpha = 1;
}
